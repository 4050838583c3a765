"""The demo's own books: what every balance must be, by what was asked for and what it was quoted to cost."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.cli.errors import CommandError


class BooksError(CommandError):
    """The gateway's figures are not what they must be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation that moved money.

    Attributes:
        office_id: Whose.
        what: The id of a call or message; or what else it was.
        amount_micros: Negative for a debit.
        is_usage: It was a call or message, or its refund: the usage report must have it.
    """

    office_id: str
    what: str
    amount_micros: int
    is_usage: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an office must have, what it has, and what is still reserved; in micros."""

    office_id: str
    operations: int
    expected_micros: int
    balance_micros: int
    reserved_micros: int

    @property
    def is_right(self) -> bool:
        """Whether the balance is right to the micro, and no call holds anything any more."""
        return self.expected_micros == self.balance_micros and self.reserved_micros == 0


class Books:
    """A list of operations, kept beside the gateway."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def enter(self, office_id: str, what: str, amount_micros: int) -> None:
        """Note an operation; a debit is negative."""
        self._entries.append(Entry(office_id, what, amount_micros))

    def settle(
        self, office_id: str, what: str, *, quoted_micros: int, debited_micros: int, missing_micros: int
    ) -> None:
        """Note the end of a call, or a message: it must cost what it was quoted.

        Args:
            office_id: Who pays.
            what: Its id.
            quoted_micros: The price by QuoteCall or QuoteMessage, asked beforehand.
            debited_micros: What the gateway says it took.
            missing_micros: What it wrote off.

        Raises:
            BooksError: It took something else.
        """
        if debited_micros + missing_micros != quoted_micros:
            raise BooksError(
                f"{what} of {office_id} was quoted {quoted_micros} micros, but debited {debited_micros} and "
                f"{missing_micros} written off"
            )
        self._entries.append(Entry(office_id, what, missing_micros - quoted_micros, is_usage=True))

    def refund(self, office_id: str, message_id: str, amount_micros: int) -> None:
        """Note that a message's debit was given back."""
        self._entries.append(Entry(office_id, message_id, amount_micros, is_usage=True))

    def offices(self) -> Iterator[str]:
        """Each office with an entry, once, in the order of their first."""
        yield from dict.fromkeys(entry.office_id for entry in self._entries)

    def expected_micros(self, office_id: str) -> int:
        """What the office's balance must be."""
        return sum(entry.amount_micros for entry in self._entries if entry.office_id == office_id)

    def costs_micros(self, office_id: str) -> dict[str, int]:
        """What each call and message of an office must have cost by the usage report, refunds taken off."""
        costs: dict[str, int] = {}
        for entry in self._entries:
            if entry.office_id == office_id and entry.is_usage:
                costs[entry.what] = costs.get(entry.what, 0) - entry.amount_micros
        return costs

    def judge(self, office_id: str, *, balance_micros: int, reserved_micros: int) -> Verdict:
        """Hold what an office has against what it must have."""
        operations = sum(entry.office_id == office_id for entry in self._entries)
        return Verdict(office_id, operations, self.expected_micros(office_id), balance_micros, reserved_micros)


def cut_billed_seconds(talked_seconds: int, granted_seconds: int) -> int:
    """What a call that was cut is billed: hanging up takes its time, of which the contract bills nothing up to 2 s."""
    return talked_seconds if talked_seconds > granted_seconds + 2 else min(talked_seconds, granted_seconds)
