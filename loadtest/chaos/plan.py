"""The timeline of a run: which fault when, for how long and how. The same seed and seconds give the same one."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from loadtest.chaos.faults import FAULTS

LEAD_SECONDS: Final = 2.0
"""Of load before the first fault, and after the last."""

_QUIET_SECONDS: Final = (1.0, 2.0)
"""From the end of a fault to the next: the gateway's own recovery comes on top of it."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault before it happens.

    Attributes:
        fault: Its name in `FAULTS`.
        start_seconds: From the beginning of the load. It begins later where the gateway has not recovered from the one
            before it.
        length_seconds: From its beginning to its end.
        parameters: As its class draws them.
    """

    fault: str
    start_seconds: float
    length_seconds: float
    parameters: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def make_plan(seed: int, seconds: float, names: Collection[str] = ()) -> tuple[PlannedFault, ...]:
    """Plan a run: a pure function of its arguments.

    The faults come in rounds, each of which has all of them in an order of its own, until the time is used up; so a run
    of a minute tries each once, and every order is met in time.

    Args:
        seed: Of all that is left to chance.
        seconds: Of load; what does not end `LEAD_SECONDS` before them is left out.
        names: Only these faults; empty: all.
    """
    chance, planned = Random(seed), []
    at = LEAD_SECONDS
    for name in _rounds(chance, sorted(names or FAULTS)):
        kind = FAULTS[name]
        length = round(chance.uniform(*kind.lasts_seconds), 2)
        if at + length > seconds - LEAD_SECONDS:
            break
        planned.append(PlannedFault(name, round(at, 2), length, kind.draw(chance)))
        at += length + chance.uniform(*_QUIET_SECONDS)
    return tuple(planned)


def _rounds(chance: Random, names: list[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(names, len(names))
