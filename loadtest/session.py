"""Measure 5: the Session, beside an empty stream and beside the raw rate of the scripts that it runs."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.address import Address
from gateway.store.codes import Code
from gateway.store.keys import SHARDS, outbox_key
from loadtest.books import Books
from loadtest.control import Control
from loadtest.effort import Effort
from loadtest.figures import Figure, Latency, latency_json, rounded
from loadtest.machine import process_cpu_seconds
from loadtest.pipeline import Pipeline
from loadtest.processes import BenchStore, running_child
from loadtest.scene import DEFAULT_RATES, FUNDS_MICROS, running_front
from loadtest.session_load import office_name, running_load
from loadtest.store_cases import (
    OPENING_MICROS,
    RATE,
    Step,
    SteppedClock,
    Workload,
    call_id_of,
    call_request,
    read_offices,
    recorded,
    recording_store,
    run_step,
)

_TALK_SECONDS: Final = 55


class RawRate:
    """The rate at which the store authorizes and ends calls with fresh ids, one pipelined connection.

    Args:
        store: Beside the front.
        offices: Of its own, one call each in a round.
    """

    def __init__(self, store: BenchStore, offices: int) -> None:
        self._pipeline = Pipeline(store.socket_path, store.pid)
        self._workload = Workload(offices, self._pipeline.now_ms())
        self._rounds = 0
        for step in self._workload.opening():
            run_step(self._pipeline, step)

    def measure(self) -> tuple[float, float]:
        """Authorize a call of each office and end them; returns operations a second, and CPU micros of the store each.

        Raises:
            BenchError: An operation did not answer what it should.
        """
        sending, number = recording_store(SteppedClock(self._pipeline.now_ms())), self._rounds
        self._rounds += 1
        calls = [(office, call_id_of("raw", number, index)) for index, office in enumerate(self._workload.funded)]
        # As the Session's calls: the gateway ticks them.
        begin = [
            recorded(sending.authorize_call(office, call_request(name, ticked_by_gateway=True)))
            for office, name in calls
        ]
        end = [recorded(sending.end_call(office, name, _TALK_SECONDS, cause="16")) for office, name in calls]
        run = run_step(self._pipeline, Step("authorize_call", "", begin, (Code.FUNDED,)))
        run += run_step(self._pipeline, Step("end_call", "", end, (Code.OK,)))
        return run.rate, run.cpu_micros

    def drop_outboxes(self) -> None:
        """Nobody journals here; a full outbox is not what is measured."""
        for shard in range(SHARDS):
            self._pipeline.ask("DEL", outbox_key(shard))

    def audit(self, books: Books, measure: str = "session") -> None:
        """Hold the offices against what was done to them.

        Raises:
            BenchError: The books are wrong.
        """
        balance = OPENING_MICROS - self._rounds * RATE.price_micros(_TALK_SECONDS)
        funded = self._workload.funded
        books.audit(measure, {office.office_id: balance for office in funded}, read_offices(self._pipeline, funded))

    def close(self) -> None:
        """Close the connection."""
        self._pipeline.close()


@dataclass
class _Rounds:
    """What was measured of one target at one load, round by round."""

    rates: list[float] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    lags: list[Latency] = field(default_factory=list)
    cpu_micros: dict[str, list[float]] = field(default_factory=dict)
    growths: list[float] = field(default_factory=list)
    retries: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "rate_per_second": Figure.of(self.rates).to_json(),
            "latency": latency_json(self.latencies),
            "lag": latency_json(self.lags) if self.lags else None,
            "retries": self.retries,
            "backlog_growth_per_second": Figure.of(self.growths).to_json() if self.growths else None,
            "cpu_micros_per_operation": {name: Figure.of(values).to_json() for name, values in self.cpu_micros.items()},
        }


class _Bench:
    """The gateway and the empty stream under the load of one generator.

    Args:
        load: The generator.
        pids: By target, the processes whose CPU time is measured, by name.
    """

    def __init__(self, load: Control, pids: dict[str, dict[str, int]]) -> None:
        self.load = load
        self._pids = pids
        self.rounds: dict[tuple[str, str], _Rounds] = {}

    async def measure(self, level: str, target: str, do: str, **what: Any) -> None:
        pids = self._pids[target]
        before = {name: process_cpu_seconds(pid) for name, pid in pids.items()}
        said = await self.load.ask(do, target=target, **what)
        rounds = self.rounds.setdefault((level, target), _Rounds())
        rounds.rates.append(said["operations"] / said["seconds"])
        rounds.latencies.append(Latency(**said["latency_ms"]))
        if said["lag_ms"]:
            rounds.lags.append(Latency(**said["lag_ms"]))
        if said["backlog_growth"] is not None:
            rounds.growths.append(said["backlog_growth"])
        rounds.retries += said["retries"]
        for name, pid in pids.items():
            used = 1e6 * (process_cpu_seconds(pid) - before[name]) / said["operations"]
            rounds.cpu_micros.setdefault(name, []).append(used)

    async def both(self, level: str, turn: int, do: str, **what: Any) -> None:
        """Each goes first in turn, so that neither always has the machine as the other left it."""
        for target in ("gateway", "empty") if turn % 2 else ("empty", "gateway"):
            await self.measure(level, target, do, **what)


async def measure_session(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Closed loops at each level of concurrency, then an open loop; gateway, empty stream and raw scripts in turn.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    offices = [office_name(index) for index in range(effort.unary_offices)]
    async with (
        running_child("empty", "loadtest.yardsticks") as empty,
        running_front(store, offices) as front,
        running_load({"gateway": front.address, "empty": Address.parse(empty.said["listen"])}, len(offices)) as load,
    ):
        raw = await asyncio.to_thread(RawRate, store, effort.store_offices // 2)
        try:
            own = {"generator": load.pid}
            bench = _Bench(
                load,
                {
                    "gateway": {"front": front.process.pid, "store": store.pid, **own},
                    "empty": {"handler": empty.pid, **own},
                },
            )
            for target in ("gateway", "empty"):
                await load.ask("closed", target=target, in_flight=64, seconds=effort.session_seconds)
            raw_rates: dict[int, list[float]] = {in_flight: [] for in_flight in effort.session_in_flight}
            raw_cpu: list[float] = []
            for number in range(effort.session_rounds):
                for in_flight in effort.session_in_flight:
                    await bench.both(
                        str(in_flight), number, "closed", in_flight=in_flight, seconds=effort.session_seconds
                    )
                    rate, cpu_micros = await asyncio.to_thread(raw.measure)
                    raw_rates[in_flight].append(rate)
                    raw_cpu.append(cpu_micros)
                    await asyncio.to_thread(raw.drop_outboxes)
            for name, schedule in _schedules(effort).items():
                for number in range(effort.open_rounds):
                    await bench.both(name, number, "open", seconds=effort.open_seconds, **schedule)
            said = await load.ask("books", target="gateway")
            expected = {office_id: FUNDS_MICROS - said["debited"].get(office_id, 0) for office_id in offices}
            await books.audit_store("session", expected, front.store)
            await asyncio.to_thread(raw.audit, books)
        finally:
            raw.close()
    raw_cpu_micros = Figure.of(raw_cpu)
    return {
        "rounds": effort.session_rounds,
        "seconds_a_round": effort.session_seconds,
        "offices": len(offices),
        "deck": DEFAULT_RATES,
        "retries": said["retries"],
        "raw_store_cpu_micros": raw_cpu_micros.to_json(),
        "levels": [
            _level(in_flight, bench, raw_rates[in_flight], raw_cpu_micros) for in_flight in effort.session_in_flight
        ],
        **{name: _open_loop(bench, name, schedule, effort) for name, schedule in _schedules(effort).items()},
    }


def _schedules(effort: Effort) -> dict[str, dict[str, float]]:
    """The open loops, by name: what is due is sent at once, or gathers as it does in gateway.client."""
    return {
        "open_loop": {"per_second": effort.open_per_second, "coalescing_seconds": 0.0},
        "open_loop_gathered": {
            "per_second": effort.open_per_second,
            "coalescing_seconds": effort.coalescing_seconds,
        },
        "open_loop_fast": {
            "per_second": effort.open_fast_per_second,
            "coalescing_seconds": effort.coalescing_seconds,
        },
    }


def _level(in_flight: int, bench: _Bench, raw_rates: list[float], raw_cpu_micros: Figure) -> dict[str, Any]:
    gateway, empty = (bench.rounds[str(in_flight), target] for target in ("gateway", "empty"))
    busiest = max(Figure.of(gateway.cpu_micros[name]).median for name in ("front", "store"))
    return {
        "in_flight": in_flight,
        "gateway": gateway.to_json(),
        "empty_stream": empty.to_json(),
        "raw_per_second": Figure.of(raw_rates).to_json(),
        "ratio_to_empty_stream": _ratios(gateway.rates, empty.rates),
        "ratio_to_raw": _ratios(gateway.rates, raw_rates),
        # What the ratio would be if front, store and generator had a core each.
        "cpu_ratio_to_raw": rounded(raw_cpu_micros.median / busiest) if busiest else None,
    }


def _open_loop(bench: _Bench, name: str, schedule: dict[str, float], effort: Effort) -> dict[str, Any] | None:
    """None: the effort has no rounds of it."""
    if not effort.open_rounds:
        return None
    gateway, empty = (bench.rounds[name, target] for target in ("gateway", "empty"))
    return {
        **schedule,
        "rounds": effort.open_rounds,
        "seconds_a_round": effort.open_seconds,
        "gateway": gateway.to_json(),
        "empty_stream": empty.to_json(),
        "p50_ratio": _ratios([round_.p50 for round_ in gateway.latencies], [round_.p50 for round_ in empty.latencies]),
        "p99_ratio": _ratios([round_.p99 for round_ in gateway.latencies], [round_.p99 for round_ in empty.latencies]),
    }


def _ratios(ours: list[float], yardstick: list[float]) -> dict[str, float]:
    """Round by round, as both were measured one after the other."""
    return Figure.of(one / other for one, other in zip(ours, yardstick, strict=True)).to_json()
