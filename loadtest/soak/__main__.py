"""`python -m loadtest.soak`: half an hour of steady load, and whether memory, file handles and lag stay what they are.

Exit code 0: all is flat, and the books add up. 1: something grows, or they do not, or the load could not be made.
"""

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console

from loadtest.load.answers import Answers
from loadtest.load.audit import audit_load
from loadtest.load.command import run_load
from loadtest.load.gateway import LoadedGateway
from loadtest.load.numbers import count, positive
from loadtest.load.offices import Offices, describe, new_run_id
from loadtest.load.opening import opened
from loadtest.load.results import add_result_option, conclude
from loadtest.processes import BenchError
from loadtest.soak.samples import Sampler
from loadtest.soak.tables import table_of
from loadtest.soak.verdict import judge
from loadtest.taken import Taken
from loadtest.users.locust_process import run_locust
from loadtest.users.plan import Plan

LOOKS: Final = 180
"""In a run, evenly spread."""

STUB_SECONDS: Final = 60
"""How long ended calls are kept: so short that the store holds as many at the end of the first quarter as ever."""

_SCALE: Final = 60.0
"""Seconds of talk in a second."""


def main(arguments: Sequence[str]) -> int:
    """Load a gateway of its own, look at it, and audit; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.soak", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=1800.0, help="how long (default: 1800)")
    parser.add_argument("--users", type=count, default=200, help="locust's, who live calls (default: 200)")
    parser.add_argument("--offices", type=count, default=200, help="with funds (default: 200)")
    add_result_option(parser)
    given = parser.parse_args(arguments)
    given.server = None
    return run_load(given, _run, TOLLGATE_STUB_SECONDS=str(STUB_SECONDS))


async def _run(given: argparse.Namespace, gateway: LoadedGateway, console: Console) -> int:
    taken, run_id = Taken.now(), new_run_id()
    offices = Offices.named(run_id, funded=given.offices, unfunded=max(1, given.offices // 20), refilled=0)
    sampler = Sampler(gateway, given.seconds / LOOKS)
    async with opened(gateway, offices, run_id) as (operator, token):
        plan = Plan(
            server=str(gateway.server),
            token=token,
            run_id=run_id,
            offices=offices,
            profile="steady",
            users=given.users,
            seconds=given.seconds,
            scale=_SCALE,
            aim_ms=0.0,
            step_seconds=0.0,
            seed=1,
            supervisor_pid=gateway.supervisor_pid,
        )
        said = await _looked_at(sampler, run_locust(plan))
        answers = Answers.from_json(said["answers"])
        findings = await audit_load(gateway, operator, offices, answers)
    try:
        measures = [each.to_json() for each in judge(sampler.samples)]
    except ValueError as error:
        raise BenchError(f"nothing can be said: {error}") from error
    result = {
        "users": given.users,
        "seconds": given.seconds,
        "offices": describe(offices),
        "figures": said["figures"],
        "counts": answers.counts,
        "measures": measures,
        "samples": [each.to_json() for each in sampler.samples],
    }
    code = conclude("soak", taken, result, [table_of(result)], findings, given.results, console)
    growing = [each["name"] for each in measures if not each["is_flat"]]
    if growing:
        console.print(f"Not flat: {', '.join(growing)}.", style="bold red")
    return 1 if growing else code


async def _looked_at(sampler: Sampler, load: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run a load to its end, or until it cannot be looked at any more."""
    looking, loading = asyncio.create_task(sampler.run()), asyncio.create_task(load)
    try:
        await asyncio.wait((looking, loading), return_when=asyncio.FIRST_COMPLETED)
        return loading.result() if loading.done() else looking.result()
    finally:
        for each in (looking, loading):
            each.cancel()
        await asyncio.gather(looking, loading, return_exceptions=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
