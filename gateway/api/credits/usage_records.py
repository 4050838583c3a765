"""Usage records in the contract's terms, and explained step by step."""

from collections.abc import Iterator
from typing import Final

from gateway.api.answers import decision_of
from gateway.api.credits.arithmetic import price_steps
from gateway.api.credits.fields import enum_of, instant
from gateway.domain.deck import AnyRow, MessageRateRow
from gateway.domain.money import format_amount
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import CallState, FinalReason, Reason
from gateway.ledger.usage import UsageRecord
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb

WHY_REFUSED: Final = {
    Reason.INVALID_NUMBER: "the called number is none",
    Reason.UNKNOWN_OFFICE: "the office did not exist",
    Reason.OFFICE_SUSPENDED: "the office was suspended",
    Reason.CALL_ENDED: "a call of this id had ended already",
    Reason.MESSAGE_REFUNDED: "the message of this id had been refunded already",
    Reason.DESTINATION_BLOCKED: "the destination is one of those that are blocked",
    Reason.FRAUD_GUARD: "the office had called abroad for as much as its fraud guard allows in an hour",
    Reason.NO_RATE: "no row of the deck was for it",
    Reason.PRICE_LIMIT: "a minute of it is dearer than the office allows",
    Reason.TOO_MANY_CALLS: "the office had as many calls at a time as it may",
    Reason.SPEND_LIMIT: "it would have passed what the office may spend in a day",
    Reason.INSUFFICIENT_FUNDS: "what was available did not pay for the beginning of it",
}


def record_message(record: UsageRecord, row: authorization_pb2.RateRow | None) -> pb.UsageRecord:
    """A record as ListUsage and ExplainCall show it."""
    return pb.UsageRecord(
        id=record.thing_id,
        category=enum_of(record.category),
        direction=enum_of(record.direction),
        started_at=instant(record.started_at),
        user_id=record.user_id,
        department_id=record.department_id,
        calling_number=record.calling_number,
        called_number=record.called_number,
        duration_seconds=record.duration_seconds,
        cost_micros=record.cost_micros,
        decision=decision_of(record.reason),
        reason=enum_of(record.reason),
        refunded=record.refunded_micros > 0,
        rate_row=row,
        state=enum_of(call_state(record)),
        billed_seconds=record.billed_seconds,
        segments=record.segments,
        refunded_micros=record.refunded_micros,
    )


def is_call(record: UsageRecord) -> bool:
    """Whether it is a call (or fax) that was let through."""
    return record.kind is UsageKind.CALL and not record.is_refused


def call_state(record: UsageRecord) -> CallState | None:
    """Where a call stands as far as its record knows; None for a message and for what was refused.

    A record that is still open of a call that the store does not know is of one that may yet be heard of, as a lapsed
    one is.
    """
    if not is_call(record):
        return None
    return CallState.ENDED if record.state is UsageState.CLOSED else CallState.LAPSED


def record_call(office_id: str, record: UsageRecord) -> pb.Call:
    """A call out of its record, as GetCall shows it."""
    state = call_state(record)
    message = pb.Call(
        office_id=office_id,
        call_id=record.thing_id,
        state=enum_of(state),
        reason=enum_of(record.reason),
        category=enum_of(record.category),
        direction=enum_of(record.direction),
        license=enum_of(record.license),
        service=enum_of(record.service),
        calling_number=record.calling_number,
        called_number=record.called_number,
        user_id=record.user_id,
        department_id=record.department_id,
        switch_id=record.switch_id,
        authorized_at=instant(record.life_at or record.started_at),
        used_seconds=record.billed_seconds,
        confirmed_seconds=record.duration_seconds,
        debited_micros=record.cost_micros,
        written_off_micros=record.written_off_micros,
        final_reason=enum_of(FinalReason.ENDED if state is CallState.ENDED else None),
    )
    if record.answered_at:
        message.answered_at.CopyFrom(instant(record.answered_at))
    return message


def record_steps(record: UsageRecord, row: AnyRow | None) -> Iterator[str]:
    """What was asked, by which row it was judged, and what came of it; a line each."""
    kinds = (record.direction, record.service, record.license, record.message_kind)
    names = ", ".join(kind.name for kind in kinds if kind is not None)
    yield f"to {record.called_number}{names and f': {names}'}"
    if row is not None:
        yield f"deck {record.deck_version}, {row.explain()}"
    elif record.deck_version and record.rate_line:
        yield f"deck {record.deck_version}, row {record.rate_line}"
    if record.is_refused:
        yield f"refused, {record.reason.name}: {WHY_REFUSED[record.reason]}; nothing was debited"
    elif record.reason is Reason.EMERGENCY:
        yield "an emergency: not rated, never debited"
    elif record.reason is Reason.FREE:
        yield "free: nothing was debited"
    elif record.kind is UsageKind.MESSAGE:
        yield from _steps_of_message(record, row)
    else:
        yield from _steps_of_call(record)


def _steps_of_message(record: UsageRecord, row: AnyRow | None) -> Iterator[str]:
    debited = record.cost_micros + record.refunded_micros
    each = f" at {format_amount(row.rate.price_micros)}" if isinstance(row, MessageRateRow) else ""
    yield f"segments: {record.segments}{each}, debited {format_amount(debited)}"
    if record.refunded_micros:
        yield f"refunded {format_amount(record.refunded_micros)}: the carrier did not take it"


def _steps_of_call(record: UsageRecord) -> Iterator[str]:
    rate = record.call_rate
    if rate is not None:
        yield from price_steps(rate, record.billed_seconds)
    yield f"lasted {record.duration_seconds} s, billed {record.billed_seconds} s"
    yield f"debited {format_amount(record.cost_micros)}"
    if record.written_off_micros:
        yield f"written off {format_amount(record.written_off_micros)}: no funds were there for it"
    if record.state is not UsageState.CLOSED:
        yield "settled at what its switch confirmed; it may be heard of again"
