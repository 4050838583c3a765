"""The switches with their callbacks."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and the counter of its changes."""
    op.create_table(
        "switch",
        sa.Column("switch_id", sa.String(length=128), nullable=False),
        sa.Column("callback_url", sa.String(length=500), nullable=False),
        sa.Column("callback_secret", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("switch_id", name=op.f("pk_switch")),
    )
    sequence = sa.table("sequence", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(sequence, [{"name": "switch", "value": 0}])
