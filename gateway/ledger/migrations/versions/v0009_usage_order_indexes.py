"""The indexes of the usage report's orders."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_IS_OVER = sa.text("state != 'OPEN'")


def upgrade() -> None:
    """Add the duration to the report's index, and make one by day and cost and one by day and duration."""
    op.drop_index("ix_usage_record_report", "usage_record")
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
            "duration_seconds",
        ],
        sqlite_where=_IS_OVER,
        postgresql_where=_IS_OVER,
    )
    for name, amount in (("by_cost", "cost_micros"), ("by_duration", "duration_seconds")):
        op.create_index(
            f"ix_usage_record_{name}",
            "usage_record",
            ["office_id", sa.text("(started_at / 86400000)"), amount, "seq"],
            sqlite_where=_IS_OVER,
            postgresql_where=_IS_OVER,
        )
