"""What the journal takes from the outboxes, and how far it has come."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Reason, Service
from gateway.ledger.models.base import Base, BigKey, enum_column


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
    is_open: Mapped[bool] = mapped_column(Boolean)  # The refiller has yet to look at it.


Index(
    "ix_refill_trigger_open",
    RefillTriggerRow.seq,
    sqlite_where=RefillTriggerRow.is_open.is_(True),
    postgresql_where=RefillTriggerRow.is_open.is_(True),
)


class OutboxPositionRow(Base):
    """Up to where a shard's outbox was read: committed together with what was read there."""

    __tablename__ = "outbox_position"

    shard: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[str] = mapped_column(String(64))


class UsageRow(Base):
    """A call, a fax or a message: what it was, what it cost, or why it was refused.

    `life_at` tells apart what has the same id: the authorization of a call or the sending of a message, in Unix
    milliseconds, or 0 for a refusal, which a later grant of the same id replaces. `cost_micros` is what it was debited,
    net: 0 again once it was refunded. An open call has what it was debited so far.
    """

    __tablename__ = "usage_record"
    __table_args__ = (
        UniqueConstraint("office_id", "thing_id", "life_at"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    office_id: Mapped[str] = mapped_column(String(64))
    thing_id: Mapped[str] = mapped_column(String(128))
    life_at: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[UsageKind] = mapped_column(enum_column(UsageKind))
    state: Mapped[UsageState] = mapped_column(enum_column(UsageState))
    reason: Mapped[Reason] = mapped_column(enum_column(Reason))
    category: Mapped[Category | None] = mapped_column(enum_column(Category))
    direction: Mapped[Direction | None] = mapped_column(enum_column(Direction))
    license: Mapped[License | None] = mapped_column(enum_column(License))
    service: Mapped[Service | None] = mapped_column(enum_column(Service))
    message_kind: Mapped[MessageKind | None] = mapped_column(enum_column(MessageKind))
    segments: Mapped[int] = mapped_column(Integer)
    calling_number: Mapped[str] = mapped_column(String(128))
    called_number: Mapped[str] = mapped_column(String(128))
    user_id: Mapped[str] = mapped_column(String(128))
    department_id: Mapped[str] = mapped_column(String(128))
    switch_id: Mapped[str] = mapped_column(String(128))
    started_at: Mapped[int] = mapped_column(BigInteger)
    answered_at: Mapped[int] = mapped_column(BigInteger)  # 0: not answered.
    closed_at: Mapped[int] = mapped_column(BigInteger)  # 0: open.
    duration_seconds: Mapped[int] = mapped_column(Integer)  # As the switch said; what was confirmed, while open.
    billed_seconds: Mapped[int] = mapped_column(Integer)
    cost_micros: Mapped[int] = mapped_column(BigInteger)
    refunded_micros: Mapped[int] = mapped_column(BigInteger)
    written_off_micros: Mapped[int] = mapped_column(BigInteger)
    cause: Mapped[str] = mapped_column(String(200))
    deck_version: Mapped[int] = mapped_column(BigInteger)
    rate_line: Mapped[int] = mapped_column(Integer)
    rate: Mapped[bytes] = mapped_column(LargeBinary)  # As packed in the store: the slots that price the call.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)  # Of the request, 8 bytes; empty: a refusal.
    record: Mapped[bytes] = mapped_column(LargeBinary)  # As in the store, of a call that is not over: for rebuild.
    request_id: Mapped[str | None] = mapped_column(String(128))  # Of the request that began it, where it was traced.
    trace_id: Mapped[str | None] = mapped_column(String(32))  # In hexadecimal; likewise.


Index(
    "ix_usage_record_unfinished",
    UsageRow.office_id,
    UsageRow.thing_id,
    sqlite_where=UsageRow.state != UsageState.CLOSED,
    postgresql_where=UsageRow.state != UsageState.CLOSED,
)

# The report's: its order, what it is filtered by and what is summed, so that neither looks at the records for it. An
# open call is not in it, and so costs it nothing until it is over (docs/decisions/0013-usage.md has the figures).
Index(
    "ix_usage_record_report",
    UsageRow.office_id,
    UsageRow.started_at,
    UsageRow.seq,
    UsageRow.state,
    UsageRow.category,
    UsageRow.reason,
    UsageRow.cost_micros,
    UsageRow.user_id,
    UsageRow.department_id,
    UsageRow.duration_seconds,
    sqlite_where=UsageRow.state != UsageState.OPEN,
    postgresql_where=UsageRow.state != UsageState.OPEN,
)

DAY_MS: Final = 86_400_000


def day_of_start() -> ColumnElement[int]:
    """The day of UTC in which a record started, counted from 1970, in the very words of the indexes below."""
    return UsageRow.started_at // literal_column(str(DAY_MS), BigInteger)


# The costliest and the longest of a month are among those of its days (gateway/ledger/usage_orders.py). By day, so that
# what is written now goes to a few pages, however long the ledger is. Alembic does not see such indexes on SQLite: a
# migration that has it copy the table has to drop them before and make them again behind.
Index(
    "ix_usage_record_by_cost",
    UsageRow.office_id,
    day_of_start(),
    UsageRow.cost_micros,
    UsageRow.seq,
    sqlite_where=UsageRow.state != UsageState.OPEN,
    postgresql_where=UsageRow.state != UsageState.OPEN,
)
Index(
    "ix_usage_record_by_duration",
    UsageRow.office_id,
    day_of_start(),
    UsageRow.duration_seconds,
    UsageRow.seq,
    sqlite_where=UsageRow.state != UsageState.OPEN,
    postgresql_where=UsageRow.state != UsageState.OPEN,
)


class OfficeBookRow(Base):
    """What the outbox has moved of an office's balance, in total: the ledger's own sum, beside the usage records'.

    balance_micros is what the last entry said that it left; credits_micros + moved_micros must be that.
    """

    __tablename__ = "office_book"

    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    credits_micros: Mapped[int] = mapped_column(BigInteger)
    moved_micros: Mapped[int] = mapped_column(BigInteger)  # By calls and messages: negative for debits.
    balance_micros: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(BigInteger)
    gaps: Mapped[int] = mapped_column(BigInteger)  # Entries whose balance did not follow from the one before.
    is_low: Mapped[bool] = mapped_column(Boolean)  # Below the refill threshold: this dip was told of.
    is_blocking: Mapped[bool] = mapped_column(Boolean)  # Messages are blocked for lack of funds: likewise.
    last_at: Mapped[int] = mapped_column(BigInteger)


class UnrecordedRefusalsRow(Base):
    """Refusals beyond what the outbox takes of them in a time: only their number is known."""

    __tablename__ = "unrecorded_refusals"
    __table_args__ = (Index(None, "office_id", "at"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    office_id: Mapped[str] = mapped_column(String(64))
    kind: Mapped[UsageKind] = mapped_column(enum_column(UsageKind))
    at: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int] = mapped_column(BigInteger)
