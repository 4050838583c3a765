"""The offices of a load: what they have when it begins, and what they must have when it is over."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

COMPANY: Final = "load-test"
FUNDS_MICROS: Final = 10**12
REFILL_MICROS: Final = 5_000_000
"""Threshold and amount of a refilled office: as low as the threshold, so that it is soon below it again."""

OVER_THRESHOLD_MICROS: Final = 100_000
"""What a refilled office has more than its threshold when the load begins: two or three messages dip it."""

MOST_REFILLS: Final = 4
"""Of an office: one fewer than a gateway allows on a day, unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Offices:
    """The offices of one run, by what they have.

    Attributes:
        funded: Those with more than any run spends.
        unfunded: Those with nothing: whatever costs something is denied.
        refilled: Those with a little more than the threshold of their automatic refill.
    """

    funded: tuple[str, ...]
    unfunded: tuple[str, ...] = ()
    refilled: tuple[str, ...] = ()

    @classmethod
    def named(cls, run_id: str, *, funded: int, unfunded: int = 0, refilled: int = 0) -> Self:
        """Name so many of each; a run's id keeps them from those of another one on the same gateway."""

        def names(kind: str, count: int) -> tuple[str, ...]:
            return tuple(f"load-{run_id}-{kind}-{number:04d}" for number in range(count))

        return cls(names("funded", funded), names("unfunded", unfunded), names("refilled", refilled))

    def all(self) -> tuple[str, ...]:
        """All of them."""
        return self.funded + self.unfunded + self.refilled

    def opening_micros(self) -> dict[str, int]:
        """Office -> its balance before the load."""
        return {
            **dict.fromkeys(self.funded, FUNDS_MICROS),
            **dict.fromkeys(self.unfunded, 0),
            **dict.fromkeys(self.refilled, REFILL_MICROS + OVER_THRESHOLD_MICROS),
        }

    def to_json(self) -> dict[str, list[str]]:
        """As the constructor takes it, for another process."""
        return {kind: list(names) for kind, names in asdict(self).items()}


def new_run_id() -> str:
    """An id that no earlier run on the same gateway had."""
    return f"{time.time_ns() // 1_000_000:x}"


def refills_due(opening_micros: int, debited_micros: int) -> int:
    """How many refills an office must have had that only sent messages.

    One each time that it fell below its threshold, and none above it; so the number follows from what it spent.
    """
    return max(0, -(-(REFILL_MICROS - (opening_micros - debited_micros)) // REFILL_MICROS))


def expected_balances(offices: Offices, debited: Mapping[str, int]) -> dict[str, int]:
    """Office -> the balance it must have after what it was debited, with the refills that this brought."""
    refilled = frozenset(offices.refilled)
    expected = {}
    for office_id, opening in offices.opening_micros().items():
        spent = debited.get(office_id, 0)
        refills = refills_due(opening, spent) if office_id in refilled else 0
        expected[office_id] = opening - spent + refills * REFILL_MICROS
    return expected


def describe(offices: Offices) -> dict[str, Any]:
    """How many there were of each."""
    return {kind: len(names) for kind, names in offices.to_json().items()}
