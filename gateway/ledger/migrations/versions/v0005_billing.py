"""What a charge that is looked up again and a card that is being added have to remember; the installation's name."""

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; until now nothing wrote charges or cards."""
    installation = op.create_table(
        "installation",
        sa.Column("installation_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("installation_id", name=op.f("pk_installation")),
    )
    op.bulk_insert(installation, [{"installation_id": secrets.token_hex(8)}])
    of_charge: list[sa.Column[Any]] = [
        sa.Column("can_retry", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("look_ups", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_look_at", sa.BigInteger(), nullable=False, server_default="0"),
    ]
    for column in of_charge:
        op.add_column("charge", column)
    of_payment_method: list[sa.Column[Any]] = [
        sa.Column("setup_token", sa.String(length=255), nullable=False, server_default=""),
        sa.Column("setup_attempt", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("confirmation_url", sa.String(length=2048), nullable=False, server_default=""),
        sa.Column("added_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
    ]
    for column in of_payment_method:
        op.add_column("payment_method", column)
    op.drop_index("ix_charge_undecided", table_name="charge")
    undecided = sa.text("decided_at IS NULL")
    op.create_index(
        "ix_charge_undecided", "charge", ["next_look_at"], sqlite_where=undecided, postgresql_where=undecided
    )
    kept = sa.text("purpose = 'CONFIRMATION' AND given_back_at IS NULL")
    op.create_index("ix_charge_to_give_back", "charge", ["next_look_at"], sqlite_where=kept, postgresql_where=kept)
