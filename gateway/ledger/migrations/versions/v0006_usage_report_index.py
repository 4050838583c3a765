"""The index of the usage report."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index by time by one that holds what the report filters by and sums."""
    op.drop_index(op.f("ix_usage_record_office_id_started_at_seq"), "usage_record")
    op.create_index(
        "ix_usage_record_report",
        "usage_record",
        [
            "office_id",
            "started_at",
            "seq",
            "state",
            "category",
            "reason",
            "cost_micros",
            "user_id",
            "department_id",
        ],
        sqlite_where=sa.text("state != 'OPEN'"),
        postgresql_where=sa.text("state != 'OPEN'"),
    )
