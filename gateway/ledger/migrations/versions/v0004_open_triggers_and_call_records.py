"""Refill triggers to be looked at, the records that calls are rebuilt from, and offices whose messages are blocked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. Triggers of before were for those who watch; nobody charges for them now."""
    op.add_column("refill_trigger", sa.Column("is_open", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_refill_trigger_open",
        "refill_trigger",
        ["seq"],
        sqlite_where=sa.text("is_open IS 1"),
        postgresql_where=sa.text("is_open IS true"),
    )
    op.add_column("usage_record", sa.Column("record", sa.LargeBinary(), nullable=False, server_default=""))
    op.add_column("office_book", sa.Column("is_blocking", sa.Boolean(), nullable=False, server_default=sa.false()))
