"""The fraud guards: what they count, their limits in an office, and which have tripped."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_IS_GUARDED = sa.text("guarded_until > 0")
_BY_DEFAULT = "-1"


def upgrade() -> None:
    """Make the tables, and give every office the installation's limits."""
    op.create_table(
        "guard_hour",
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("country", sa.String(length=3), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("spend_micros", sa.BigInteger(), nullable=False),
        sa.Column("forgiven_calls", sa.BigInteger(), nullable=False),
        sa.Column("forgiven_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("office_id", "hour", "country", name=op.f("pk_guard_hour")),
    )
    op.create_index(op.f("ix_guard_hour_hour"), "guard_hour", ["hour"])
    op.create_table(
        "guard_destination",
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("country", sa.String(length=3), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("office_id", "country", name=op.f("pk_guard_destination")),
    )
    for name, type_ in (
        ("fraud_country_spend_micros", sa.BigInteger()),
        ("fraud_office_spend_micros", sa.BigInteger()),
        ("fraud_country_calls", sa.Integer()),
        ("fraud_office_calls", sa.Integer()),
    ):
        op.add_column("office", sa.Column(name, type_, nullable=False, server_default=_BY_DEFAULT))
    op.add_column("office", sa.Column("guards", sa.JSON(none_as_null=True), nullable=False, server_default="[]"))
    op.add_column("office", sa.Column("guarded_until", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_office_guarded", "office", ["guarded_until"], sqlite_where=_IS_GUARDED, postgresql_where=_IS_GUARDED
    )
