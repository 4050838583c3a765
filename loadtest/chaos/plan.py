"""The timeline of a run: which fault when, for how long and how. The same seed and seconds give the same one."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from loadtest.chaos.faults import FAULTS, may_overlap

LEAD_SECONDS: Final = 2.0
"""Of load before the first fault, and after the last."""

_QUIET_SECONDS: Final = (1.0, 2.0)
"""From the end of a fault to the next: the gateway's own recovery comes on top of it."""

_OVERLAPPING: Final = 0.4
"""Share of the faults that begin while the one before them lasts, where the two may."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault before it happens.

    Attributes:
        fault: Its name in `FAULTS`.
        start_seconds: From the beginning of the load. It begins later where the gateway has not recovered from what was
            before.
        length_seconds: From its beginning to its end.
        parameters: As its class draws them.
    """

    fault: str
    start_seconds: float
    length_seconds: float
    parameters: Mapping[str, int]

    @property
    def end_seconds(self) -> float:
        """When it ends."""
        return self.start_seconds + self.length_seconds

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def make_plan(seed: int, seconds: float, names: Collection[str] = ()) -> tuple[PlannedFault, ...]:
    """Plan a run: a pure function of its arguments.

    The faults come in rounds, each of which has all of them in an order of its own, until the time is used up; so a run
    of a minute tries each once, and every order is met in time. Some begin while another lasts: two at a time at most,
    of different parts.

    Args:
        seed: Of all that is left to chance.
        seconds: Of load; what does not end `LEAD_SECONDS` before them is left out.
        names: Only these faults; empty: all.
    """
    chance, planned = Random(seed), list[PlannedFault]()
    quiet_at, alone = LEAD_SECONDS, False
    for name in _rounds(chance, sorted(names or FAULTS)):
        kind = FAULTS[name]
        length, start = round(chance.uniform(*kind.lasts_seconds), 2), quiet_at
        overlaps = alone and may_overlap(FAULTS[planned[-1].fault], kind) and chance.random() < _OVERLAPPING
        if overlaps:
            start = planned[-1].start_seconds + planned[-1].length_seconds * chance.uniform(0.2, 0.8)
        fault = PlannedFault(name, round(start, 2), length, kind.draw(chance))
        if fault.end_seconds > seconds - LEAD_SECONDS:
            break
        planned.append(fault)
        quiet_at, alone = max(quiet_at, fault.end_seconds + chance.uniform(*_QUIET_SECONDS)), not overlaps
    return tuple(planned)


def together(plan: Iterable[PlannedFault]) -> list[list[PlannedFault]]:
    """The faults of a plan, those together that overlap."""
    groups: list[list[PlannedFault]] = []
    for fault in plan:
        if groups and fault.start_seconds < max(each.end_seconds for each in groups[-1]):
            groups[-1].append(fault)
        else:
            groups.append([fault])
    return groups


def _rounds(chance: Random, names: list[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(names, len(names))
