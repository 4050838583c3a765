"""One Hypothesis seed a test run, chosen here and printed, so that a failure in CI can be run again as it was."""

import os
import secrets
from typing import Any

import pytest

SEED_VARIABLE = "TEST_HYPOTHESIS_SEED"
"""Carries the seed from the xdist controller to its workers, which must all use the same."""


def choose_seed(config: pytest.Config) -> str:
    """Take the seed of --hypothesis-seed, else the controller's, else a new one; tell Hypothesis and the workers."""
    given = config.getoption("--hypothesis-seed")
    seed = str(given) if given is not None else os.environ.get(SEED_VARIABLE) or str(secrets.randbits(64))
    os.environ[SEED_VARIABLE] = seed
    config.option.hypothesis_seed = seed
    return seed


def is_hypothesis_test(item: pytest.Item) -> bool:
    """Whether the test function is one of @given or a state machine's."""
    function: Any = getattr(item, "obj", None)
    return bool(getattr(function, "is_hypothesis_test", False) or getattr(function, "_hypothesis_state_machine", False))
