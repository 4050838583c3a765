"""What an audit finds: two figures that should be one, each with where it comes from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.domain.money import format_amount

MOST_KEPT: Final = 1_000
"""Differences that a report keeps; beyond them it only counts."""


class Check(StrEnum):
    """What is compared; docs/operating/audit-and-rebuild.md says what each means and what helps."""

    EPOCH = "EPOCH"
    POSITION = "POSITION"
    OFFICE_MISSING = "OFFICE_MISSING"
    OFFICE_UNKNOWN = "OFFICE_UNKNOWN"
    BALANCE = "BALANCE"
    CREDITS = "CREDITS"
    CREDIT_NUMBER = "CREDIT_NUMBER"
    BOOK = "BOOK"
    BOOK_GAPS = "BOOK_GAPS"
    OUTBOX = "OUTBOX"
    RESERVED = "RESERVED"
    AVAILABLE = "AVAILABLE"
    CONCURRENT_CALLS = "CONCURRENT_CALLS"
    HELD = "HELD"
    CALL_DEBIT = "CALL_DEBIT"
    CALL_MISSING = "CALL_MISSING"
    USAGE = "USAGE"
    PRICE = "PRICE"
    COSTS_NOTHING = "COSTS_NOTHING"
    DECK_VERSION = "DECK_VERSION"
    CHARGED_TWICE = "CHARGED_TWICE"
    CHARGED_WITHOUT_CREDIT = "CHARGED_WITHOUT_CREDIT"
    CREDITED_WITHOUT_CHARGE = "CREDITED_WITHOUT_CHARGE"
    INVOICED_OTHERWISE = "INVOICED_OTHERWISE"


_NUMBERS: Final = frozenset(
    {
        Check.EPOCH,
        Check.POSITION,
        Check.OFFICE_MISSING,
        Check.OFFICE_UNKNOWN,
        Check.CREDIT_NUMBER,
        Check.BOOK_GAPS,
        Check.CONCURRENT_CALLS,
        Check.CALL_MISSING,
        Check.DECK_VERSION,
        Check.CHARGED_TWICE,
    }
)
"""Checks of counts and numbers; all others compare money."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and where it comes from; micros, or a number, as the check has it."""

    source: str
    value: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Two figures that should be one.

    Attributes:
        check: What was compared.
        office_id: Whose; empty: no single office's.
        subject: The call, message, credit, purchase or refill, where it is not the office itself.
        expected: By the side that the other is held against.
        found: By the other.
    """

    check: Check
    office_id: str
    subject: str
    expected: Figure
    found: Figure

    @property
    def is_money(self) -> bool:
        """Whether the figures are micros."""
        return self.check not in _NUMBERS

    @property
    def difference(self) -> int:
        """What was found beyond what was expected."""
        return self.found.value - self.expected.value

    def __str__(self) -> str:
        """One line: where, what, both figures and the difference."""
        show = format_amount if self.is_money else str
        where = " ".join(filter(None, (self.office_id, self.subject))) or "the installation"
        figures = f"{self.expected.source} {show(self.expected.value)}, {self.found.source} {show(self.found.value)}"
        sign = "+" if self.difference > 0 else ""
        return f"{self.check} {where}: {figures} ({sign}{show(self.difference)})"


@dataclass(slots=True)
class AuditReport:
    """What an audit found, and what it looked at.

    Attributes:
        differences: The first MOST_KEPT of them, in the order in which they were found.
        count: How many there are.
        too_busy: Offices that changed so fast that they could not be compared.
        offices: That were compared.
        live_calls: That were looked at in the store.
        outbox_entries: That the ledger did not have yet.
        usage_records: That were looked at.
        credits_to_come: Credits that the store does not have yet, and will.
        credits_to_come_micros: What these will move.
        ledger_knows_until: The newest that the ledger knows, in Unix milliseconds; 0: nothing.
    """

    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    too_busy: list[str] = field(default_factory=list)
    offices: int = 0
    live_calls: int = 0
    outbox_entries: int = 0
    usage_records: int = 0
    credits_to_come: int = 0
    credits_to_come_micros: int = 0
    ledger_knows_until: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything was compared and nothing differs."""
        return not self.count and not self.too_busy

    def add(self, differences: Iterable[Difference]) -> None:
        """Keep or count differences."""
        for difference in differences:
            self.count += 1
            if len(self.differences) < MOST_KEPT:
                self.differences.append(difference)
