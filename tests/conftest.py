"""What every test has at hand: store servers, databases, coroutine tests and the Hypothesis seed."""

import asyncio
import gc
import inspect
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.support.clusters import store_form, store_server, store_url  # noqa: F401 - fixtures are found by their names
from tests.support.hypothesis_seed import choose_seed, is_hypothesis_test
from tests.support.ledger import ledger_url  # noqa: F401 - fixtures are found by their names
from tests.support.logs import logging_restored  # noqa: F401
from tests.support.postgres import (  # noqa: F401
    empty_postgres_url,
    migrated_postgres,
    postgres,
    postgres_url,
)
from tests.support.servers import (  # noqa: F401
    redis7,
    standalone_server,
    standalone_url,
    start_store,
    store_engine,
    valkey,
)
from tests.support.session_loop import SESSION_LOOP, session_loop  # noqa: F401

ASYNC_TEST_DEADLINE_SECONDS = 120.0
"""A coroutine test that hangs fails with a traceback of where it hangs, instead of holding the whole run."""

LONG_GROUPS = ("page", "kamailio", "month")
"""Those that one worker is busy with for minutes, the longest first."""

_seed = pytest.StashKey[str]()

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_seed] = choose_seed(config)
    # A shell has what it starts in the background ignore Ctrl-C, and children inherit that: a test that ends one so
    # would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, and the shortest are left for last, so that all workers end together."""
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    group = item.get_closest_marker("xdist_group")
    if group is not None and group.args[0] in LONG_GROUPS:
        return LONG_GROUPS.index(group.args[0])
    return len(LONG_GROUPS) + ("unit" in item.path.parts)


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more worker than processors: there is always a test that waits, for a process or for time to pass."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis seed: --hypothesis-seed={config.stash[_seed]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and is_hypothesis_test(item):
        report.sections.append(("Hypothesis seed", f"run again with --hypothesis-seed={item.config.stash[_seed]}"))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_...` in an event loop of its own, or in the session's if it asks for that.

    Hypothesis tests drive their loop themselves.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with asyncio.timeout(ASYNC_TEST_DEADLINE_SECONDS):
            await pyfuncitem.obj(**arguments)

    runner = pyfuncitem.funcargs.get(SESSION_LOOP)
    if isinstance(runner, asyncio.Runner):
        runner.run(run())
    else:
        asyncio.run(run())
    return True
