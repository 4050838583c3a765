"""What of a plan this machine has the means for."""

import os
from collections.abc import Callable, Sequence

from loadtest.chaos.faults import FAULTS
from loadtest.chaos.means import missing_of
from loadtest.chaos.plan import Stage
from loadtest.processes import BenchError


def possible(plan: Sequence[Stage], say: Callable[[str], object]) -> list[Stage]:
    """The plan less what cannot be had here; all else keeps its time.

    Args:
        plan: All of it.
        say: Told of each fault that is left out, and of the cure.

    Raises:
        BenchError: One is, where CI=true: there it would hide that it is never tried.
    """
    names = {fault.fault for stage in plan for fault in stage.faults}
    needs = {name: kind.needs for name, kind in FAULTS.items() if name in names and kind.needs is not None}
    missing = missing_of(set(needs.values()))
    left_out = [name for name, means in needs.items() if means in missing]
    lines = [f"{name} is left out: {needs[name].value}" for name in left_out]
    if lines and os.environ.get("CI") == "true":
        raise BenchError("; ".join(lines))
    for line in lines:
        say(line)
    return [stage.without(left_out) for stage in plan]
