"""Medians, spreads and percentiles: what becomes of the measurements of several rounds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Self

PERCENTILES: Final = ("p50", "p90", "p99", "p999", "max")
"""The fields of `Latency`; p999 is the 99.9th percentile, which is the slowest answer where there are under 1,000."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number measured in several rounds: the median, and beside it the lowest and the highest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Iterable[float]) -> Self:
        """Sum up rounds.

        Raises:
            ValueError: There are none.
        """
        values = sorted(rounds)
        if not values:
            raise ValueError("a figure needs at least one round")
        return cls(median(values), values[0], values[-1])

    def to_json(self) -> dict[str, float]:
        """Four significant digits are more than any of these figures has."""
        return {"median": rounded(self.median), "low": rounded(self.low), "high": rounded(self.high)}


@dataclass(frozen=True, slots=True)
class Latency:
    """The latencies of one round, in milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self:
        """Sum up latencies in seconds.

        Raises:
            ValueError: There are none.
        """
        ordered = sorted(1000 * value for value in seconds)
        p50, p90, p99, p999 = (percentile(ordered, percent) for percent in (50, 90, 99, 99.9))
        return cls(p50, p90, p99, p999, ordered[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of an ascending sequence do not exceed: always one that was measured.

    Raises:
        ValueError: The sequence is empty.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def latency_json(rounds: Sequence[Latency]) -> dict[str, Any]:
    """Each percentile as a figure over the rounds; its `high` for max is the slowest answer of all rounds."""
    return {f"{name}_ms": Figure.of(getattr(latency, name) for latency in rounds).to_json() for name in PERCENTILES}


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}")
