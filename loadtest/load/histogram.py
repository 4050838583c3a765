"""Latencies in a histogram: of bounded size however long the run, and to three digits up to the last percentile."""

from typing import Any, Final

from hdrh.histogram import HdrHistogram

from loadtest.figures import rounded

_HIGHEST_MICROS: Final = 600_000_000
_DIGITS: Final = 3
_PERCENTILES: Final = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p99_9_ms": 99.9}


class Histogram:
    """Counts latencies from a microsecond to ten minutes."""

    def __init__(self) -> None:
        self._counts: Any = HdrHistogram(1, _HIGHEST_MICROS, _DIGITS)
        self._record = self._counts.record_value
        self._longest_micros = 0

    @property
    def count(self) -> int:
        """How many latencies it has."""
        return int(self._counts.total_count)

    def record(self, seconds: float) -> None:
        """Count a latency; a negative one, as two clocks may show, is none, and a longer one is ten minutes."""
        micros = min(max(0, round(seconds * 1e6)), _HIGHEST_MICROS)
        self._record(micros)
        self._longest_micros = max(self._longest_micros, micros)

    def add(self, other: "Histogram") -> None:
        """Count all that the other one has."""
        self._counts.add(other._counts)
        self._longest_micros = max(self._longest_micros, other._longest_micros)

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many percent do not exceed, in milliseconds; 0 if there is none at all."""
        # What it counts together it gives by the upper end, which may be more than was ever measured.
        return min(int(self._counts.get_value_at_percentile(percent)), self._longest_micros) / 1000

    def to_json(self) -> dict[str, float]:
        """Count and percentiles; the maximum is exact."""
        return {
            "count": self.count,
            **{name: rounded(self.percentile_ms(percent)) for name, percent in _PERCENTILES.items()},
            "max_ms": rounded(self._longest_micros / 1000),
        }
