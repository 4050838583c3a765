"""Running a simulation: how large, with which seed, and what is said of it afterwards."""

import os
from collections import Counter
from collections.abc import Callable, Mapping

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.simulation.world import REPLIES
from tests.support.hypothesis_seed import SEED_VARIABLE

CLUSTER_SHARE = 8
"""A cluster answers the same, only later: by default it gets this part of the examples."""


def run_simulation(
    machine: type[RuleBasedStateMachine],
    form: str,
    sizes: Mapping[str, tuple[int, int]],
    counts: Callable[[], Counter[str]],
) -> None:
    """Run a machine on a store.

    Args:
        machine: What may happen.
        form: Of the store; each gets another seed, since two runs that differ find more than one run twice.
        sizes: Examples and steps an example, by HYPOTHESIS_PROFILE.
        counts: What the machine counted, printed beside the replies of the scripts.
    """
    profile = os.environ.get("HYPOTHESIS_PROFILE", "default")
    examples, steps = sizes[profile]
    if form == "cluster" and profile == "default":
        examples //= CLUSTER_SHARE
    chosen = os.environ[SEED_VARIABLE]
    print(f"run again with --hypothesis-seed={chosen}")
    REPLIES.clear()
    run_state_machine_as_test(
        seed(f"{chosen} on {form}")(machine),
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
