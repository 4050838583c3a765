"""`python -m loadtest.tracing`: what traces cost the front, off and on, in CPU time a request.

Fronts that trace nothing, one request in a hundred, and each request decide in turns, each on a store of its own; with
`--before` the front of another checkout too, say of the commit before a change. CPU time, since what else the machine
does is hardly in it; and ratios of what was measured in the same turn.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from rich.console import Console
from rich.table import Table

from gateway.address import Address
from gateway.settings_problems import PREFIX
from loadtest.callers import Callers
from loadtest.command import run_to_end
from loadtest.figures import Figure
from loadtest.machine import process_cpu_seconds
from loadtest.processes import running_store
from loadtest.scene import open_stub, running_front
from loadtest.session_load import office_name, running_load

OFFICES: Final = 100
IN_FLIGHT: Final = 64
OFF: Final = "off"
BEFORE: Final = "before"
RATIOS: Final = {"1 in 100": 0.01, "all": 1.0}

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass
class _Target:
    """A front with what was measured of it.

    Attributes:
        pid: Of its process.
        address: Where it listens.
        micros: CPU time of the front a request, turn by turn, for unary rpcs and for a Session.
    """

    pid: int
    address: Address
    micros: dict[str, list[float]] = field(default_factory=lambda: {"unary": [], "session": []})


async def measure(given: argparse.Namespace, console: Console) -> int:
    """Measure in turns, and show medians."""
    offices = [office_name(index) for index in range(OFFICES)]
    async with AsyncExitStack() as stack:
        endpoint = stack.enter_context(_collector())
        targets = {}
        for name in ([BEFORE] if given.before else []) + [OFF, *RATIOS]:
            store = await stack.enter_async_context(running_store())
            traced = {"trace_endpoint": endpoint, "trace_ratio": RATIOS[name]} if name in RATIOS else {}
            of_another = _of_checkout(given.before) if name == BEFORE else dict
            front = await stack.enter_async_context(
                running_front(store, offices, settings=traced, environment=of_another)
            )
            targets[name] = _Target(front.process.pid, front.address)
        load = await stack.enter_async_context(
            running_load({name.replace(" ", "-"): target.address for name, target in targets.items()}, OFFICES)
        )
        callers = {
            name: Callers(await stack.enter_async_context(open_stub(target.address)), offices, f"unary{number:03}")
            for number, (name, target) in enumerate(targets.items())
        }

        async def unary(name: str) -> int:
            return (await callers[name].run_closed(IN_FLIGHT, given.seconds)).rpcs

        async def session(name: str) -> int:
            said = await load.ask(
                "closed", target=name.replace(" ", "-"), in_flight=IN_FLIGHT, seconds=float(given.seconds)
            )
            return int(said["operations"])

        for turn in range(-1, given.rounds):  # The first is to warm up.
            # Each goes first in turn.
            order = list(targets)[max(turn, 0) % len(targets) :] + list(targets)[: max(turn, 0) % len(targets)]
            for kind, run in (("unary", unary), ("session", session)):
                for name in order:
                    micros = await _cpu_micros(targets[name].pid, run, name)
                    if turn >= 0:
                        targets[name].micros[kind].append(micros)
    for kind in ("unary", "session"):
        console.print(_table(kind, targets))
    return 0


async def _cpu_micros(pid: int, run: Callable[[str], Awaitable[int]], name: str) -> float:
    before = process_cpu_seconds(pid)
    requests = await run(name)
    return 1e6 * (process_cpu_seconds(pid) - before) / requests


def _table(kind: str, targets: dict[str, _Target]) -> Table:
    table = Table(title=f"{kind}: CPU time of the front a request, in microseconds; median (lowest to highest turn)")
    for column in ("traces", "CPU time", "to off, of the same turn"):
        table.add_column(column)
    for name, target in targets.items():
        micros = target.micros[kind]
        ratios = [one / other for one, other in zip(micros, targets[OFF].micros[kind], strict=True)]
        table.add_row(name, _shown(Figure.of(micros), 1), _shown(Figure.of(ratios), 3))
    return table


def _shown(figure: Figure, decimals: int) -> str:
    return f"{figure.median:.{decimals}f} ({figure.low:.{decimals}f} to {figure.high:.{decimals}f})"


def _of_checkout(directory: Path) -> Callable[[dict[str, str]], dict[str, str]]:
    """The variables of a front of another checkout, which may know no setting of traces."""

    def environment(ours: dict[str, str]) -> dict[str, str]:
        known = {name: value for name, value in ours.items() if not name.startswith(f"{PREFIX}TRACE_")}
        return {**known, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(directory)}

    return environment


@contextmanager
def _collector() -> Iterator[str]:
    """A collector that takes everything and keeps nothing, in a thread of this process; says where it is."""
    export: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")  # noqa: ARG005
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": export}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns; default 9")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each front is loaded in one; default 3")
    parser.add_argument("--before", type=Path, help="another checkout, whose front is measured too")
    return run_to_end(measure, parser.parse_args(), "the measurement")


if __name__ == "__main__":
    sys.exit(main())
