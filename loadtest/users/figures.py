"""What the users measure: a histogram for each operation, the rate, and how both went over time."""

import time
from time import perf_counter
from typing import Any

from loadtest.figures import rounded
from loadtest.load.histogram import Histogram


class Figures:
    """The figures of one stretch of a run; `begin` starts another.

    Attributes:
        window: The latencies since somebody last replaced it.
    """

    def __init__(self) -> None:
        self.window = Histogram()
        self.begin()

    def begin(self) -> None:
        """Forget what was measured; what is measured counts from now on."""
        self._operations: dict[str, Histogram] = {}
        self._timeline: list[dict[str, float]] = []
        self._since = self._noted = perf_counter()
        self._cpu = time.process_time()
        self._period = Histogram()

    def record(self, operation: str, seconds: float) -> None:
        """An operation was answered."""
        histogram = self._operations.get(operation)
        if histogram is None:
            histogram = self._operations[operation] = Histogram()
        histogram.record(seconds)
        self.window.record(seconds)
        self._period.record(seconds)

    def p99_ms(self) -> float:
        """Of all operations so far."""
        return self._everything().percentile_ms(99)

    def note(self, users: int) -> dict[str, float]:
        """Keep how it went since the last note."""
        now, period = perf_counter(), self._period
        noted = {
            "at_seconds": round(now - self._since, 1),
            "users": users,
            "rate_per_second": rounded(period.count / max(1e-9, now - self._noted)),
            "p50_ms": rounded(period.percentile_ms(50)),
            "p99_ms": rounded(period.percentile_ms(99)),
        }
        self._timeline.append(noted)
        self._noted, self._period = now, Histogram()
        return noted

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        everything = self._everything()
        seconds = perf_counter() - self._since
        return {
            "seconds": round(seconds, 1),
            "rate_per_second": rounded(everything.count / max(1e-9, seconds)),
            # Of one core, which is all that gevent uses.
            "generator_cpu_percent": rounded(100 * (time.process_time() - self._cpu) / max(1e-9, seconds)),
            "all": everything.to_json(),
            "operations": {name: histogram.to_json() for name, histogram in sorted(self._operations.items())},
            "timeline": self._timeline,
        }

    def _everything(self) -> Histogram:
        everything = Histogram()
        for histogram in self._operations.values():
            everything.add(histogram)
        return everything
