"""Reading the cells of one line of a deck: text to value, with every fault reported by its column.

Each function returns None after it has reported a fault, and goes on to look for further ones first.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, TypeVar

from gateway.domain.deck.rows import DeckService, RowScope
from gateway.domain.money import MICROS_PER_UNIT, AmountError, parse_amount, shorten
from gateway.domain.numbers import COUNTRIES, NumberType
from gateway.domain.rate import (
    DEFAULT_TICK_SECONDS,
    MAX_PRICE_MICROS,
    MAX_TICK_SECONDS,
    MessageRate,
    RateError,
    Slot,
)
from gateway.domain.vocabulary import Direction, License

SCOPE_COLUMNS: Final = ("tariff", "service", "direction", "license", "origin", "number_type")
BILLING_COLUMNS: Final = ("from_second", "price", "per_seconds", "increment_seconds", "connect_fee", "tick_seconds")
TIME_COLUMNS: Final = tuple(column for column in BILLING_COLUMNS if column != "price")

COLUMNS: Final = (
    *("tariff", "service", "direction", "license", "origin", "prefix", "number_type"),
    *BILLING_COLUMNS,
    "description",
)

MAX_PREFIX_LENGTH: Final = 15
MAX_DESCRIPTION_LENGTH: Final = 200

Cells: TypeAlias = Mapping[str, str]
"""The cells of a line by column, without surrounding spaces."""

Report: TypeAlias = Callable[[str, str], None]
"""Takes a column and what is wrong with its cell."""

T = TypeVar("T")

_TARIFF: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PREFIX: Final = re.compile(rf"[1-9][0-9]{{0,{MAX_PREFIX_LENGTH - 1}}}", re.ASCII)
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_SERVICES: Final = {each.name: each for each in DeckService}
_DIRECTIONS: Final = {each.name: each for each in Direction}
_LICENSES: Final = {each.name: each for each in License}
_NUMBER_TYPES: Final = {each.name: each for each in NumberType if each is not NumberType.UNKNOWN}


class Billing(NamedTuple):
    """The billing cells of one line for calls.

    Attributes:
        slot: The line's time band.
        connect_fee_micros: None if the cell is empty.
        tick_seconds: None if the cell is empty.
    """

    slot: Slot
    connect_fee_micros: int | None
    tick_seconds: int | None


_FREE: Final = Billing(Slot(0, 0, DEFAULT_TICK_SECONDS, DEFAULT_TICK_SECONDS), None, None)


def read_scope(cells: Cells, report: Report) -> RowScope | None:
    """Read the cells, other than the prefix, that say what a line is for."""
    faults = _Faults(report)
    service = _named("service", cells, _SERVICES, faults.add)
    if not cells["service"]:
        faults.add("service", f"is empty; it must be {_one_of(_SERVICES)}")
    direction = _named("direction", cells, _DIRECTIONS, faults.add)
    license_ = _named("license", cells, _LICENSES, faults.add)
    number_type = _named("number_type", cells, _NUMBER_TYPES, faults.add)
    # A row that nothing could ever match is a misunderstanding, and silence would hide it.
    if service is not None and service.is_message:
        if direction is Direction.INBOUND:
            faults.add("direction", "is INBOUND; only outbound messages are charged")
        if license_ not in (None, License.STANDARD):
            faults.add("license", f"is {license_.name}; a message has no licence, leave it empty")
    tariff = cells["tariff"]
    if tariff and _TARIFF.fullmatch(tariff) is None:
        faults.add("tariff", f"is {shorten(tariff)}; it must be 1 to 64 of A-Z a-z 0-9 . _ -")
    origin = cells["origin"].upper()
    if origin and origin not in COUNTRIES:
        faults.add("origin", f"is {shorten(origin)}; it must be an ISO 3166 country code such as US")
    if service is None or faults.count:
        return None
    return RowScope(service, tariff, license_, number_type, origin, direction)


def read_prefix(prefix: str, report: Report) -> str | None:
    """Check the digits that a called number must begin with."""
    if not prefix or _PREFIX.fullmatch(prefix):
        return prefix
    hint = "without a plus" if prefix.startswith("+") else "not beginning with 0"
    report("prefix", f"is {shorten(prefix)}; it must be 1 to {MAX_PREFIX_LENGTH} digits of E.164, {hint}, or empty")
    return None


def read_description(description: str, report: Report) -> str | None:
    """Check the text for people."""
    if len(description) > MAX_DESCRIPTION_LENGTH:
        report("description", f"has {len(description)} characters, at most {MAX_DESCRIPTION_LENGTH} fit")
    elif not description.isprintable():
        report("description", "holds control characters")
    else:
        return description
    return None


def read_billing(cells: Cells, report: Report) -> Billing | None:
    """Read the billing cells of a line for calls.

    A line with none of them is FREE. On any other line the price, what it is for and the increment must be there: a
    cell forgotten must not make calls free, nor turn a price per hour into one per minute.
    """
    if not any(cells[column] for column in BILLING_COLUMNS):
        return _FREE
    faults = _Faults(report)
    price_micros = _price("price", cells, faults.add)
    fee = _price("connect_fee", cells, faults.add) if cells["connect_fee"] else None
    from_second = _seconds("from_second", cells, faults.add) if cells["from_second"] else 0
    per_seconds = _seconds("per_seconds", cells, faults.add)
    increment_seconds = _seconds("increment_seconds", cells, faults.add)
    tick_seconds = _seconds("tick_seconds", cells, faults.add) if cells["tick_seconds"] else None
    if tick_seconds is not None and not 1 <= tick_seconds <= MAX_TICK_SECONDS:
        faults.add("tick_seconds", f"is {tick_seconds:,}; it must be 1 to {MAX_TICK_SECONDS:,}")
    if price_micros is None or from_second is None or per_seconds is None or increment_seconds is None:
        return None
    try:
        slot = Slot(from_second, price_micros, per_seconds, increment_seconds)
    except RateError as error:
        faults.add(error.field, error.message)
        return None
    return None if faults.count else Billing(slot, fee, tick_seconds)


def read_message_rate(cells: Cells, report: Report) -> MessageRate | None:
    """Read the billing cells of a line for messages: a price per segment and nothing else."""
    faults = _Faults(report)
    for column in TIME_COLUMNS:
        if cells[column]:
            faults.add(column, f"is {shorten(cells[column])}; it must be empty for messages")
    price_micros = _price("price", cells, faults.add)
    return None if price_micros is None or faults.count else MessageRate(price_micros)


class _Faults:
    """Counts what passes through to a report."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.count = 0

    def add(self, column: str, message: str) -> None:
        self.count += 1
        self._report(column, message)


def _price(column: str, cells: Cells, report: Report) -> int | None:
    text = cells[column]
    if not text:
        report(column, "is empty; write 0 for free")
        return None
    try:
        micros = parse_amount(text)
    except AmountError as error:
        report(column, str(error))
        return None
    if not 0 <= micros <= MAX_PRICE_MICROS:
        report(column, f"is {text}; it must be 0 to {MAX_PRICE_MICROS // MICROS_PER_UNIT:,} units")
        return None
    return micros


def _seconds(column: str, cells: Cells, report: Report) -> int | None:
    text = cells[column]
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    report(column, f"is {shorten(text)}; it must be a whole number of seconds" if text else "is empty; write seconds")
    return None


def _named(column: str, cells: Cells, values: Mapping[str, T], report: Report) -> T | None:
    text = cells[column].upper()
    if text and text not in values:
        report(column, f"is {shorten(text)}; it must be {_one_of(values)}")
    return values.get(text)


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
