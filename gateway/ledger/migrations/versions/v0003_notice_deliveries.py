"""Who gets notices, and one delivery a recipient."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add who gets notices; the deliveries, which nobody wrote yet, are made anew with the recipient in their key."""
    op.create_table(
        "notice_recipient",
        sa.Column("company_id", sa.String(length=128), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=254), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.company_id"], name=op.f("fk_notice_recipient_company_id")),
        sa.PrimaryKeyConstraint("company_id", "office_id", "address", name=op.f("pk_notice_recipient")),
    )
    op.add_column("notice", sa.Column("routed_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_notice_unrouted",
        "notice",
        ["seq"],
        sqlite_where=sa.text("routed_at IS NULL"),
        postgresql_where=sa.text("routed_at IS NULL"),
    )
    op.drop_index("ix_notice_delivery_undone", table_name="notice_delivery")
    op.drop_table("notice_delivery")
    op.create_table(
        "notice_delivery",
        sa.Column("notice_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("recipient", sa.String(length=254), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["notice_seq"], ["notice.seq"], name=op.f("fk_notice_delivery_notice_seq")),
        sa.PrimaryKeyConstraint("notice_seq", "channel", "recipient", name=op.f("pk_notice_delivery")),
    )
    op.create_index(
        "ix_notice_delivery_undone",
        "notice_delivery",
        ["channel", "next_at"],
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )
