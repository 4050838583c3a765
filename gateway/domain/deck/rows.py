"""A row of a tariff deck: which calls or messages it is for, and what they cost."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from gateway.domain.money import format_amount
from gateway.domain.numbers import NumberType
from gateway.domain.rate import MessageRate, Rate
from gateway.domain.vocabulary import Direction, License

RateT = TypeVar("RateT", Rate, MessageRate)


class DeckService(StrEnum):
    """The values of a deck's service column; `Service` and `MessageKind` use the same names."""

    VOICE = "VOICE"
    FAX = "FAX"
    SMS = "SMS"
    MMS = "MMS"

    @property
    def is_message(self) -> bool:
        """Whether the price is per segment instead of per time."""
        return self in (DeckService.SMS, DeckService.MMS)


@dataclass(frozen=True, slots=True)
class RowScope:
    """The cells of a row, other than the prefix, that must fit for it to apply.

    Attributes:
        service: Always named.
        tariff: The office's tariff; "" fits any.
        license: The user's licence; None fits any.
        number_type: What the called number must be, seen from the office's country; None fits any.
        origin: The office's ISO country; "" fits any.
        direction: Which way the call goes; None fits any.
    """

    service: DeckService
    tariff: str = ""
    license: License | None = None
    number_type: NumberType | None = None
    origin: str = ""
    direction: Direction | None = None

    def conditions(self) -> dict[str, str]:
        """Return the named cells by column, in the order in which they decide between rows of equal prefix."""
        cells = {
            "tariff": self.tariff,
            "license": self.license.name if self.license else "",
            "number_type": self.number_type or "",
            "origin": self.origin,
            "direction": self.direction.name if self.direction else "",
        }
        return {column: str(cell) for column, cell in cells.items() if cell}


@dataclass(frozen=True, slots=True)
class DeckRow(Generic[RateT]):
    """One rate of a deck with the key it is found by.

    Attributes:
        row_id: The line of the deck's file on which its first slot stands; it names the row within a version.
        scope: The cells that must fit.
        prefix: The E.164 digits that the called number must begin with, 0 to 15 of them.
        rate: What it costs.
        description: For people; may be empty.
    """

    row_id: int
    scope: RowScope
    prefix: str
    rate: RateT
    description: str = ""

    @property
    def name(self) -> str:
        """How the row is called in answers and logs: "row 12 (Jamaica)"."""
        return f"row {self.row_id} ({self.description})" if self.description else f"row {self.row_id}"

    def explain(self) -> str:
        """Say in one line which row this is, what it matched by, and what it charges."""
        conditions = self.scope.conditions()
        matched = [f"prefix {self.prefix}"] if self.prefix else []
        matched += [f"{column} {cell}" for column, cell in conditions.items()]
        by = ", ".join(matched) or "any number"
        return f"{self.name}: {self.scope.service} matched by {by}; {describe(self.rate)}"


@dataclass(frozen=True, slots=True)
class RateRow(DeckRow[Rate]):
    """A row for calls or faxes."""


@dataclass(frozen=True, slots=True)
class MessageRateRow(DeckRow[MessageRate]):
    """A row for messages."""


AnyRow: TypeAlias = RateRow | MessageRateRow


def describe(rate: Rate | MessageRate) -> str:
    """Say what a rate charges, such as "0.20 to connect, 0.10 per 60 s by 60 s, from 60 s 0.05 per 60 s by 1 s"."""
    if rate.is_free:
        return "free"
    if isinstance(rate, MessageRate):
        return f"{format_amount(rate.price_micros)} per segment"
    parts = [f"{format_amount(rate.connect_fee_micros)} to connect"] if rate.connect_fee_micros else []
    for slot in rate.slots:
        since = f"from {slot.from_second} s " if slot.from_second else ""
        price = f"{format_amount(slot.price_micros)} per {slot.per_seconds} s by {slot.increment_seconds} s"
        parts.append(since + price)
    return ", ".join(parts)
