"""Measure 9: mixes of operations, unary and in a Session, each beside an empty handler that answers a constant."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Any, Final

import grpc
import grpc.aio

from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from loadtest.books import Books
from loadtest.callers import DEADLINE_SECONDS
from loadtest.effort import Effort
from loadtest.figures import Figure, Latency, latency_json
from loadtest.lives import METHODS, MIXES, Life
from loadtest.lives import Books as Answered
from loadtest.machine import process_cpu_seconds, resident_bytes
from loadtest.processes import BenchError, BenchStore, running_child
from loadtest.scene import FUNDS_MICROS, running_front
from loadtest.session_load import METADATA

IN_FLIGHT: Final = 64
MAX_RETRIES: Final = 10_000
TRANSPORTS: Final = ("unary", "session")


@dataclass
class _Round:
    """What was measured of one mix: latencies in seconds by operation, and CPU time by process."""

    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    cpu_micros: dict[str, float] = field(default_factory=dict)

    @property
    def operations(self) -> int:
        return sum(map(len, self.latencies.values()))

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    def note(self, kind: str, seconds: float) -> None:
        self.latencies.setdefault(kind, []).append(seconds)


class _Target:
    """The gateway or the empty handler.

    Args:
        channel: To it.
        offices: Who calls.
        pids: The processes whose CPU time is measured, by name.
    """

    def __init__(self, channel: grpc.aio.Channel, offices: Sequence[str], pids: dict[str, int]) -> None:
        self.books = Answered()
        self.retries = 0
        self.rounds: dict[tuple[str, str], list[_Round]] = {}
        self._channel = channel
        self._offices = itertools.cycle(offices)
        self._ids = (f"mixes000-0000-4000-8000-{number:012x}" for number in itertools.count())
        self._seeds = itertools.count(1)
        self._pids = pids

    async def measure(self, transport: str, mix: str, seconds: float, *, counts: bool = True) -> None:
        """Run one mix in a closed loop; lives that have begun are finished, and count."""
        round_ = _Round()
        lives = [Life(MIXES[mix], self._offices, self._ids, next(self._seeds), self.books) for _ in range(IN_FLIGHT)]
        run: Callable[[list[Life], float, _Round], Awaitable[None]] = (
            self._unary if transport == "unary" else self._session
        )
        before = {name: process_cpu_seconds(pid) for name, pid in self._pids.items()}
        started = perf_counter()
        await run(lives, started + seconds, round_)
        round_.seconds = perf_counter() - started
        round_.cpu_micros = {
            name: 1e6 * (process_cpu_seconds(pid) - before[name]) / round_.operations
            for name, pid in self._pids.items()
        }
        if counts:
            self.rounds.setdefault((transport, mix), []).append(round_)

    def _retry(self, life: Life, code: int, said: str) -> None:
        """Ask again with the same id where the store did not answer in time, and fail at all else."""
        if code != grpc.StatusCode.UNAVAILABLE.value[0] or self.retries >= MAX_RETRIES:
            raise BenchError(f"{life.kind} was answered {said}")
        self.retries += 1

    async def _unary(self, lives: list[Life], until: float, round_: _Round) -> None:
        stub: Any = CallAuthorizationStub(self._channel)
        rpcs = {kind: getattr(stub, method) for kind, method in METHODS.items()}

        async def live(life: Life) -> None:
            while not (life.is_over and perf_counter() >= until):
                request = life.next()
                sent = perf_counter()
                answer = None
                while answer is None:
                    try:
                        answer = await rpcs[life.kind](request, metadata=METADATA, timeout=DEADLINE_SECONDS)
                    except grpc.aio.AioRpcError as error:
                        self._retry(life, error.code().value[0], f"{error.code().name}: {error.details()}")
                round_.note(life.kind, perf_counter() - sent)
                life.take(answer)

        try:
            async with asyncio.TaskGroup() as tasks:
                for life in lives:
                    tasks.create_task(live(life))
        except* BenchError as group:
            raise BenchError(str(group.exceptions[0])) from group

    async def _session(self, lives: list[Life], until: float, round_: _Round) -> None:
        stream: Any = CallAuthorizationStub(self._channel).Session(metadata=METADATA)
        left, sent = len(lives), [0.0] * len(lives)

        operations: list[pb.Operation] = [pb.Operation()] * len(lives)

        async def send(tags: Sequence[int], again: Sequence[int] = ()) -> None:
            for tag in tags:
                request = lives[tag].next()
                operations[tag] = pb.Operation(tag=tag + 1, **{lives[tag].kind: request})
            now = perf_counter()
            for tag in tags:
                sent[tag] = now
            await stream.write(pb.SessionRequest(operations=[operations[tag] for tag in (*tags, *again)]))

        await send(range(len(lives)))
        while left:
            response = await stream.read()
            if not isinstance(response, pb.SessionResponse):
                raise BenchError(f"the Session was ended with {(await stream.code()).name}: {await stream.details()}")
            now = perf_counter()
            go_on: list[int] = []
            again: list[int] = []
            for result in response.results:
                tag = result.tag - 1
                life = lives[tag]
                if result.WhichOneof("result") != life.kind:
                    self._retry(life, result.error.code, str(result))
                    again.append(tag)
                    continue
                round_.note(life.kind, now - sent[tag])
                life.take(getattr(result, life.kind))
                if life.is_over and now >= until:
                    left -= 1
                else:
                    go_on.append(tag)
            if go_on or again:
                await send(go_on, again)
        await stream.done_writing()
        await stream.read()


async def measure_mixes(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Each mix by each transport, gateway and empty handler in turn.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    offices = [f"office-{index:05d}" for index in range(effort.unary_offices)]
    async with (
        running_child("empty", "loadtest.yardsticks") as empty,
        running_front(store, offices) as front,
        grpc.aio.insecure_channel(str(front.address), options=CHANNEL_OPTIONS) as channel,
        grpc.aio.insecure_channel(empty.said["listen"], options=CHANNEL_OPTIONS) as empty_channel,
    ):
        own = {"generator": os.getpid()}
        gateway = _Target(channel, offices, {"front": front.process.pid, "store": store.pid, **own})
        nothing = _Target(empty_channel, offices, {"handler": empty.pid, **own})
        pairs = [(transport, mix) for transport in TRANSPORTS for mix in MIXES]
        for transport in TRANSPORTS:
            for target in (gateway, nothing):
                await target.measure(transport, "calls and messages", effort.mix_seconds, counts=False)
        for number in range(effort.mix_rounds):
            for transport, mix in pairs:
                for target in (gateway, nothing) if number % 2 else (nothing, gateway):
                    await target.measure(transport, mix, effort.mix_seconds)
        memory = {
            "front_resident_bytes": resident_bytes(front.process.pid),
            "store_used_bytes": int(store.info("memory")["used_memory"]),
        }
        expected = {office_id: FUNDS_MICROS - gateway.books.debited[office_id] for office_id in offices}
        await books.audit_store("mixes", expected, front.store)
    return {
        "rounds": effort.mix_rounds,
        "seconds_a_round": effort.mix_seconds,
        "in_flight": IN_FLIGHT,
        "offices": len(offices),
        "retries": gateway.retries,
        **memory,
        "mixes": [_mix(transport, mix, gateway, nothing) for transport, mix in pairs],
    }


def _mix(transport: str, mix: str, gateway: _Target, nothing: _Target) -> dict[str, Any]:
    ours, empty = gateway.rounds[transport, mix], nothing.rounds[transport, mix]
    return {
        "transport": transport,
        "mix": mix,
        "gateway": _side(ours),
        "empty_handler": _side(empty),
        "ratio_to_empty_handler": Figure.of(
            one.rate / other.rate for one, other in zip(ours, empty, strict=True)
        ).to_json(),
    }


def _side(rounds: list[_Round]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(kind for round_ in rounds for kind in round_.latencies))
    return {
        "rate_per_second": Figure.of(round_.rate for round_ in rounds).to_json(),
        "all": latency_json([Latency.of(chain.from_iterable(each.latencies.values())) for each in rounds]),
        "latency": {kind: latency_json([Latency.of(round_.latencies[kind]) for round_ in rounds]) for kind in kinds},
        "cpu_micros_per_operation": {
            name: Figure.of(round_.cpu_micros[name] for round_ in rounds).to_json() for name in rounds[0].cpu_micros
        },
    }
