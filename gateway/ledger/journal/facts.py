"""What an entry of an outbox tells, in the ledger's words: nothing here knows how the store packs it.

Amounts are micros, instants Unix milliseconds by the store's clock.
"""

from dataclasses import dataclass
from typing import TypeAlias

from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Reason, Service
from gateway.ledger.refills import RefillTrigger


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call or message was, as it was asked for and rated; kept as it is, whatever becomes of it.

    Attributes:
        request_id: Of the request that began it, where that was traced; else empty.
        trace: That request's trace id (16 bytes) and span id (8 bytes); else empty.
    """

    category: Category | None
    direction: Direction | None
    license: License | None
    service: Service | None
    message_kind: MessageKind | None
    segments: int
    calling_number: str
    called_number: str
    user_id: str
    department_id: str
    switch_id: str
    deck_version: int
    rate_line: int
    request_id: str = ""
    trace: bytes = b""


@dataclass(frozen=True, slots=True)
class CallBegun:
    """The first that the outbox tells of a call.

    Attributes:
        subject: What it was.
        reason: FUNDED, FREE or EMERGENCY.
        rate: The slots that price it, packed as in the store; no slots: it costs nothing.
        fingerprint: Of the request, 8 bytes.
        record: The whole call as the store packs it, of which rebuild makes it again.
    """

    subject: Subject
    reason: Reason
    rate: bytes
    fingerprint: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class CallEnded:
    """How a call ended; `duration_seconds` is what the switch said, `billed_seconds` what it pays for."""

    duration_seconds: int
    billed_seconds: int
    written_off_micros: int
    cause: str


@dataclass(frozen=True, slots=True)
class CallMoved:
    """A call was debited, lapsed, was heard of again, or ended.

    Attributes:
        call_id: Which call.
        authorized_at: Tells calls apart that had the same id.
        state: After it.
        debited_micros: Of the whole call so far.
        confirmed_seconds: The highest that its switch said.
        answered_at: 0: not answered.
        begun: With the first entry of a call, else None.
        ended: With the last, else None.
    """

    call_id: str
    authorized_at: int
    state: UsageState
    debited_micros: int
    confirmed_seconds: int
    answered_at: int
    begun: CallBegun | None
    ended: CallEnded | None


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A message was granted and debited whole."""

    message_id: str
    subject: Subject
    reason: Reason
    price_micros: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class MessageRefunded:
    """The debit of a message was given back."""

    message_id: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class LateRefund:
    """Somebody wants a message back that the store no longer knows: it is for the ledger to say."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A call or message was denied; so many before it were denied without an entry of their own."""

    thing_id: str
    kind: UsageKind
    reason: Reason
    subject: Subject
    unrecorded_before: int


@dataclass(frozen=True, slots=True)
class CreditApplied:
    """A numbered credit is on the balance. It confirms the credit's row and is not a second one."""

    number: int


Fact: TypeAlias = CallMoved | MessageSent | MessageRefunded | LateRefund | Refused | CreditApplied | RefillTrigger


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of an outbox.

    Attributes:
        entry_id: The stream's.
        office_id: Whose balance it is about.
        at: When it happened.
        amount_micros: What it moved: negative for a debit.
        balance_micros: After it.
        fact: What happened.
    """

    entry_id: str
    office_id: str
    at: int
    amount_micros: int
    balance_micros: int
    fact: Fact
