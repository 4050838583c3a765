"""The request that began a call or message, where it was traced."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the ids of the request and of its trace to the usage records; empty for whatever was not traced."""
    op.add_column("usage_record", sa.Column("request_id", sa.String(128)))
    op.add_column("usage_record", sa.Column("trace_id", sa.String(32)))
