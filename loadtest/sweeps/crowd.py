"""A point of the sweeps of offices and of live calls: a Session on a store that holds so many of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.address import Address
from loadtest.books import Books
from loadtest.control import Control
from loadtest.figures import Figure, Latency, latency_json
from loadtest.machine import process_cpu_seconds, resident_bytes
from loadtest.processes import BenchStore, running_child, running_store
from loadtest.scene import running_front
from loadtest.session import RawRate
from loadtest.session_load import running_load
from loadtest.sweeps.effort import SweepEffort
from loadtest.sweeps.population import Population

IN_FLIGHT: Final = 64
WARM_IN_FLIGHT: Final = 512
WARMED_PER_SECOND: Final = 3_000
"""Offices that a front gets to know in a second at least: one call each."""

KNOWN: Final = 1_000
"""The first offices, which the front is made to know before the first round."""

PROBE: Final = "probe"
"""An office that nothing is done with, by which is seen that the front decides."""


@dataclass
class Rounds:
    """What was measured of one target at a point, round by round.

    Attributes:
        rates: Of the closed loop, operations a second.
        closed: Its latencies.
        scheduled: Those of the schedule.
        authorize: Those of the authorizations among them.
        known: As `authorize`, where all calls are of offices that the front knows.
        cpu_micros: Of an operation of the closed loop, by process.
    """

    rates: list[float] = field(default_factory=list)
    closed: list[Latency] = field(default_factory=list)
    scheduled: list[Latency] = field(default_factory=list)
    authorize: list[Latency] = field(default_factory=list)
    known: list[Latency] = field(default_factory=list)
    cpu_micros: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Medians and spreads."""
        return {
            "rate_per_second": Figure.of(self.rates).to_json(),
            "closed_latency": latency_json(self.closed),
            "latency": latency_json(self.scheduled),
            "authorize": latency_json(self.authorize),
            "known": latency_json(self.known),
            "cpu_micros_per_operation": {name: Figure.of(each).to_json() for name, each in self.cpu_micros.items()},
        }


@dataclass
class Crowd:
    """A running gateway whose store holds so many offices and live calls, and the load on it.

    Attributes:
        offices: How many.
        live_calls: How many.
        front_pid: Of the front.
        store: Its store.
        load: The generator, with the targets "gateway" and "empty".
        raw: The raw rate on the same store.
        population: What the store holds.
        pids: By target, the processes whose CPU time counts, by name.
        rounds: By target.
        raw_rates: Of the raw scripts, an operation a second.
    """

    offices: int
    live_calls: int
    front_pid: int
    store: BenchStore
    load: Control
    raw: RawRate
    population: Population
    pids: dict[str, dict[str, int]]
    rounds: dict[str, Rounds] = field(default_factory=dict)
    raw_rates: list[float] = field(default_factory=list)

    async def warm_up(self, effort: SweepEffort) -> None:
        """Have the front see as many of the offices as it can in the time, and the handler run warm."""
        seconds = min(effort.warm_seconds, 1.0 + self.offices / WARMED_PER_SECOND)
        await self.load.ask("closed", target="empty", in_flight=IN_FLIGHT, seconds=min(1.0, seconds))
        await self.load.ask("closed", target="gateway", in_flight=WARM_IN_FLIGHT, seconds=seconds)
        await self.load.ask(
            "closed",
            target="gateway",
            in_flight=WARM_IN_FLIGHT,
            seconds=min(seconds, 1.0),
            among=min(KNOWN, self.offices),
        )

    async def measure(self, number: int, effort: SweepEffort) -> None:
        """One round: gateway and empty stream in turn, each in a closed loop and by a schedule; then raw."""
        for target in ("gateway", "empty") if number % 2 else ("empty", "gateway"):
            rounds, pids = self.rounds.setdefault(target, Rounds()), self.pids[target]
            before = {name: process_cpu_seconds(pid) for name, pid in pids.items()}
            what: dict[str, Any] = {"target": target, "seconds": effort.seconds, "at_random": True}
            said = await self.load.ask("closed", in_flight=IN_FLIGHT, **what)
            for name, pid in pids.items():
                used = 1e6 * (process_cpu_seconds(pid) - before[name]) / said["operations"]
                rounds.cpu_micros.setdefault(name, []).append(used)
            rounds.rates.append(said["operations"] / said["seconds"])
            rounds.closed.append(Latency(**said["latency_ms"]))
            said = await self.load.ask("open", per_second=effort.per_second, **what)
            rounds.scheduled.append(Latency(**said["latency_ms"]))
            rounds.authorize.append(Latency(**said["authorize_ms"]))
            said = await self.load.ask("open", per_second=effort.per_second, among=min(KNOWN, self.offices), **what)
            rounds.known.append(Latency(**said["authorize_ms"]))
        rate, _ = await asyncio.to_thread(self.raw.measure)
        self.raw_rates.append(rate)
        await asyncio.to_thread(self.raw.drop_outboxes)

    async def end_and_audit(self, measure: str, books: Books) -> None:
        """End the live calls and audit all offices.

        Raises:
            BenchError: The books are wrong.
        """
        said = await self.load.ask("books", target="gateway")
        await asyncio.to_thread(self.population.end_and_audit, measure, said["debited"], books)
        await asyncio.to_thread(self.raw.audit, books, measure)

    def to_json(self) -> dict[str, Any]:
        """The point."""
        gateway, empty = self.rounds["gateway"], self.rounds["empty"]
        return {
            "offices": self.offices,
            "live_calls": self.live_calls,
            "gateway": gateway.to_json(),
            "empty_stream": empty.to_json(),
            "raw_per_second": Figure.of(self.raw_rates).to_json(),
            "ratio_to_raw": ratios(gateway.rates, self.raw_rates),
            "ratio_to_empty_stream": ratios(gateway.rates, empty.rates),
            "p50_ratio": ratios([each.p50 for each in gateway.scheduled], [each.p50 for each in empty.scheduled]),
            "bytes_per_office": self.population.bytes_per_office,
            "bytes_per_live_call": self.population.bytes_per_live_call,
            "store_bytes": int(self.store.info("memory")["used_memory"]),
            "front_bytes": resident_bytes(self.front_pid),
        }


def ratios(ours: list[float], others: list[float]) -> dict[str, float]:
    """Round by round, as both were measured one after the other."""
    return Figure.of(one / other for one, other in zip(ours, others, strict=True)).to_json()


@asynccontextmanager
async def running_crowd(offices: int, live_calls: int, effort: SweepEffort) -> AsyncIterator[Crowd]:
    """A store of its own with so many offices and live calls, a front on it, an empty handler and a generator."""
    async with running_store() as store:
        population = await asyncio.to_thread(Population, store, offices, live_calls)
        try:
            await asyncio.to_thread(population.make)
            async with (
                running_child("empty", "loadtest.yardsticks") as empty,
                running_front(store, [PROBE]) as front,
                running_load({"gateway": front.address, "empty": Address.parse(empty.said["listen"])}, offices) as load,
            ):
                raw = await asyncio.to_thread(RawRate, store, effort.raw_offices)
                try:
                    own = {"generator": load.pid}
                    pids = {
                        "gateway": {"front": front.process.pid, "store": store.pid, **own},
                        "empty": {"handler": empty.pid, **own},
                    }
                    yield Crowd(offices, live_calls, front.process.pid, store, load, raw, population, pids)
                finally:
                    raw.close()
        finally:
            population.close()


async def measure_crowd(
    measure: str, offices: int, live_calls: int, effort: SweepEffort, books: Books
) -> dict[str, Any]:
    """One point by itself.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    async with running_crowd(offices, live_calls, effort) as crowd:
        await crowd.warm_up(effort)
        for number in range(effort.rounds):
            await crowd.measure(number, effort)
        point = crowd.to_json()
        await crowd.end_and_audit(measure, books)
    return point
