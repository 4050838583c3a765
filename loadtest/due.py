"""Measure 6: how many calls a second the due loop ticks, beside the raw rate of tick_call on calls of the same store.

The clock is the benchmark's own and moves on by a tick at a time, so that all calls come due at once, as often as is
wanted. The loop is the front's, in this process; it looks after all shards, and takes each from its front while the
raw commands take the other half of it from its back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from time import perf_counter, process_time
from typing import Any, Final

from gateway.background.due import ENTRIES_A_TURN, DueLoop
from gateway.store.balances import BY_CLOCK, BalanceStore, Lifetimes
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, outbox_key, shard_of
from gateway.store.location import StoreLocation
from gateway.store.offices import CachedOffice, OfficeCache
from gateway.store.scripts import load_library
from gateway.store.switch_lists import SwitchLists
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import Figure
from loadtest.machine import main_thread_cpu_seconds
from loadtest.pipeline import Pipeline, Run
from loadtest.processes import BenchError, BenchStore
from loadtest.store_cases import (
    MINUTE_MICROS,
    OPENING_MICROS,
    RATE,
    ROUND_MS,
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

CALLS_AN_OFFICE: Final = 50
TICK_SECONDS: Final = 60
FIRST_DUE_SECONDS: Final = 50
"""A tick is taken 10 s before the granted time is over."""

Call = tuple[CachedOffice, str]


class _SureClock(SteppedClock):
    """The clock of the loop."""

    is_sure = True


async def measure_due(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Make the calls, let all of them come due round after round, and end them.

    Raises:
        BenchError: A call was not ticked just once a round, or the books are wrong.
    """
    pipeline = Pipeline(store.socket_path, store.pid)
    try:
        calls = await asyncio.to_thread(_Calls, pipeline, effort.due_calls)
        connection = StoreConnection(StoreLocation.parse(store.url), load_library(), timeout_seconds=5.0)
        await connection.start()
        await connection.wait_connected()
        try:
            measured = await _measure(store.pid, connection, calls, effort.due_rounds)
        finally:
            await connection.close()
        await asyncio.to_thread(calls.end_and_audit, books)
    finally:
        pipeline.close()
    return {
        "calls": len(calls.calls),
        "rounds": effort.due_rounds,
        "entries_a_turn": ENTRIES_A_TURN * SHARDS,
        **measured,
    }


class _Calls:
    """Live calls that the gateway ticks.

    Args:
        pipeline: To the store.
        count: How many.
    """

    def __init__(self, pipeline: Pipeline, count: int) -> None:
        pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        self._pipeline = pipeline
        self._workload = Workload(count // CALLS_AN_OFFICE, pipeline.now_ms())
        for step in self._workload.opening():
            run_step(pipeline, step)
        self.clock = _SureClock(pipeline.now_ms())
        self.rounds = 0
        self.sending = recording_store(self.clock)
        self.calls: list[Call] = [
            (office, call_id_of("due", number, index))
            for number in range(CALLS_AN_OFFICE)
            for index, office in enumerate(self._workload.funded)
        ]
        sending = self.sending
        authorize = [
            recorded(sending.authorize_call(office, call_request(name, ticked_by_gateway=True)))
            for office, name in self.calls
        ]
        run_step(pipeline, Step("authorize_call", "", authorize, (Code.FUNDED,)))
        answer = [recorded(sending.answer_call(office, name)) for office, name in self.calls]
        run_step(pipeline, Step("answer_call", "", answer, (Code.OK,)))
        self.clock.ms += (FIRST_DUE_SECONDS - TICK_SECONDS) * 1000

    def raw_slices(self) -> list[Sequence[Call]]:
        """Half of each shard's calls, from its last one backwards, as many at a time as the loop reads of a shard."""
        shards: dict[int, list[Call]] = defaultdict(list)
        for office, name in self.calls:
            shards[shard_of(office.office_id)].append((office, name))
        # All of a shard are due at the same time, and then a sorted set has them by name.
        halves = [
            sorted(calls, key=lambda call: f"{call[0].office_id}:{call[1]}")[len(calls) // 2 :]
            for calls in shards.values()
        ]
        cut = [
            [list(reversed(half))[at : at + ENTRIES_A_TURN] for at in range(0, len(half), ENTRIES_A_TURN)]
            for half in halves
        ]
        return [[call for part in parts for call in part] for parts in zip_longest(*cut, fillvalue=[])]

    def tick_raw(self, calls: Sequence[Call]) -> Run:
        """Tick some calls by pipelined commands."""
        commands = [recorded(self.sending.tick_call(office, name, BY_CLOCK)) for office, name in calls]
        return run_step(self._pipeline, Step("tick_call", "by the gateway", commands, (Code.OK,)))

    def check_ticked(self) -> None:
        """Each call must have been ticked once a round, by whomever.

        Raises:
            BenchError: The balances say otherwise.
        """
        funded = self._workload.funded
        balance = OPENING_MICROS - CALLS_AN_OFFICE * self.rounds * MINUTE_MICROS
        for office_id, office in read_offices(self._pipeline, funded).items():
            if office is None or office.balance_micros != balance:
                found = None if office is None else office.balance_micros
                raise BenchError(f"{office_id} has {found} after {self.rounds} ticks of its calls, not {balance}")

    def drop_outboxes(self) -> None:
        """Nobody journals here."""
        for shard in range(SHARDS):
            self._pipeline.ask("DEL", outbox_key(shard))

    def end_and_audit(self, books: Books) -> None:
        """End all calls.

        Raises:
            BenchError: The books are wrong.
        """
        seconds = self.rounds * TICK_SECONDS
        end = [recorded(self.sending.end_call(office, name, seconds)) for office, name in self.calls]
        run_step(self._pipeline, Step("end_call", "", end, (Code.OK,)))
        balance = OPENING_MICROS - CALLS_AN_OFFICE * RATE.price_micros(seconds)
        funded = self._workload.funded
        books.audit("due", {office.office_id: balance for office in funded}, read_offices(self._pipeline, funded))


async def _measure(store_pid: int, connection: StoreConnection, calls: _Calls, rounds: int) -> dict[str, Any]:
    # The switch was heard of when the calls began, and must not count as silent however often the clock moves on.
    balances = BalanceStore(connection, calls.clock, Lifetimes(fresh_ms=rounds * ROUND_MS))
    offices = OfficeCache(connection)
    loop = DueLoop(connection, balances, offices, calls.clock, SwitchLists(connection))
    slices = await asyncio.to_thread(calls.raw_slices)
    rates, raw_rates, cpu, store_cpu, raw_store_cpu = [], [], [], [], []
    for office, _ in calls.calls:
        await offices.get(office.office_id)
    for _ in range(rounds):
        calls.clock.ms += TICK_SECONDS * 1000
        calls.rounds += 1
        left, raw = list(slices), Run(0.0, 0.0, [])
        seconds = own_cpu = its_cpu = 0.0
        busy = True
        while busy:
            if left:
                raw += await asyncio.to_thread(calls.tick_raw, left.pop(0))
            before = perf_counter(), process_time(), main_thread_cpu_seconds(store_pid)
            busy = await loop.turn() > 0
            after = perf_counter(), process_time(), main_thread_cpu_seconds(store_pid)
            # The last turn finds nothing.
            if busy:
                seconds += after[0] - before[0]
                own_cpu += after[1] - before[1]
                its_cpu += after[2] - before[2]
        ticked = len(calls.calls) - len(raw.replies)
        rates.append(ticked / seconds)
        raw_rates.append(raw.rate)
        cpu.append(1e6 * own_cpu / ticked)
        store_cpu.append(1e6 * its_cpu / ticked)
        raw_store_cpu.append(raw.cpu_micros)
        await asyncio.to_thread(calls.check_ticked)
        await asyncio.to_thread(calls.drop_outboxes)
    return {
        "ticks_per_second": Figure.of(rates).to_json(),
        "raw_per_second": Figure.of(raw_rates).to_json(),
        "ratio_to_raw": Figure.of(ours / raw for ours, raw in zip(rates, raw_rates, strict=True)).to_json(),
        "loop_cpu_micros": Figure.of(cpu).to_json(),
        "store_cpu_micros": Figure.of(store_cpu).to_json(),
        "raw_store_cpu_micros": Figure.of(raw_store_cpu).to_json(),
    }
