"""Measure 10: a client that is not ours, h2load, which sends raw gRPC frames over HTTP/2; ours does the same beside it.

It can repeat one request only, so what it asks for changes nothing: a quote, and the replay of an authorization. It
knows nothing of gRPC's status, which is in the trailers: that each answer was whole is seen from how many bytes came.
"""

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import grpc.aio

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import Figure, Latency, latency_json
from loadtest.machine import process_cpu_seconds
from loadtest.processes import BenchError, BenchStore, running_child
from loadtest.programs import H2LOAD, missing, run_program, version_of
from loadtest.scene import FUNDS_MICROS, OPERATOR_TOKEN, running_front
from loadtest.session_load import METADATA

IN_FLIGHT: Final = 64
OFFICE: Final = "independent"
CALLED: Final = "+442079460958"
CALL: Final = pb.AuthorizeCallRequest(
    office_id=OFFICE, call_id="replayed", direction=pb.OUTBOUND, calling_number="+12125550100", called_number=CALLED
)
QUOTE: Final = pb.QuoteCallRequest(office_id=OFFICE, direction=pb.OUTBOUND, called_number=CALLED, duration_seconds=60)

_FINISHED: Final = re.compile(r"^finished in .*?, ([\d.]+) req/s", re.MULTILINE)
_STATUS: Final = re.compile(r"^status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", re.MULTILINE)
_DATA: Final = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)
_FRAME_HEAD: Final = 5


@dataclass
class _Rounds:
    """Of one client, one kind of request and one target."""

    rates: list[float] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    cpu_micros: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "rate_per_second": Figure.of(self.rates).to_json(),
            "latency": latency_json(self.latencies),
            "server_cpu_micros": Figure.of(self.cpu_micros).to_json(),
        }


@dataclass(frozen=True, slots=True)
class _Target:
    """Who answers."""

    name: str
    address: Address
    pid: int
    stub: Any


def framed(message: Any) -> bytes:
    """A message as gRPC puts it into HTTP/2's data: not compressed, its length, itself."""
    packed: bytes = message.SerializeToString()
    return struct.pack(">BI", 0, len(packed)) + packed


def read_h2load(text: str, requests: int, answer_bytes: int) -> float:
    """The rate that h2load says it had.

    Raises:
        BenchError: Not every request was answered in full.
    """
    finished, status, data = (pattern.search(text) for pattern in (_FINISHED, _STATUS, _DATA))
    if not (finished and status and data):
        raise BenchError(f"h2load was not answered in full:\n{text[-1500:]}")
    if int(status[1]) != requests or int(data[1]) != requests * answer_bytes:
        raise BenchError(f"h2load got {status[1]} answers of {data[1]} bytes, not {requests} of {answer_bytes} each")
    return float(finished[1])


async def measure_independent(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """QuoteCall and a replayed AuthorizeCall, by h2load and by grpc.aio, of the gateway and of the empty handler.

    Raises:
        BenchError: A request was not answered as it should be, or the books are wrong.
    """
    if skipped := missing(H2LOAD):
        return skipped
    rounds: dict[tuple[str, str, str], _Rounds] = {}
    async with (
        running_child("empty", "loadtest.yardsticks") as empty,
        running_front(store, [OFFICE]) as front,
        grpc.aio.insecure_channel(str(front.address), options=CHANNEL_OPTIONS) as channel,
        grpc.aio.insecure_channel(empty.said["listen"], options=CHANNEL_OPTIONS) as empty_channel,
    ):
        targets = (
            _Target("gateway", front.address, front.process.pid, CallAuthorizationStub(channel)),
            _Target("empty", Address.parse(empty.said["listen"]), empty.pid, CallAuthorizationStub(empty_channel)),
        )
        gateway = targets[0].stub
        granted = await gateway.AuthorizeCall(CALL, metadata=METADATA)
        if granted.reason != pb.FUNDED:
            raise BenchError(f"the call was answered {pb.Reason.Name(granted.reason)}")
        for number in range(effort.independent_rounds):
            for kind, method, request in (("quote", "QuoteCall", QUOTE), ("replay", "AuthorizeCall", CALL)):
                for target in targets if number % 2 else reversed(targets):
                    for client, run in _CLIENTS.items():
                        key = kind, target.name, client
                        before = process_cpu_seconds(target.pid)
                        rate, latency = await run(target, method, request, effort.independent_requests, store.directory)
                        used = 1e6 * (process_cpu_seconds(target.pid) - before) / effort.independent_requests
                        noted = rounds.setdefault(key, _Rounds())
                        noted.rates.append(rate)
                        noted.latencies.append(latency)
                        noted.cpu_micros.append(used)
        await gateway.EndCall(pb.EndCallRequest(office_id=OFFICE, call_id=CALL.call_id), metadata=METADATA)
        await books.audit_store("independent", {OFFICE: FUNDS_MICROS}, front.store)
    return {
        "program": version_of(H2LOAD),
        "in_flight": IN_FLIGHT,
        "requests": effort.independent_requests,
        "rounds": effort.independent_rounds,
        "cases": [
            {"request": kind, "target": target, "client": client, **each.to_json()}
            for (kind, target, client), each in rounds.items()
        ],
    }


async def _by_h2load(
    target: _Target, method: str, request: Any, requests: int, directory: Path
) -> tuple[float, Latency]:
    answer = await getattr(target.stub, method)(request, metadata=METADATA)
    body, log = directory / "h2load.body", directory / "h2load.log"
    await asyncio.to_thread(body.write_bytes, framed(request))
    # h2load appends.
    await asyncio.to_thread(log.unlink, missing_ok=True)
    said = await run_program(
        [
            H2LOAD,
            *("--requests", str(requests), "--clients", "1", "--max-concurrent-streams", str(IN_FLIGHT)),
            *("--data", str(body), "--log-file", str(log)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--header", f"authorization: Bearer {OPERATOR_TOKEN}"),
            f"http://{target.address}/gateway.v1.CallAuthorization/{method}",
        ]
    )
    rate = read_h2load(said, requests, _FRAME_HEAD + answer.ByteSize())
    lines = (await asyncio.to_thread(log.read_text)).splitlines()
    return rate, Latency.of(int(line.split("\t")[2]) / 1e6 for line in lines)


async def _by_ours(
    target: _Target,
    method: str,
    request: Any,
    requests: int,
    directory: Path,  # noqa: ARG001 - h2load needs one
) -> tuple[float, Latency]:
    rpc, latencies = getattr(target.stub, method), list[float]()
    answer = await rpc(request, metadata=METADATA)

    async def ask(count: int) -> None:
        for _ in range(count):
            sent = perf_counter()
            again = await rpc(request, metadata=METADATA)
            latencies.append(perf_counter() - sent)
            if again != answer:
                raise BenchError(f"{method} was answered {again}, and before that {answer}")

    started = perf_counter()
    await asyncio.gather(*[ask(requests // IN_FLIGHT + (slot < requests % IN_FLIGHT)) for slot in range(IN_FLIGHT)])
    return requests / (perf_counter() - started), Latency.of(latencies)


_Run = Callable[[_Target, str, Any, int, Path], Awaitable[tuple[float, Latency]]]
_CLIENTS: Final[dict[str, _Run]] = {"h2load": _by_h2load, "grpc.aio": _by_ours}
