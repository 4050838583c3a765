"""`python -m loadtest.bench`: take all figures, show them, keep them. How they are taken: loadtest/README.md.

Exit code 0: the figures stand, whether the aims are met or not. 1: a figure could not be taken, or the books were wrong
after it; nothing is kept then.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console

from loadtest.aims import judge
from loadtest.books import Books
from loadtest.command import parser_of, run_to_end
from loadtest.cut_lateness import measure_cut_lateness
from loadtest.due import measure_due
from loadtest.effort import FULL, QUICK, Effort
from loadtest.idle_sessions import measure_idle_sessions
from loadtest.independent import measure_independent
from loadtest.machine import describe_store
from loadtest.memory import measure_memory
from loadtest.mixes import measure_mixes
from loadtest.processes import BenchStore, running_store
from loadtest.redis_benchmark import measure_redis_benchmark
from loadtest.report import RESULTS, show, write
from loadtest.session import measure_session
from loadtest.store_rates import measure_store_rates
from loadtest.taken import Taken
from loadtest.trigger_delay import measure_trigger_delay
from loadtest.unary import measure_unary

Measure = Callable[[BenchStore, Effort, Books], Awaitable[dict[str, Any]]]


async def _store_rates(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    return await asyncio.to_thread(measure_store_rates, store, effort, books)


async def _memory(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    return await asyncio.to_thread(measure_memory, store, effort, books)


MEASURES: Final[Mapping[str, Measure]] = {
    "store_rates": _store_rates,
    "unary": measure_unary,
    "memory": _memory,
    "trigger_delay": measure_trigger_delay,
    "session": measure_session,
    "due": measure_due,
    "cut_lateness": measure_cut_lateness,
    "idle_sessions": measure_idle_sessions,
    "mixes": measure_mixes,
    "independent": measure_independent,
    "redis_benchmark": measure_redis_benchmark,
}
"""In the order in which they are taken, each on a store of its own. What takes long is in loadtest/sweeps."""


async def take_figures(names: Sequence[str], effort: Effort, console: Console) -> dict[str, Any]:
    """Take the named measures one after the other.

    Raises:
        BenchError: A figure could not be taken, or the books were wrong after it.
    """
    taken, books, measured = Taken.now(), Books(), {}
    for name in names:
        console.print(f"measuring {name} ...", style="dim")
        async with running_store() as store:
            taken.machine["store"] = describe_store(store.info("server"))
            measured[name] = await MEASURES[name](store, effort, books)
    return {
        **taken.head(),
        "quick": effort is QUICK,
        "seconds": taken.seconds(),
        **measured,
        "aims": judge(measured),
        "books": {"audited": True, "offices": books.offices, "faults": books.faults},
    }


async def run(given: argparse.Namespace, console: Console) -> int:
    """Take, show and keep the figures; returns the exit code."""
    names = [name for name in MEASURES if name in given.only] if given.only else list(MEASURES)
    result = await take_figures(names, QUICK if given.quick else FULL, console)
    show(result, console)
    directory = given.results or (None if given.quick or given.only else RESULTS)
    if directory is not None:
        console.print(f"Written to {write(result, directory)}", soft_wrap=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Read the command line and run."""
    parser = parser_of("loadtest.bench", __doc__, MEASURES, quick="a smoke run of some seconds", only="measure")
    return run_to_end(run, parser.parse_args(arguments), "The benchmark")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
