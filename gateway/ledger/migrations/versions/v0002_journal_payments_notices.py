"""The journal, usage, payments and notices."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them; the journal begins at the beginning, since until now the outboxes were only looked at."""
    op.create_table(
        "card_lock",
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("wrong_answers", sa.Integer(), nullable=False),
        sa.Column("locked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_card_lock")),
    )
    op.create_table(
        "notice",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("notice_key", sa.String(length=192), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_notice")),
        sa.UniqueConstraint("notice_key", name=op.f("uq_notice_notice_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_notice_office_id"), "notice", ["office_id"])
    op.create_table(
        "office_book",
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("credits_micros", sa.BigInteger(), nullable=False),
        sa.Column("moved_micros", sa.BigInteger(), nullable=False),
        sa.Column("balance_micros", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.BigInteger(), nullable=False),
        sa.Column("is_low", sa.Boolean(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("office_id", name=op.f("pk_office_book")),
    )
    op.create_table(
        "provider_event",
        sa.Column("event_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_provider_event")),
    )
    op.create_table(
        "unrecorded_refusals",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_unrecorded_refusals")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_unrecorded_refusals_office_id_at"), "unrecorded_refusals", ["office_id", "at"])
    op.create_table(
        "usage_record",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("thing_id", sa.String(length=128), nullable=False),
        sa.Column("life_at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("direction", sa.String(length=32), nullable=True),
        sa.Column("license", sa.String(length=32), nullable=True),
        sa.Column("service", sa.String(length=32), nullable=True),
        sa.Column("message_kind", sa.String(length=32), nullable=True),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("calling_number", sa.String(length=128), nullable=False),
        sa.Column("called_number", sa.String(length=128), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("department_id", sa.String(length=128), nullable=False),
        sa.Column("switch_id", sa.String(length=128), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.Integer(), nullable=False),
        sa.Column("billed_seconds", sa.Integer(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("refunded_micros", sa.BigInteger(), nullable=False),
        sa.Column("written_off_micros", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=200), nullable=False),
        sa.Column("deck_version", sa.BigInteger(), nullable=False),
        sa.Column("rate_line", sa.Integer(), nullable=False),
        sa.Column("rate", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_usage_record")),
        sa.UniqueConstraint(
            "office_id", "thing_id", "life_at", name=op.f("uq_usage_record_office_id_thing_id_life_at")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_usage_record_office_id_started_at_seq"), "usage_record", ["office_id", "started_at", "seq"]
    )
    op.create_index(
        "ix_usage_record_unfinished",
        "usage_record",
        ["office_id", "thing_id"],
        sqlite_where=sa.text("state != 'CLOSED'"),
        postgresql_where=sa.text("state != 'CLOSED'"),
    )
    op.create_table(
        "notice_delivery",
        sa.Column("notice_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(["notice_seq"], ["notice.seq"], name=op.f("fk_notice_delivery_notice_seq")),
        sa.PrimaryKeyConstraint("notice_seq", "channel", name=op.f("pk_notice_delivery")),
    )
    op.create_index(
        "ix_notice_delivery_undone",
        "notice_delivery",
        ["next_at"],
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_table(
        "payment_method",
        sa.Column("payment_method_id", sa.String(length=64), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("provider_token_hash", sa.String(length=64), nullable=False),
        sa.Column("customer_ref", sa.String(length=255), nullable=False),
        sa.Column("method_ref", sa.String(length=255), nullable=False),
        sa.Column("brand", sa.String(length=32), nullable=False),
        sa.Column("last_four", sa.String(length=4), nullable=False),
        sa.Column("expiry_month", sa.Integer(), nullable=False),
        sa.Column("expiry_year", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_payment_method_office_id")),
        sa.PrimaryKeyConstraint("payment_method_id", name=op.f("pk_payment_method")),
        sa.UniqueConstraint(
            "office_id",
            "provider",
            "provider_token_hash",
            name=op.f("uq_payment_method_office_id_provider_provider_token_hash"),
        ),
    )
    op.create_index(op.f("ix_payment_method_fingerprint"), "payment_method", ["fingerprint"])
    op.create_table(
        "charge",
        sa.Column("charge_key", sa.String(length=160), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.String(length=128), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("payment_method_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("provider_charge_id", sa.String(length=255), nullable=False),
        sa.Column("decline_code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.String(length=500), nullable=False),
        sa.Column("confirmation_url", sa.String(length=2048), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("given_back_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_charge_office_id")),
        sa.ForeignKeyConstraint(
            ["payment_method_id"], ["payment_method.payment_method_id"], name=op.f("fk_charge_payment_method_id")
        ),
        sa.PrimaryKeyConstraint("charge_key", name=op.f("pk_charge")),
        sa.UniqueConstraint("purpose", "subject_id", "attempt", name=op.f("uq_charge_purpose_subject_id_attempt")),
    )
    op.create_index(op.f("ix_charge_office_id_created_at"), "charge", ["office_id", "created_at"])
    op.create_index(op.f("ix_charge_provider_charge_id"), "charge", ["provider_charge_id"])
    op.create_index(
        "ix_charge_undecided",
        "charge",
        ["created_at"],
        sqlite_where=sa.text("decided_at IS NULL"),
        postgresql_where=sa.text("decided_at IS NULL"),
    )
    op.create_table(
        "invoice_item",
        sa.Column("item_id", sa.String(length=128), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("credit_number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["office_id", "credit_number"],
            ["credit.office_id", "credit.number"],
            name=op.f("fk_invoice_item_office_id_credit_number"),
        ),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_invoice_item_office_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_invoice_item")),
    )
    op.create_index(op.f("ix_invoice_item_office_id_month"), "invoice_item", ["office_id", "month"])
    op.create_table(
        "purchase",
        sa.Column("purchase_id", sa.String(length=64), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("payment_method_id", sa.String(length=64), nullable=True),
        sa.Column("idempotency_key", sa.String(length=128), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("credit_number", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["office_id", "credit_number"],
            ["credit.office_id", "credit.number"],
            name=op.f("fk_purchase_office_id_credit_number"),
        ),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_purchase_office_id")),
        sa.ForeignKeyConstraint(
            ["payment_method_id"], ["payment_method.payment_method_id"], name=op.f("fk_purchase_payment_method_id")
        ),
        sa.PrimaryKeyConstraint("purchase_id", name=op.f("pk_purchase")),
        sa.UniqueConstraint("office_id", "idempotency_key", name=op.f("uq_purchase_office_id_idempotency_key")),
    )
    op.create_table(
        "refill",
        sa.Column("refill_id", sa.String(length=128), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("credit_number", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["office_id", "credit_number"],
            ["credit.office_id", "credit.number"],
            name=op.f("fk_refill_office_id_credit_number"),
        ),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_refill_office_id")),
        sa.PrimaryKeyConstraint("refill_id", name=op.f("pk_refill")),
    )
    op.create_index(op.f("ix_refill_office_id_number"), "refill", ["office_id", "number"])
    op.create_index(
        "ix_refill_unfinished",
        "refill",
        ["office_id"],
        sqlite_where=sa.text("status IN ('INTENDED', 'CHARGING')"),
        postgresql_where=sa.text("status IN ('INTENDED', 'CHARGING')"),
    )
    op.create_table(
        "chargeback",
        sa.Column("chargeback_id", sa.String(length=255), nullable=False),
        sa.Column("charge_key", sa.String(length=160), nullable=False),
        sa.Column("office_id", sa.String(length=64), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("taken_micros", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["charge_key"], ["charge.charge_key"], name=op.f("fk_chargeback_charge_key")),
        sa.ForeignKeyConstraint(["office_id"], ["office.office_id"], name=op.f("fk_chargeback_office_id")),
        sa.PrimaryKeyConstraint("chargeback_id", name=op.f("pk_chargeback")),
    )
    op.create_index(op.f("ix_chargeback_office_id"), "chargeback", ["office_id"])

    op.execute(sa.text("DELETE FROM outbox_position"))
    op.execute(sa.text("INSERT INTO sequence (name, value) VALUES ('epoch', 0)"))
