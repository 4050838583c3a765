"""Whether what a gateway takes up stays what it is: each measure's last quarter beside its second one.

The first quarter warms up: caches fill, pools open, ended calls pile up until the first are forgotten.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from loadtest.soak.samples import Sample

MOST_GROWTH: Final = 1.05
"""Of memory: the last quarter's median, as a part of the second one's."""

MOST_MORE: Final = 2
"""File handles or threads that may have come between the two."""

MOST_LAG_SECONDS: Final = 10.0
"""Of the journal, in the last quarter: what the alert on it waits for is far above."""

LEAST_SAMPLES: Final = 8


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing over the run.

    Attributes:
        name: What it is of, and of which process.
        unit: `MiB`, `handles`, `threads`, `entries` or `s`.
        second: Median of the second quarter.
        last: Median of the last quarter.
        highest: Of the whole run.
        is_flat: Whether it stays what it is.
    """

    name: str
    unit: str
    second: float
    last: float
    highest: float
    is_flat: bool

    def to_json(self) -> dict[str, Any]:
        """For the result's file."""
        return asdict(self)


def judge(samples: Sequence[Sample]) -> list[Measure]:
    """Judge a run.

    Args:
        samples: In the order of time, evenly spread; `LEAST_SAMPLES` at least.

    Raises:
        ValueError: They are too few, or a process was replaced by one of another name.
    """
    if len(samples) < LEAST_SAMPLES:
        raise ValueError(f"{len(samples)} looks are too few to judge by: {LEAST_SAMPLES} at least")
    names = list(samples[0].processes)
    if any(list(each.processes) != names for each in samples):
        raise ValueError("not always the same processes were there")
    found = []
    for name in names:
        own = [each.processes[name] for each in samples]
        found += [
            _memory(f"{name}: memory", [each.resident_bytes for each in own]),
            _count(f"{name}: handles", "handles", [each.handles for each in own]),
            _count(f"{name}: threads", "threads", [each.threads for each in own]),
        ]
    found.append(_memory("store: data", [each.store_bytes for each in samples]))
    lags = [each.gauges["tollgate_journal_lag_seconds"] for each in samples]
    found.append(Measure("journal: lag", "s", *_quarters(lags), max(_last(lags)) <= MOST_LAG_SECONDS))
    return found


def _memory(name: str, values: Sequence[float]) -> Measure:
    second, last, highest = _quarters([each / 2**20 for each in values])
    return Measure(name, "MiB", second, last, highest, last <= MOST_GROWTH * second)


def _count(name: str, unit: str, values: Sequence[float]) -> Measure:
    second, last, highest = _quarters(values)
    return Measure(name, unit, second, last, highest, last <= second + MOST_MORE)


def _quarters(values: Sequence[float]) -> tuple[float, float, float]:
    """Medians of the second and the last quarter, and the highest of all."""
    quarter = len(values) // 4
    second = values[quarter : 2 * quarter]
    return round(median(second), 2), round(median(_last(values)), 2), round(max(values), 2)


def _last(values: Sequence[float]) -> Sequence[float]:
    return values[-(len(values) // 4) :]
