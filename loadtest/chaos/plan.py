"""The timeline of a run: which fault when, for how long and how. The same seed and seconds give the same one."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from loadtest.chaos.faults import FAULTS, may_overlap
from loadtest.chaos.stores.form import Form

LEAD_SECONDS: Final = 2.0
"""Of load before the first fault of a stage, and after its last."""

_SHARES: Final[Mapping[Form, int]] = {Form.ONE: 2, Form.SENTINELS: 1, Form.CLUSTER: 1}
"""Of the seconds: most faults can be had with one store alone."""

_OTHERS: Final = 3
"""How many faults that can be had with any store come in a round to each that needs this one."""

_QUIET_SECONDS: Final = (1.0, 2.0)
"""From the recovery of a fault to the next; where it takes longer than is planned, the next one waits."""

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


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway on a store of one form, and what happens to them.

    Attributes:
        form: Of the store.
        seconds: Of load.
        faults: In their order.
    """

    form: Form
    seconds: float
    faults: tuple[PlannedFault, ...]

    def without(self, names: Collection[str]) -> "Stage":
        """The same less some faults; the others keep their times."""
        return Stage(self.form, self.seconds, tuple(each for each in self.faults if each.fault not in names))


def make_plan(seed: int, seconds: float, names: Collection[str] = ()) -> tuple[Stage, ...]:
    """Plan a run: a pure function of its arguments.

    The faults of a stage come in rounds until its time is used up. Each round has all that only this form of store can
    have, one of them first, and some of the others, in an order of its own; one store has so many that its rounds have
    them all. Some begin while another lasts: two at a time at most, of different parts.

    Args:
        seed: Of all that is left to chance.
        seconds: Of load, of all stages together; what does not end `LEAD_SECONDS` before a stage does is left out.
        names: Only these faults, on the stores that they need; empty: all.
    """
    chosen = frozenset(names or FAULTS)
    forms = [form for form in Form if _only_with(form) & chosen] or [Form.ONE]
    share = seconds / sum(_SHARES[form] for form in forms)
    return tuple(_stage(seed, form, round(share * _SHARES[form], 2), chosen) for form in forms)


def together(plan: Iterable[PlannedFault]) -> list[list[PlannedFault]]:
    """The faults of a stage, those together that overlap."""
    groups: list[list[PlannedFault]] = []
    for fault in plan:
        if groups and fault.start_seconds < max(each.end_seconds for each in groups[-1]):
            groups[-1].append(fault)
        else:
            groups.append([fault])
    return groups


def _stage(seed: int, form: Form, seconds: float, chosen: Collection[str]) -> Stage:
    chance, planned = Random(f"{seed}/{form}"), list[PlannedFault]()
    quiet_at, alone = LEAD_SECONDS, False
    for name in _rounds(chance, form, chosen):
        kind = FAULTS[name]
        length, start = round(chance.uniform(*kind.lasts_seconds), 2), quiet_at
        overlaps = alone and may_overlap(FAULTS[planned[-1].fault], kind) and chance.random() < _OVERLAPPING
        if overlaps:
            start = planned[-1].start_seconds + planned[-1].length_seconds * chance.uniform(0.2, 0.8)
        fault = PlannedFault(name, round(start, 2), length, kind.draw(chance))
        if fault.end_seconds > seconds - LEAD_SECONDS:
            break
        planned.append(fault)
        recovered_at = fault.end_seconds + kind.recovers_seconds
        quiet_at, alone = max(quiet_at, recovered_at + chance.uniform(*_QUIET_SECONDS)), not overlaps
    return Stage(form, seconds, tuple(planned))


def _only_with(form: Form) -> frozenset[str]:
    """The faults that can be had with a store of this form, and with no other."""
    return frozenset(name for name, kind in FAULTS.items() if tuple(kind.forms) == (form,))


def _rounds(chance: Random, form: Form, chosen: Collection[str]) -> Iterator[str]:
    own = sorted(_only_with(form) & frozenset(chosen))
    others = sorted(name for name in chosen if len(FAULTS[name].forms) > 1)
    count = min(len(others), _OTHERS * max(1, len(own)))
    while True:
        names = own + chance.sample(others, count)
        # First that for which there is this store, since a short stage has no time for a whole round.
        first = chance.choice(own or names)
        names.remove(first)
        yield from (first, *chance.sample(names, len(names)))
