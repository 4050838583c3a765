"""What the gateway's answers said, so that its books can be held against them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

MOST_FAULTS: Final = 50
MOST_PRICES: Final = 300


@dataclass
class Answers:
    """The books of those who ask.

    Attributes:
        debited: Office -> what its calls and messages cost by their answers, less what was given back, in micros.
        counts: How often something came to something, e.g. `calls`, `messages blocked`.
        prices: What calls cost, by number and seconds; some hundred of them, to be held against quotes.
        faults: What was wrong with an answer, a line each; the first of them.
        fault_count: How many there were.
    """

    debited: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    prices: dict[tuple[str, int], int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def count(self, what: str) -> None:
        """Count something that happened."""
        self.counts[what] += 1

    def fault(self, text: str) -> None:
        """An answer was wrong, or none came."""
        self.fault_count += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)

    def call_ended(
        self, office_id: str, called_number: str, billed_seconds: int, debited_micros: int, written_off_micros: int
    ) -> None:
        """A call ended, and cost so much in all."""
        self.debited[office_id] += debited_micros
        price = debited_micros + written_off_micros
        kept = self.prices.get((called_number, billed_seconds))
        if kept is None and len(self.prices) < MOST_PRICES:
            self.prices[called_number, billed_seconds] = price
        elif kept is not None and kept != price:
            self.fault(f"{billed_seconds} s to {called_number} cost {kept} micros, and then {price}")

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "debited": dict(self.debited),
            "counts": dict(self.counts),
            "prices": [[number, seconds, price] for (number, seconds), price in self.prices.items()],
            "faults": self.faults,
            "fault_count": self.fault_count,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """Read what another process wrote."""
        return cls(
            debited=Counter(said["debited"]),
            counts=Counter(said["counts"]),
            prices={(number, seconds): price for number, seconds, price in said["prices"]},
            faults=list(said["faults"]),
            fault_count=said["fault_count"],
        )
