"""`python -m loadtest.chaos`: faults at random under load on a whole gateway, and an audit of every answer.

Exit code 0: nothing that was acknowledged is lost and nothing is done twice, but for what docs/operating/faults.md
states. 1: something is, an answer was wrong, or the run could not be made.
"""

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from loadtest.chaos.faults import FAULTS
from loadtest.chaos.plan import Stage, make_plan
from loadtest.chaos.possible import possible
from loadtest.chaos.report import is_clean, result_of, table_of
from loadtest.chaos.run import Outcome, run_stage
from loadtest.command import run_to_end
from loadtest.load.numbers import positive
from loadtest.load.results import add_result_option
from loadtest.processes import BenchError
from loadtest.report import as_rich, keep
from loadtest.taken import Taken

_MOST_SHOWN = 10


def main(arguments: Sequence[str]) -> int:
    """Read the command line, and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.chaos", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=60.0, help="of load (default: 60)")
    parser.add_argument("--seed", type=int, help="of the faults and the load (default: drawn, and printed)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="try this one; may be repeated")
    add_result_option(parser)
    return run_to_end(_run, parser.parse_args(arguments), "The chaos run")


async def _run(given: argparse.Namespace, console: Console) -> int:
    # Which calls a client lets through without the gateway is in the report, and no news here.
    logging.getLogger("gateway.client").setLevel(logging.ERROR)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    whole = make_plan(seed, given.seconds, given.fault or ())
    plan = possible(whole, lambda line: console.print(line, style="yellow", soft_wrap=True))
    again = " ".join(
        [f"--seed {seed} --seconds {given.seconds:g}", *(f'--fault "{name}"' for name in given.fault or ())]
    )
    planned = [{"store": stage.form, **fault.to_json()} for stage in plan for fault in stage.faults]
    console.print(f"seed {seed}: {len(planned)} faults in {given.seconds:g} s; again with {again}", soft_wrap=True)
    taken = Taken.now()
    directory = Path(tempfile.mkdtemp(prefix="tollgate-chaos-"))
    try:
        outcomes = [await _stage(stage, seed, directory, console) for stage in plan]
    except BenchError as error:
        raise BenchError(f"{error}\nAgain with {again}. Logs and data are left in {directory}") from None
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    result = {
        **taken.head(),
        "seed": seed,
        "seconds": given.seconds,
        "planned": planned,
        "took_seconds": taken.seconds(),
        **result_of(outcomes),
    }
    console.print()
    console.print(as_rich(table_of(result)))
    books = result["books"]
    left_over = len(planned) - len(result["timeline"])
    if left_over:
        console.print(f"{left_over} faults of the plan had no time: the gateway took long to be whole again.")
    console.print(
        f"{books['operations']:,} operations of {books['offices']} offices held against ledger and store, "
        f"{books['refills']} refills.",
        soft_wrap=True,
    )
    if given.results is not None:
        console.print(f"Written to {keep(result, given.results, 'chaos-')}", soft_wrap=True)
    if is_clean(result):
        console.print("Nothing is lost or doubled, but for what is documented.")
        await asyncio.to_thread(shutil.rmtree, directory)
        return 0
    for fault in books["faults"][:_MOST_SHOWN]:
        console.print(escape(fault), soft_wrap=True)
    console.print(
        f"The books are wrong; again with {again}. Logs and data are left in {directory}",
        style="bold red",
        soft_wrap=True,
    )
    return 1


async def _stage(stage: Stage, seed: int, directory: Path, console: Console) -> Outcome:
    console.print(f"{stage.form}: {len(stage.faults)} faults in {stage.seconds:g} s", style="dim")
    place = directory / stage.form.name.lower()
    place.mkdir()
    return await run_stage(stage, seed, place, console)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
