"""The first tables: companies, offices, credits, tokens, decks, refill triggers, the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=192), nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_log_target_seq"), "audit_log", ["target", "seq"])

    op.create_table(
        "company",
        sa.Column("company_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("company_id", name=op.f("pk_company")),
    )
    op.create_table(
        "deck",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_deck")),
    )
    op.create_table(
        "outbox_position",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_outbox_position")),
    )
    op.create_table(
        "refill_trigger",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("refill_id", sa.String(length=128), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("threshold_micros", sa.BigInteger(), nullable=False),
        sa.Column("available_micros", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_refill_trigger")),
        sa.UniqueConstraint("refill_id", name=op.f("uq_refill_trigger_refill_id")),
    )
    op.create_index(op.f("ix_refill_trigger_office_id"), "refill_trigger", ["office_id"])

    sequence = op.create_table(
        "sequence",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sequence")),
    )
    op.bulk_insert(sequence, [{"name": "deck", "value": 0}, {"name": "refill_trigger", "value": 0}])
    op.create_table(
        "office",
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("company_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("tariff", sa.String(length=128), nullable=False),
        sa.Column("credit_limit_micros", sa.BigInteger(), nullable=False),
        sa.Column("max_concurrent_calls", sa.Integer(), nullable=False),
        sa.Column("max_price_per_minute_micros", sa.BigInteger(), nullable=False),
        sa.Column("daily_spend_limit_micros", sa.BigInteger(), nullable=False),
        sa.Column(
            "payment_terms",
            sa.Enum("CARD", "INVOICE", name="paymentterms", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "state", sa.Enum("ACTIVE", "SUSPENDED", name="officestate", native_enum=False, length=32), nullable=False
        ),
        sa.Column("refill_enabled", sa.Boolean(), nullable=False),
        sa.Column("refill_threshold_micros", sa.BigInteger(), nullable=False),
        sa.Column("refill_amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("refill_payment_method_id", sa.String(length=128), nullable=False),
        sa.Column("refill_generation", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("projected_version", sa.BigInteger(), nullable=False),
        sa.Column("projected_credit_limit_micros", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.company_id"], name=op.f("fk_office_company_id")),
        sa.PrimaryKeyConstraint("office_id", name=op.f("pk_office")),
    )
    op.create_index(op.f("ix_office_company_id_office_id"), "office", ["company_id", "office_id"])
    op.create_index(
        "ix_office_unprojected",
        "office",
        ["office_id"],
        sqlite_where=sa.text("projected_version < version"),
        postgresql_where=sa.text("projected_version < version"),
    )

    op.create_table(
        "token",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "OPERATOR",
                "COMPANY_ADMIN",
                "OFFICE_ADMIN",
                "VIEWER",
                "SWITCH",
                name="role",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("company_id", sa.String(length=128), nullable=True),
        sa.Column("office_ids", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("switch_id", sa.String(length=128), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("projected_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.company_id"], name=op.f("fk_token_company_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_token")),
        sa.UniqueConstraint("token_id", name=op.f("uq_token_token_id")),
    )
    op.create_index(op.f("ix_token_created_at_token_id"), "token", ["created_at", "token_id"])
    op.create_index(
        "ix_token_unprojected",
        "token",
        ["token_id"],
        sqlite_where=sa.text("projected_version < version"),
        postgresql_where=sa.text("projected_version < version"),
    )

    op.create_table(
        "credit",
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requested_micros", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "ADJUSTMENT",
                "PURCHASE",
                "REFILL",
                "MESSAGE_REFUND",
                "CHARGEBACK",
                name="creditkind",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("refill_id", sa.String(length=128), nullable=True),
        sa.Column(
            "status",
            sa.Enum("PENDING", "APPLIED", "REFUSED", name="creditstatus", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_credit_office_id")),
        sa.PrimaryKeyConstraint("office_id", "number", name=op.f("pk_credit")),
        sa.UniqueConstraint("office_id", "idempotency_key", name=op.f("uq_credit_office_id_idempotency_key")),
        sa.UniqueConstraint("office_id", "refill_id", name=op.f("uq_credit_office_id_refill_id")),
    )
    op.create_index(
        "ix_credit_unapplied",
        "credit",
        ["office_id", "number"],
        sqlite_where=sa.text("applied_at IS NULL"),
        postgresql_where=sa.text("applied_at IS NULL"),
    )


def downgrade() -> None:
    """Refuse: the way down from the first tables would be to delete the ledger."""
    raise NotImplementedError
