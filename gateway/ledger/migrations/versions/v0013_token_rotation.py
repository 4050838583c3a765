"""What a token was replaced by, and how much the bearer of a switch's may ask."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
expands_only = True


def upgrade() -> None:
    """Add the columns; the tokens that there are were not replaced, and ask as much as the setting says."""
    op.add_column("token", sa.Column("operations_per_second", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("token", sa.Column("replaced_by", sa.String(length=32), nullable=False, server_default=""))
