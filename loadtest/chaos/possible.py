"""What of a plan this machine has the means for."""

import os
from collections.abc import Callable, Sequence

from loadtest.chaos.faults import FAULTS
from loadtest.chaos.means import INSTALLED, missing_of
from loadtest.chaos.plan import Stage
from loadtest.processes import BenchError


def possible(plan: Sequence[Stage], say: Callable[[str], object]) -> list[Stage]:
    """The plan less what cannot be had here; all else keeps its time.

    Args:
        plan: All of it.
        say: Told of each fault that is left out, and of the cure.

    Raises:
        BenchError: One is, where CI=true, for a program that could be installed: it would hide that it is never tried.
    """
    names = {fault.fault for stage in plan for fault in stage.faults}
    needs = {name: kind.needs for name, kind in FAULTS.items() if name in names and kind.needs is not None}
    missing = missing_of(set(needs.values()))
    left_out = {name: f"{name} is left out: {means.value}" for name, means in needs.items() if means in missing}
    if os.environ.get("CI") == "true":
        errors = [line for name, line in left_out.items() if needs[name] in INSTALLED]
        if errors:
            raise BenchError("; ".join(errors))
    for line in left_out.values():
        say(line)
    return [stage.without(left_out) for stage in plan]
