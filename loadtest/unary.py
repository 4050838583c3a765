"""Measure 2: AuthorizeCall and EndCall, one rpc each, beside an empty grpc.aio handler with the same messages."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.address import Address
from gateway.v1 import authorization_pb2 as pb
from loadtest.books import Books
from loadtest.callers import DURATIONS, PREFIXES, Callers, Window
from loadtest.effort import Effort
from loadtest.figures import Figure, Latency, latency_json
from loadtest.machine import process_cpu_seconds
from loadtest.processes import BenchError, BenchStore, running_child
from loadtest.scene import DEFAULT_RATES, FUNDS_MICROS, Front, open_stub, running_front


@dataclass
class _Target:
    """The gateway or the empty handler, with what was measured of it at one level of concurrency after the other.

    Attributes:
        callers: Who calls it.
        pids: The processes whose CPU time is measured, by name; among them this one, the load generator.
    """

    callers: Callers
    pids: dict[str, int]
    rounds: dict[int, list[Window]] = field(default_factory=dict)
    cpu_micros: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    by_schedule: list[Window] = field(default_factory=list)

    async def measure(self, in_flight: int, seconds: float) -> None:
        before = {name: process_cpu_seconds(pid) for name, pid in self.pids.items()}
        window = await self.callers.run_closed(in_flight, seconds)
        self.rounds.setdefault(in_flight, []).append(window)
        used = self.cpu_micros.setdefault(in_flight, {name: [] for name in self.pids})
        for name, pid in self.pids.items():
            used[name].append(1e6 * (process_cpu_seconds(pid) - before[name]) / window.rpcs)

    def to_json(self, in_flight: int) -> dict[str, Any]:
        rounds = self.rounds[in_flight]
        return {
            "rate_per_second": Figure.of(window.rpcs / window.seconds for window in rounds).to_json(),
            "both": latency_json([Latency.of(window.authorize + window.end) for window in rounds]),
            "authorize": latency_json([Latency.of(window.authorize) for window in rounds]),
            "end": latency_json([Latency.of(window.end) for window in rounds]),
            "cpu_micros_per_rpc": {
                name: Figure.of(values).to_json() for name, values in self.cpu_micros[in_flight].items()
            },
        }


async def measure_unary(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Run closed loops at each level of concurrency, gateway and yardstick in turn, and audit the offices.

    Raises:
        BenchError: A call was not answered as it should be, or the books are wrong.
    """
    offices = [f"office-{index:05d}" for index in range(effort.unary_offices)]
    async with (
        running_child("empty", "loadtest.yardsticks") as empty,
        running_front(store, offices) as front,
        open_stub(front.address) as gateway_stub,
        open_stub(Address.parse(empty.said["listen"])) as empty_stub,
    ):
        own = {"generator": os.getpid()}
        gateway = _Target(
            Callers(gateway_stub, offices, "unary"), {"front": front.process.pid, "store": store.pid, **own}
        )
        nothing = _Target(Callers(empty_stub, offices, "unary"), {"handler": empty.pid, **own})
        for target in (gateway, nothing):
            await target.callers.run_closed(8, effort.unary_seconds)
        for number in range(effort.unary_rounds):
            for in_flight in effort.unary_in_flight:
                # Each goes first in turn, so that neither always has the machine as the other left it.
                for target in (gateway, nothing) if number % 2 else (nothing, gateway):
                    await target.measure(in_flight, effort.unary_seconds)
        for number in range(effort.open_rounds):
            for target in (gateway, nothing) if number % 2 else (nothing, gateway):
                target.by_schedule.append(
                    await target.callers.run_open(effort.open_unary_per_second, effort.open_seconds)
                )
        await _check_prices(front, gateway.callers, offices[0])
        expected = {office_id: FUNDS_MICROS - gateway.callers.debited[office_id] for office_id in offices}
        await books.audit_store("unary", expected, front.store)
        return {
            "rounds": effort.unary_rounds,
            "seconds_a_round": effort.unary_seconds,
            "offices": len(offices),
            "deck": DEFAULT_RATES,
            "retries": gateway.callers.retries,
            "levels": [_level(in_flight, gateway, nothing) for in_flight in effort.unary_in_flight],
            "open_loop": _open_loop(gateway, nothing, effort),
        }


def _level(in_flight: int, gateway: _Target, nothing: _Target) -> dict[str, Any]:
    pairs: Sequence[tuple[Window, Window]] = list(
        zip(gateway.rounds[in_flight], nothing.rounds[in_flight], strict=True)
    )
    return {
        "in_flight": in_flight,
        "gateway": gateway.to_json(in_flight),
        "empty_handler": nothing.to_json(in_flight),
        "ratio_to_empty_handler": Figure.of(
            (ours.rpcs / ours.seconds) / (empty.rpcs / empty.seconds) for ours, empty in pairs
        ).to_json(),
    }


def _open_loop(gateway: _Target, nothing: _Target, effort: Effort) -> dict[str, Any] | None:
    """None: the effort has no rounds of it."""
    if not effort.open_rounds:
        return None
    ours, empty = (
        [Latency.of(window.authorize + window.end) for window in target.by_schedule] for target in (gateway, nothing)
    )
    return {
        "per_second": effort.open_unary_per_second,
        "rounds": effort.open_rounds,
        "seconds_a_round": effort.open_seconds,
        **{
            name: {
                "latency": latency_json(latencies),
                "lag": latency_json([Latency.of(window.lags) for window in target.by_schedule]),
            }
            for name, target, latencies in (("gateway", gateway, ours), ("empty_handler", nothing, empty))
        },
        **{
            f"{name}_ratio": Figure.of(
                getattr(one, name) / getattr(other, name) for one, other in zip(ours, empty, strict=True)
            ).to_json()
            for name in ("p50", "p99")
        },
    }


async def _check_prices(front: Front, callers: Callers, office_id: str) -> None:
    """Hold one call's debit for each price and duration against its quote: answers could agree and both be wrong."""
    async with open_stub(front.address) as stub:
        for index, (prefix, duration) in enumerate((prefix, each) for prefix in PREFIXES for each in DURATIONS):
            number, call_id = f"{prefix}60958", f"price-{index}"
            quote = await stub.QuoteCall(
                pb.QuoteCallRequest(
                    office_id=office_id, direction=pb.OUTBOUND, called_number=number, duration_seconds=duration
                )
            )
            await stub.AuthorizeCall(
                pb.AuthorizeCallRequest(
                    office_id=office_id, call_id=call_id, direction=pb.OUTBOUND, called_number=number
                )
            )
            ended = await stub.EndCall(
                pb.EndCallRequest(office_id=office_id, call_id=call_id, duration_seconds=duration)
            )
            callers.debited[office_id] += ended.debited_micros
            if ended.debited_micros != quote.price_micros or ended.written_off_micros:
                raise BenchError(f"{duration} s to {prefix} cost {ended.debited_micros}, not {quote.price_micros}")
