"""An entry of an outbox in the ledger's words: the one place that knows both how the store packs and what SQL keeps."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, TypeVar

from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Reason, Service
from gateway.ledger.journal import (
    CallBegun,
    CallEnded,
    CallMoved,
    CreditApplied,
    Entry,
    Fact,
    LateRefund,
    MessageRefunded,
    MessageSent,
    Refused,
    Subject,
)
from gateway.ledger.refills import RefillTrigger
from gateway.store.outbox import OutboxEntry
from gateway.store.records import unpack_origin
from gateway.v1.records_pb2 import Details


def entry_of(entry: OutboxEntry) -> Entry:
    """Translate an entry.

    Raises:
        KeyError, struct.error: Its kind, or a field of it, is not known here: another version of the scripts wrote it.
    """
    return Entry(entry.entry_id, entry.office_id, *entry.moved, _FACTS[entry.kind](entry))


def _call(entry: OutboxEntry) -> CallMoved:
    record, call = entry.fields.get(b"record"), entry.call
    return CallMoved(
        entry.thing_id,
        call.authorized_ms,
        _STATES[entry.kind],
        call.debited_micros,
        call.confirmed_seconds,
        call.answered_ms,
        _begun(record) if record is not None else None,
        _ended(entry) if entry.kind == "end" else None,
    )


def _begun(record: bytes) -> CallBegun:
    call = unpack_origin(record)
    return CallBegun(_subject(call.details, call.switch_id), call.reason, call.rate, call.fingerprint, record)


def _ended(entry: OutboxEntry) -> CallEnded:
    return CallEnded(*entry.end, entry.fields[b"cause"].decode(errors="replace"))


def _message(entry: OutboxEntry) -> MessageSent:
    details = Details.FromString(entry.fields[b"details"])
    return MessageSent(
        entry.thing_id,
        _subject(details, details.switch_id),
        Reason(entry.number(b"reason")),
        -entry.moved.amount_micros,
        entry.fields[b"fingerprint"],
    )


def _refused(entry: OutboxEntry) -> Refused:
    details = Details.FromString(entry.fields[b"details"])
    return Refused(
        entry.thing_id,
        UsageKind.CALL if entry.kind == "denied" else UsageKind.MESSAGE,
        Reason(entry.number(b"reason")),
        _subject(details, details.switch_id),
        entry.number(b"unrecorded_before"),
    )


def _trigger(entry: OutboxEntry) -> RefillTrigger:
    return RefillTrigger(
        refill_id=entry.thing_id,
        office_id=entry.office_id,
        amount_micros=entry.number(b"refill_amount"),
        threshold_micros=entry.number(b"threshold"),
        available_micros=entry.number(b"available"),
        raised_at=entry.moved.at_ms,
    )


def _subject(details: Details, switch_id: str) -> Subject:
    """What was asked for."""
    return Subject(
        category=_CATEGORIES[details.category],
        direction=_DIRECTIONS[details.direction],
        license=_LICENSES[details.license],
        service=_SERVICES[details.service],
        message_kind=_MESSAGE_KINDS[details.message_kind],
        segments=details.segments,
        calling_number=details.calling_number,
        called_number=details.called_number,
        user_id=details.user_id,
        department_id=details.department_id,
        switch_id=switch_id or details.switch_label,
        deck_version=details.deck_version,
        rate_line=details.rate_line,
        request_id=details.request_id,
        trace=details.trace,
    )


_Word = TypeVar("_Word", bound=IntEnum)


def _words(vocabulary: type[_Word]) -> dict[int, _Word | None]:
    """The words of the details by their numbers; 0 is an absence."""
    return {0: None, **{word.value: word for word in vocabulary}}


_CATEGORIES: Final = _words(Category)
_DIRECTIONS: Final = _words(Direction)
_LICENSES: Final = _words(License)
_SERVICES: Final = _words(Service)
_MESSAGE_KINDS: Final = _words(MessageKind)

_STATES: Final = {
    "tick": UsageState.OPEN,
    "revive": UsageState.OPEN,
    "lapse": UsageState.LAPSED,
    "end": UsageState.CLOSED,
}

_FACTS: Final[Mapping[str, Callable[[OutboxEntry], Fact]]] = {
    "tick": _call,
    "revive": _call,
    "lapse": _call,
    "end": _call,
    "denied": _refused,
    "message": _message,
    "message_refund": lambda entry: MessageRefunded(entry.thing_id, entry.moved.amount_micros),
    "late_refund": lambda entry: LateRefund(entry.thing_id),
    "blocked": _refused,
    "credit": lambda entry: CreditApplied(int(entry.thing_id)),
    "refill": _trigger,
}
