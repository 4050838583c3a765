"""`python -m loadtest.users`: load a gateway with users, by a profile, and audit its books.

Without --server it starts a gateway of its own and needs nothing else. How it works, and what the figures do not say:
loadtest/README.md.

Exit code 0: the books add up. 1: they do not, an answer was wrong, or the load could not be made. A p99 above the aim
is a figure like any other.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console

from loadtest.load.answers import Answers
from loadtest.load.audit import audit_load
from loadtest.load.command import run_load
from loadtest.load.gateway import LoadedGateway, add_gateway_options, check_gateway_options
from loadtest.load.numbers import count, not_negative, positive
from loadtest.load.offices import Offices, describe, new_run_id
from loadtest.load.opening import opened
from loadtest.load.results import add_result_option, conclude
from loadtest.processes import running_child
from loadtest.taken import Taken
from loadtest.users.locust_process import run_locust
from loadtest.users.plan import Plan
from loadtest.users.profiles import PROFILES, Kind
from loadtest.users.tables import tables_of

CEILING_USERS: Final = 32
"""Without pauses: more of them only wait for each other."""


def main(arguments: Sequence[str]) -> int:
    """Read the command line, load the gateway, and audit; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    check_gateway_options(given, parser)
    _check(given, parser)
    return run_load(given, _run)


async def _run(given: argparse.Namespace, gateway: LoadedGateway, console: Console) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    taken = Taken.now()
    ceiling = await _measure_ceiling(given.ceiling_seconds, console) if given.ceiling_seconds else None
    run_id = new_run_id()
    offices = _offices(given, run_id)
    console.print(f"opening {len(offices.all())} offices ...", style="dim")
    async with opened(gateway, offices, run_id) as (operator, token):
        console.print(f"{given.profile}: {PROFILES[given.profile].about}", style="dim", soft_wrap=True)
        if given.web:
            console.print(
                f"locust's page is http://127.0.0.1:{given.web_port}; Ctrl-C ends it, and audits", style="bold"
            )
        plan = Plan(
            server=str(gateway.server),
            token=token,
            run_id=run_id,
            offices=offices,
            profile=given.profile,
            users=given.users,
            seconds=given.seconds,
            scale=given.scale,
            aim_ms=given.p99_ms,
            step_seconds=given.step_seconds,
            seed=given.seed,
            supervisor_pid=gateway.supervisor_pid,
        )
        said = await run_locust(plan, web_port=given.web_port if given.web else None, stop=stop)
        answers = Answers.from_json(said["answers"])
        console.print("auditing the books ...", style="dim")
        findings = await audit_load(gateway, operator, offices, answers)
    result = {
        "profile": given.profile,
        "users": (said["climb"] or {}).get("users") or given.users,
        "seconds": given.seconds,
        "scale": given.scale,
        "aim_ms": given.p99_ms,
        "offices": describe(offices),
        "gateway": "its own" if gateway.is_own else str(gateway.server),
        "ceiling": ceiling,
        "climb": said["climb"],
        "figures": said["figures"],
        "counts": answers.counts,
    }
    return conclude("users", taken, result, tables_of(result), findings, given.results, console)


def _offices(given: argparse.Namespace, run_id: str) -> Offices:
    mix = PROFILES[given.profile].mix
    return Offices.named(
        run_id,
        funded=given.offices,
        unfunded=max(1, given.offices // 20) if Kind.UNFUNDED in mix else 0,
        refilled=max(10, given.offices // 2) if Kind.REFILLED in mix else 0,
    )


async def _measure_ceiling(seconds: float, console: Console) -> dict[str, Any]:
    """What locust does where nothing is to be waited for: calls, authorized and ended, against a constant answer."""
    console.print("measuring what locust itself is capable of ...", style="dim")
    async with running_child("empty", "loadtest.yardsticks") as empty:
        plan = Plan(
            server=empty.said["listen"],
            token="nobody asks",
            run_id="ceiling",
            offices=Offices(("ceiling",)),
            profile="",
            users=CEILING_USERS,
            seconds=seconds,
            scale=1.0,
            aim_ms=1.0,
            step_seconds=1.0,
            seed=1,
            supervisor_pid=None,
        )
        figures = (await run_locust(plan, quiet=True))["figures"]
    return {
        "rate_per_second": figures["rate_per_second"],
        "users": CEILING_USERS,
        "p50_ms": figures["all"]["p50_ms"],
        "p99_ms": figures["all"]["p99_ms"],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.users", description="Load a gateway, and audit its books."
    )
    profiles = "; ".join(f"{name}: {profile.about}" for name, profile in PROFILES.items())
    parser.add_argument("--profile", choices=list(PROFILES), default="steady", help=profiles)
    parser.add_argument(
        "--seconds", type=positive, default=60.0, help="how long (default: 60); the climb comes before it"
    )
    parser.add_argument("--users", type=count, help="at the most (default: 150; of a climb 3000)")
    parser.add_argument("--offices", type=count, default=200, help="with funds (default: 200)")
    parser.add_argument("--scale", type=positive, default=60.0, help="seconds of talk in a second (default: 60)")
    parser.add_argument("--p99-ms", type=positive, default=5.0, help="the aim (default: 5)")
    parser.add_argument("--step-seconds", type=positive, default=10.0, help="of a climb (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="of all chances (default: 1)")
    parser.add_argument("--web", action="store_true", help="locust's page instead of a run that begins by itself")
    parser.add_argument("--web-port", type=int, default=8089, help="of that page, on loopback (default: 8089)")
    parser.add_argument(
        "--ceiling-seconds",
        type=not_negative,
        default=5.0,
        help="how long to measure what locust itself is capable of (default: 5; 0: not at all)",
    )
    add_result_option(parser)
    add_gateway_options(parser)
    return parser


def _check(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Fill in what depends on the profile, and end with a message where it cannot be run."""
    profile = PROFILES[given.profile]
    if given.users is None:
        given.users = 3_000 if profile.climbs else 150
    if profile.outage_at is not None and given.server is not None and given.supervisor_pid is None:
        parser.error(f"--profile {given.profile} kills the front of the gateway: name its --supervisor-pid")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
