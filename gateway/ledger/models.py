"""The tables. Nothing outside gateway/ledger/ sees these classes: repositories take and give frozen dataclasses.

Conventions, for whoever adds a table:

- Money is BigInteger micros. Instants are BigInteger Unix milliseconds (`..._at`, UTC by nature): one type that both
  databases compare and index alike, with no time zone for a driver to lose.
- Enums are stored by name in a VARCHAR without a CHECK, so that a new member needs no migration and a query reads
  like English.
- Every constraint has a name (the convention below), so that a migration can drop it on either database.
"""

from enum import Enum as PyEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gateway.domain.credit import CreditKind, CreditStatus
from gateway.domain.vocabulary import OfficeState, PaymentTerms, Role


def _enum(values: type[PyEnum]) -> Enum:
    return Enum(values, native_enum=False, length=32, create_constraint=False)


_Json = JSON(none_as_null=True)

# SQLite numbers a row by itself only where the key is declared INTEGER, which holds 64 bits there.
_BigKey = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The root of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class CompanyRow(Base):
    """A company: what offices belong to."""

    __tablename__ = "company"

    company_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[int] = mapped_column(BigInteger)


class OfficeRow(Base):
    """An office: the holder of a balance. The balance itself is in the store and, as credits and debits, in the ledger.

    `version` grows by one with every change. `projected_version` and `projected_credit_limit_micros` are what the
    store is known to hold: where the first is behind, the office is to be projected, and the second is what a lower
    credit limit that the store refuses goes back to.
    """

    __tablename__ = "office"
    __table_args__ = (Index(None, "company_id", "office_id"),)

    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey(CompanyRow.company_id))
    name: Mapped[str] = mapped_column(String(200))
    country: Mapped[str] = mapped_column(String(2))
    currency: Mapped[str] = mapped_column(String(3))
    time_zone: Mapped[str] = mapped_column(String(64))
    tariff: Mapped[str] = mapped_column(String(128))
    credit_limit_micros: Mapped[int] = mapped_column(BigInteger)
    max_concurrent_calls: Mapped[int] = mapped_column(Integer)
    max_price_per_minute_micros: Mapped[int] = mapped_column(BigInteger)
    daily_spend_limit_micros: Mapped[int] = mapped_column(BigInteger)
    payment_terms: Mapped[PaymentTerms] = mapped_column(_enum(PaymentTerms))
    state: Mapped[OfficeState] = mapped_column(_enum(OfficeState))
    refill_enabled: Mapped[bool]
    refill_threshold_micros: Mapped[int] = mapped_column(BigInteger)
    refill_amount_micros: Mapped[int] = mapped_column(BigInteger)
    refill_payment_method_id: Mapped[str] = mapped_column(String(128))
    refill_generation: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    projected_version: Mapped[int] = mapped_column(BigInteger)
    projected_credit_limit_micros: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)


# Both databases keep the index down to the few rows that are waiting.
Index(
    "ix_office_unprojected",
    OfficeRow.office_id,
    sqlite_where=OfficeRow.projected_version < OfficeRow.version,
    postgresql_where=OfficeRow.projected_version < OfficeRow.version,
)


class CreditRow(Base):
    """A numbered credit. Rows are never deleted, and `requested_micros` never changes."""

    __tablename__ = "credit"
    __table_args__ = (
        UniqueConstraint("office_id", "idempotency_key"),
        UniqueConstraint("office_id", "refill_id"),
    )

    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requested_micros: Mapped[int] = mapped_column(BigInteger)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[CreditKind] = mapped_column(_enum(CreditKind))
    reason: Mapped[str] = mapped_column(String(500))
    idempotency_key: Mapped[str] = mapped_column(String(128))
    content_hash: Mapped[str] = mapped_column(String(64))
    refill_id: Mapped[str | None] = mapped_column(String(128))
    status: Mapped[CreditStatus] = mapped_column(_enum(CreditStatus))
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    applied_at: Mapped[int | None] = mapped_column(BigInteger)


Index(
    "ix_credit_unapplied",
    CreditRow.office_id,
    CreditRow.number,
    sqlite_where=CreditRow.applied_at.is_(None),
    postgresql_where=CreditRow.applied_at.is_(None),
)


class TokenRow(Base):
    """A token. The secret is nowhere: only its SHA-256 is, which is enough for 256 random bits."""

    __tablename__ = "token"
    __table_args__ = (Index(None, "created_at", "token_id"),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(32), unique=True)
    role: Mapped[Role] = mapped_column(_enum(Role))
    company_id: Mapped[str | None] = mapped_column(ForeignKey(CompanyRow.company_id))
    office_ids: Mapped[list[str]] = mapped_column(_Json)
    switch_id: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(String(200))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    projected_version: Mapped[int] = mapped_column(BigInteger)


Index(
    "ix_token_unprojected",
    TokenRow.token_id,
    sqlite_where=TokenRow.projected_version < TokenRow.version,
    postgresql_where=TokenRow.projected_version < TokenRow.version,
)


class DeckRow(Base):
    """A version of the rate deck, kept for ever: calls are explained by the version that priced them."""

    __tablename__ = "deck"

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # The CSV text in UTF-8, by zlib.
    sha256: Mapped[str] = mapped_column(String(64))  # Of the text, not of the compressed bytes.
    row_count: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(String(200))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class RefillTriggerRow(Base):
    """A refill that the store asked for. `seq` is the cursor of WatchRefills: without gaps, in the order of commits.

    The office is no foreign key: a trigger is a fact of the store's outbox, and one that could not be recorded would
    stop the journal of its whole shard.
    """

    __tablename__ = "refill_trigger"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    refill_id: Mapped[str] = mapped_column(String(128), unique=True)
    office_id: Mapped[str] = mapped_column(String(64), index=True)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    threshold_micros: Mapped[int] = mapped_column(BigInteger)
    available_micros: Mapped[int] = mapped_column(BigInteger)
    raised_at: Mapped[int] = mapped_column(BigInteger)
    recorded_at: Mapped[int] = mapped_column(BigInteger)


class OutboxPositionRow(Base):
    """Up to where a shard's outbox was read: committed together with what was read there."""

    __tablename__ = "outbox_position"

    shard: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[str] = mapped_column(String(64))


class SequenceRow(Base):
    """A counter whose lock is held to the commit, so that numbers become visible in order and none is lost.

    A database's own sequence promises neither: on PostgreSQL a reader may see 8 before 7 is committed, and a cursor
    that has passed 8 never sees 7.
    """

    __tablename__ = "sequence"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class AuditRow(Base):
    """Who changed what, when, from what to what. Only ever appended to."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "target", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(_BigKey, primary_key=True, autoincrement=True)
    at: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(192))
    before: Mapped[dict[str, object] | None] = mapped_column(_Json)
    after: Mapped[dict[str, object] | None] = mapped_column(_Json)
