"""`python -m loadtest.bench`: take all figures, show them, keep them. How they are taken: loadtest/README.md.

Exit code 0: the figures stand, whether the aims are met or not. 1: a figure could not be taken, or the books were wrong
after it; nothing is kept then.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc.aio
import uvloop
from rich.console import Console

from gateway.log import configure_logging
from gateway.startup import StartupError
from loadtest.aims import judge
from loadtest.books import Books
from loadtest.cut_lateness import measure_cut_lateness
from loadtest.due import measure_due
from loadtest.effort import FULL, QUICK, Effort
from loadtest.idle_sessions import measure_idle_sessions
from loadtest.independent import measure_independent
from loadtest.machine import describe_commit, describe_machine, describe_store
from loadtest.memory import measure_memory
from loadtest.mixes import measure_mixes
from loadtest.processes import BenchError, BenchStore, running_store
from loadtest.redis_benchmark import measure_redis_benchmark
from loadtest.report import RESULTS, show, write
from loadtest.session import measure_session
from loadtest.store_rates import measure_store_rates
from loadtest.trigger_delay import measure_trigger_delay
from loadtest.unary import measure_unary

Measure = Callable[[BenchStore, Effort, Books], Awaitable[dict[str, Any]]]

SCHEMA: Final = 1
"""Of the JSON files: raised when a field changes its meaning."""

WIDTH: Final = 160
"""Of the tables where the output is no terminal."""


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
    started, taken_at = time.monotonic(), datetime.now(UTC)
    books = Books()
    machine = describe_machine(Path(tempfile.gettempdir()))
    measured = {}
    for name in names:
        console.print(f"measuring {name} ...", style="dim")
        async with running_store() as store:
            machine["store"] = describe_store(store.info("server"))
            measured[name] = await MEASURES[name](store, effort, books)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    return {
        "schema": SCHEMA,
        "taken_at": taken_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": describe_commit(),
        "quick": effort is QUICK,
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine,
        **measured,
        "aims": judge(measured),
        "books": {"audited": True, "offices": books.offices, "faults": books.faults},
    }


async def run(given: argparse.Namespace, console: Console) -> int:
    """Take, show and keep the figures; returns the exit code."""
    task = asyncio.current_task()
    if task is not None:
        # Like Ctrl-C: what was started is stopped on the way out.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    names = [name for name in MEASURES if name in given.only] if given.only else list(MEASURES)
    result = await take_figures(names, QUICK if given.quick else FULL, console)
    show(result, console)
    directory = given.results or (None if given.quick or given.only else RESULTS)
    if directory is not None:
        console.print(f"Written to {write(result, directory)}", soft_wrap=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of some seconds, whose figures mean nothing")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="take this measure; may be repeated")
    parser.add_argument(
        "--results", type=Path, help=f"where the JSON goes (default: {RESULTS}; nowhere with --quick or --only)"
    )
    given = parser.parse_args(arguments)
    configure_logging("warning", "console", process="bench")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    try:
        return uvloop.run(run(given, console))
    except (BenchError, StartupError, grpc.aio.AioRpcError) as error:
        sys.stderr.write(f"The benchmark failed: {error}\n")
    except asyncio.CancelledError:
        sys.stderr.write("The benchmark was stopped.\n")
    return 1


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
