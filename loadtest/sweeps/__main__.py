"""`python -m loadtest.sweeps` (`make bench-full`): take the sweeps, plot them, keep them.

Exit code 0: the figures stand. 1: the books were wrong, and nothing is kept; or a sweep could not be taken, which the
result says in its place: the others took too long to be thrown away for it. With `--only` and `--results` the named
sweeps take the place of those in the latest result there, which says so.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc.aio
from rich.console import Console

from loadtest.aims import judge
from loadtest.books import Books
from loadtest.command import parser_of, run_to_end
from loadtest.journal import measure_journal
from loadtest.machine import describe_store
from loadtest.processes import BenchError, running_store
from loadtest.report import LATEST, RESULTS, show, write
from loadtest.sweeps.beside_ticks import measure_beside_ticks
from loadtest.sweeps.deck import sweep_deck
from loadtest.sweeps.effort import FULL, QUICK, SweepEffort
from loadtest.sweeps.in_flight import sweep_in_flight
from loadtest.sweeps.plots import PLOTS, plot_all
from loadtest.sweeps.sizes import compare_sizes, sweep_live_calls, sweep_offices
from loadtest.taken import Taken

Sweep = Callable[[SweepEffort, Books], Awaitable[dict[str, Any]]]

PREFIX: Final = "sweeps-"
"""Of the names of the JSON files, which lie beside the benchmark's."""


async def _journal(effort: SweepEffort, books: Books) -> dict[str, Any]:
    async with running_store() as store:
        return await measure_journal(store, effort.bench, books)


FAILED: Final = "failed"
"""Marks in the result a sweep that could not be taken."""

SWEEPS: Final[Mapping[str, Sweep]] = {
    "in_flight": sweep_in_flight,
    "offices": sweep_offices,
    "live_calls": sweep_live_calls,
    "deck": sweep_deck,
    "compare_sizes": compare_sizes,
    "beside_ticks": measure_beside_ticks,
    "journal": _journal,
}
"""In the order in which they are taken."""


async def take_sweeps(names: Sequence[str], effort: SweepEffort, console: Console) -> dict[str, Any]:
    """Take the named sweeps one after the other.

    Raises:
        BenchError: The books were wrong.
    """
    this, books, taken = Taken.now(), Books(), {}
    async with running_store() as store:
        this.machine["store"] = describe_store(store.info("server"))
    for name in names:
        console.print(f"measuring {name} ...", style="dim")
        try:
            taken[name] = await SWEEPS[name](effort, books)
        except (BenchError, grpc.aio.AioRpcError) as error:
            if books.faults:
                raise
            taken[name] = {FAILED: True, "skipped": f"could not be taken: {str(error).partition(chr(10))[0]}"}
            console.print(f"{name} {taken[name]['skipped']}", style="red", soft_wrap=True)
    return {
        **this.head(),
        "quick": effort is QUICK,
        "seconds": this.seconds(),
        **taken,
        "aims": judge(taken),
        "books": {"audited": True, "offices": books.offices, "faults": books.faults},
    }


def renewed(results: Path, again: Mapping[str, Any]) -> dict[str, Any]:
    """The latest result with those sweeps that were taken again; under `renewed` stands when, on what, and of what.

    Where there is no result yet, it is what was taken.
    """
    latest = results / f"{PREFIX}{LATEST}"
    if not latest.exists():
        return dict(again)
    whole: dict[str, Any] = json.loads(latest.read_text())
    names = [name for name in SWEEPS if name in again and FAILED not in again[name]]
    taken = {name: again[name] for name in names}
    stamp = {name: again[name] for name in ("taken_at", "commit", "machine", "quick")}
    books = {**whole["books"], "offices": whole["books"]["offices"] | again["books"]["offices"]}
    measures = {name: whole[name] for name in SWEEPS if name in whole} | taken
    stamps = whole.get("renewed", {}) | dict.fromkeys(names, stamp)
    return {**whole, **measures, "renewed": stamps, "aims": judge(measures), "books": books}


async def run(given: argparse.Namespace, console: Console) -> int:
    """Take, show, plot and keep the sweeps; returns the exit code."""
    names = [name for name in SWEEPS if name in given.only] if given.only else list(SWEEPS)
    result = await take_sweeps(names, QUICK if given.quick else FULL, console)
    show(result, console)
    whole = not (given.quick or given.only)
    results, plots = given.results or (RESULTS if whole else None), given.plots or (PLOTS if whole else None)
    if results is not None:
        whole_result = result if whole or given.quick else renewed(results, result)
        console.print(f"Written to {write(result, results, PREFIX, latest=whole_result)}", soft_wrap=True)
    if plots is not None:
        for path in await asyncio.to_thread(plot_all, result, plots):
            console.print(f"Plotted {path}", soft_wrap=True)
    return int(any(FAILED in result[name] for name in names))


def main(arguments: Sequence[str]) -> int:
    """Read the command line and run."""
    parser = parser_of("loadtest.sweeps", __doc__, SWEEPS, quick="a smoke run of small sizes", only="sweep")
    parser.add_argument(
        "--plots", type=Path, help=f"where the plots go (default: {PLOTS}; nowhere with --quick or --only)"
    )
    return run_to_end(run, parser.parse_args(arguments), "The run of the sweeps")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
