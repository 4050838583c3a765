"""`python -m loadtest.arrivals`: operations by a schedule, latencies from the time at which each should have been sent.

Without --server it starts a gateway of its own and needs nothing else. How it works, and what the figures do not say:
loadtest/README.md.

Exit code 0: the books add up. 1: they do not, an answer was wrong, or the load could not be made.
"""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rich.console import Console

from loadtest.arrivals.generator import Generator
from loadtest.arrivals.switch import WAYS, open_switch
from loadtest.load.answers import Answers
from loadtest.load.audit import audit_load
from loadtest.load.command import run_load
from loadtest.load.gateway import LoadedGateway, add_gateway_options, check_gateway_options
from loadtest.load.numbers import count, not_negative, positive
from loadtest.load.offices import Offices, describe, new_run_id
from loadtest.load.opening import opened
from loadtest.load.results import add_result_option, conclude
from loadtest.schedule import constant_arrivals, poisson_arrivals
from loadtest.tables import Table
from loadtest.taken import Taken

ARRIVALS: Final = ("constant", "poisson")


def main(arguments: Sequence[str]) -> int:
    """Read the command line, load the gateway, and audit; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    check_gateway_options(given, parser)
    return run_load(given, _run)


async def _run(given: argparse.Namespace, gateway: LoadedGateway, console: Console) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    taken, run_id, answers = Taken.now(), new_run_id(), Answers()
    offices = Offices.named(run_id, funded=given.offices)
    console.print(f"opening {given.offices} offices ...", style="dim")
    async with opened(gateway, offices, run_id) as (operator, token):
        console.print(
            f"{given.per_second:g} operations/s for {given.seconds:g} s, {given.arrivals}, {given.over} ...",
            style="dim",
        )
        async with open_switch(given.over, gateway.server, token) as switch:
            generator = Generator(switch, offices.funded, run_id, answers, seed=given.seed, stop=stop)
            # To look at all that was loaded so far takes some tens of milliseconds, which would be the generator's.
            gc.collect()
            gc.freeze()
            measured = await generator.run(_arrivals(given), given.warm_up_seconds)
        console.print("auditing the books ...", style="dim")
        findings = await audit_load(gateway, operator, offices, answers)
    result = {
        "per_second": given.per_second,
        "seconds": given.seconds,
        "warm_up_seconds": given.warm_up_seconds,
        "arrivals": given.arrivals,
        "over": given.over,
        "offices": describe(offices),
        "gateway": "its own" if gateway.is_own else str(gateway.server),
        "figures": measured.to_json(),
        "counts": answers.counts,
    }
    return conclude("arrivals", taken, result, [_table(result)], findings, given.results, console)


def _arrivals(given: argparse.Namespace) -> Iterator[float]:
    seconds = given.warm_up_seconds + given.seconds
    if given.arrivals == "constant":
        return constant_arrivals(given.per_second, seconds)
    return poisson_arrivals(given.per_second, seconds, given.seed)


def _table(result: Mapping[str, Any]) -> Table:
    figures = result["figures"]
    names = {"authorize": "AuthorizeCall", "end": "EndCall", "both": "both", "lag": "the generator's own lag, in these"}
    percentiles = ("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms")
    return Table(
        f"{result['over']}, {result['arrivals']}: {result['per_second']:,g} operations/s asked for, "
        f"{figures['rate_per_second']:,.0f}/s answered",
        ("from the time of the schedule", "answered", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"),
        tuple(
            (name, f"{figures[key]['count']:,.0f}", *(f"{figures[key][each]:.2f}" for each in percentiles))
            for key, name in names.items()
        ),
        f"At most {figures['most_in_flight']:,} in flight. The generator used {figures['generator_cpu_percent']:.0f} % "
        "of a core; where its lag is a large part of a latency, the latency is the generator's.",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.arrivals", description="Load a gateway by a schedule, and audit its books."
    )
    parser.add_argument("--per-second", type=positive, default=500.0, help="operations a second (default: 500)")
    parser.add_argument("--seconds", type=positive, default=30.0, help="how long (default: 30)")
    parser.add_argument("--warm-up-seconds", type=not_negative, default=2.0, help="before that (default: 2)")
    parser.add_argument("--arrivals", choices=ARRIVALS, default="poisson", help="distances (default: poisson)")
    parser.add_argument("--over", choices=WAYS, default="session", help="a Session or single rpcs (default: session)")
    parser.add_argument("--offices", type=count, default=200, help="who pay (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of all chances (default: 1)")
    add_result_option(parser)
    add_gateway_options(parser)
    return parser


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(1)
