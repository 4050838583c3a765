"""Running a simulation: how large, with which seed, and what is said of it afterwards."""

import os
from collections import Counter
from collections.abc import Callable, Mapping

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.simulation.world import REPLIES
from tests.support.hypothesis_seed import SEED_VARIABLE


def run_simulation(
    machine: type[RuleBasedStateMachine],
    engine: str,
    sizes: Mapping[str, tuple[int, int]],
    counts: Callable[[], Counter[str]],
) -> None:
    """Run a machine on the store of an engine.

    Args:
        machine: What may happen.
        engine: Of the store; each gets another seed, since two runs that differ find more than one run twice.
        sizes: Examples and steps an example, by HYPOTHESIS_PROFILE.
        counts: What the machine counted, printed beside the replies of the scripts.
    """
    examples, steps = sizes[os.environ.get("HYPOTHESIS_PROFILE", "default")]
    chosen = os.environ[SEED_VARIABLE]
    print(f"run again with --hypothesis-seed={chosen}")
    REPLIES.clear()
    run_state_machine_as_test(
        seed(f"{chosen} on {engine}")(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    for counted in (counts(), REPLIES):
        for name, times in sorted(counted.items()):
            print(f"  {times:9,}  {name}")
