"""The tokens that a client certificate stands for."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the name in the certificate; no token that is there has one."""
    op.add_column("token", sa.Column("certificate", sa.String(length=255), nullable=False, server_default=""))
