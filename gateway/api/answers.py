"""What calls and messages have in common on their way to an answer."""

from typing import Final, cast

from gateway.domain.deck import MessageRateRow, RateRow
from gateway.domain.deck.rows import RowScope
from gateway.domain.rate import Rate
from gateway.domain.vocabulary import Category, Reason
from gateway.errors import AlreadyExists, ResourceExhausted, Unavailable
from gateway.store.codes import Code
from gateway.v1 import authorization_pb2 as pb

OFFICE_CHANGES: Final = 5
"""How often an office's settings may change under one request before the caller is asked to retry."""

_DECISIONS: Final = {int(reason): cast("pb.Decision.ValueType", int(reason.decision)) for reason in Reason}
_REASONS: Final = {int(reason): cast("pb.Reason.ValueType", int(reason)) for reason in Reason}
_CATEGORIES: Final = {int(category): cast("pb.Category.ValueType", int(category)) for category in Category}


def decision_of(reason: Reason | Code) -> pb.Decision.ValueType:
    """The decision that a reason, or the code of the same number, stands for, in the contract's terms."""
    return _DECISIONS[reason]


def reason_of(reason: Reason | Code) -> pb.Reason.ValueType:
    """The same reason in the contract's terms: the numbers are equal."""
    return _REASONS[reason]


def category_of(category: Category | int | None) -> pb.Category.ValueType:
    """The same category in the contract's terms."""
    return _CATEGORIES.get(category or 0, pb.CATEGORY_UNSPECIFIED)


def id_reused(field: str) -> AlreadyExists:
    """The error for an id that stands for another request already."""
    return AlreadyExists(
        f"This {field} was used for another request; give every call and message an id of its own.",
        reason="ID_REUSED",
        field=field,
    )


def too_many_in_flight() -> ResourceExhausted:
    """The error for a request more than this process answers at once."""
    return ResourceExhausted("Too many requests are in flight; retry with the same id after a moment.")


def settings_keep_changing() -> Unavailable:
    """The error for an office whose settings changed again with every look."""
    return Unavailable("The office's settings keep changing; retry with the same id.", reason="OFFICE_CHANGING")


def call_rate_row(deck_version: int, row: RateRow) -> pb.RateRow:
    """A row that prices calls, for people."""
    message = _rate_row(deck_version, row.row_id, row.scope, row.prefix, row.description, row.explain())
    fill_rate(message, row.rate)
    return message


def fill_rate(message: pb.RateRow, rate: Rate) -> None:
    """Give a row the prices of its calls."""
    message.connect_fee_micros = rate.connect_fee_micros
    message.tick_seconds = rate.tick_seconds
    for slot in rate.slots:
        message.slots.add(
            from_second=slot.from_second,
            price_micros=slot.price_micros,
            per_seconds=slot.per_seconds,
            increment_seconds=slot.increment_seconds,
        )


def message_rate_row(deck_version: int, row: MessageRateRow) -> pb.RateRow:
    """A row that prices messages, for people."""
    message = _rate_row(deck_version, row.row_id, row.scope, row.prefix, row.description, row.explain())
    message.slots.add(price_micros=row.rate.price_micros)
    return message


def _rate_row(deck_version: int, line: int, scope: RowScope, prefix: str, description: str, why: str) -> pb.RateRow:
    return pb.RateRow(
        deck_version=deck_version,
        line=line,
        tariff=scope.tariff,
        service=scope.service,
        direction=scope.direction.name if scope.direction else "",
        license=scope.license.name if scope.license else "",
        origin=scope.origin,
        prefix=prefix,
        number_type=scope.number_type or "",
        description=description,
        why=why,
    )
