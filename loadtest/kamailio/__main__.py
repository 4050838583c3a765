"""`python -m loadtest.kamailio`: what Tollgate adds to an INVITE, and the rates that go through.

Exit code 0: the figures stand. 1: a figure could not be taken, or the books were wrong after it.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from gateway.client import Client
from loadtest.figures import percentile
from loadtest.kamailio.latency import Invites, take_turns
from loadtest.kamailio.rates import run_rate
from loadtest.processes import BenchError
from loadtest.report import RESULTS, keep
from loadtest.taken import Taken
from tests.support.gateway_process import UNGUARDED
from tests.support.kamailio import Kamailio, Process, Sidecar, spawn
from tests.support.mortal_gateway import MortalGateway, mortal_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator
from tests.support.servers import free_port

HERE: Final = Path(__file__).parent
AIM: Final = 1.2
"""Added by Tollgate, at most so many times what evapi alone adds and a decision over a Session takes, at p50."""

DECK: Final = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,44,,0,0.01,1,1,0,60,Britain by the second
"""


@contextmanager
def started_kamailio(directory: Path, configuration: Path | None, megabytes: int = 256) -> Iterator[Kamailio]:
    """Run a Kamailio until the block ends."""
    directory.mkdir()
    kamailio = Kamailio(directory, free_port(), megabytes=megabytes, configuration=configuration)
    try:
        kamailio.start()
        yield kamailio
    finally:
        kamailio.stop()


@contextmanager
def started(process: Process) -> Iterator[Process]:
    """A process until the block ends."""
    try:
        yield process
    finally:
        process.stop()


async def measure_latency(
    directory: Path, gateway: MortalGateway, token: str, office: str, rounds: int, calls: int
) -> dict[str, Any]:
    """The same INVITEs through a plain proxy, cnxcc, evapi alone and Tollgate, in turns."""
    with ExitStack() as running:

        def start(name: str, configuration: Path | None) -> Kamailio:
            return running.enter_context(started_kamailio(directory / name, configuration))

        proxies = {"plain proxy": start("plain", HERE / "plain.cfg"), "cnxcc": start("cnxcc", HERE / "cnxcc.cfg")}
        proxies |= {"evapi alone": start("evapi", None), "Tollgate": start("tollgate", None)}
        granting = [sys.executable, "-m", "loadtest.kamailio.granting", str(proxies["evapi alone"].evapi)]
        running.enter_context(started(spawn(granting, directory / "granting.log")))
        sidecar = Sidecar(proxies["Tollgate"], gateway.server, token, live_calls_seconds=30)
        running.callback(sidecar.stop)
        sidecar.start()
        await asyncio.sleep(2.5)
        invites = {name: Invites(kamailio, office) for name, kamailio in proxies.items()}
        try:
            async with Client(gateway.server, token) as client:
                await client.wait_connected()
                seconds = await take_turns(invites, client, office, rounds=rounds, calls=calls)
        finally:
            for each in invites.values():
                each.close()
    figures = {name: _milliseconds(each) for name, each in seconds.items()}
    added = {
        name: figures[name]["p50"] - figures["plain proxy"]["p50"] for name in ("cnxcc", "evapi alone", "Tollgate")
    }
    allowed = added["evapi alone"] + figures["session decision"]["p50"]
    return {
        "calls_each": rounds * calls,
        "milliseconds": figures,
        "added_p50_milliseconds": {name: round(value, 3) for name, value in added.items()},
        "ratio_to_evapi_and_decision": round(added["Tollgate"] / allowed, 2),
        "aim": AIM,
    }


async def measure_rates(
    directory: Path, gateway: MortalGateway, token: str, rates: Sequence[int], seconds: int
) -> list[dict[str, Any]]:
    """One rate after the other, until one fails."""
    measured = []
    for rate in rates:
        with started_kamailio(directory / f"kamailio-{rate}", None, 1024) as kamailio:
            sidecar = Sidecar(kamailio, gateway.server, token, live_calls_seconds=30)
            try:
                sidecar.start()
                await asyncio.sleep(1.5)
                measured.append(await run_rate(kamailio.directory, gateway, kamailio, rate, seconds, 100))
            finally:
                sidecar.stop()
        print(json.dumps(measured[-1]), flush=True)
        if not measured[-1]["passed"]:
            break
    return measured


async def run(given: argparse.Namespace, directory: Path, gateway: MortalGateway) -> dict[str, Any]:
    """Take the figures."""
    taken, result = Taken.now(directory), dict[str, Any]()
    async with Operator.of(gateway.admin_server) as operator:
        token = await operator.create_switch_token("kamailio-load")
        office = await operator.create_office(10**12)
    if not given.no_latency:
        result["invite"] = await measure_latency(directory, gateway, token, office, given.rounds, given.calls)
        print(json.dumps(result["invite"]), flush=True)
    if given.rates:
        result["rates"] = await measure_rates(directory, gateway, token, given.rates, given.seconds)
    return {**taken.head(), **result, "took_seconds": taken.seconds()}


def main(arguments: Sequence[str]) -> int:
    """Take the figures, and keep them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.kamailio", description=__doc__)
    parser.add_argument("--rates", type=_rates, default=[250, 500, 750, 1000, 1250, 1500, 2000], help="calls a second")
    parser.add_argument("--seconds", type=int, default=60, help="of each rate")
    parser.add_argument("--rounds", type=int, default=20, help="turns of the latency")
    parser.add_argument("--calls", type=int, default=50, help="in a turn")
    parser.add_argument("--no-latency", action="store_true", help="only the rates")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tollgate-kamailio-") as name:
        directory = Path(name)
        deck = directory / "rates.csv"
        deck.write_text(DECK)
        settings = {"TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN, "TOLLGATE_RATES": str(deck), **UNGUARDED}
        try:
            with mortal_gateway(directory, **settings) as gateway:
                result = uvloop.run(run(given, directory, gateway))
        except (BenchError, AssertionError, TimeoutError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"Written to {keep(result, given.results, 'kamailio-')}")
    return 0


def _rates(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each]


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{percent}": round(percentile(ordered, percent) * 1000, 3) for percent in (50, 95, 99)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
