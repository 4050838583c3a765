"""Authorizations of a Session beside the ticks of a hundred thousand live calls, in real time.

The calls are answered at times from which follows that their ticks come due in windows of some seconds, with windows
without any tick between: what is compared is taken a few seconds apart, with the same calls in the store.
"""

import asyncio
import random
from typing import Any, Final

from gateway.domain.rate import Rate, Slot
from gateway.store.codes import Code
from gateway.store.keys import SHARDS, due_key, outbox_key
from gateway.store.offices import CachedOffice
from gateway.store.scripts import load_library
from loadtest.books import Books
from loadtest.figures import Figure, Latency, latency_json
from loadtest.pipeline import Command, Pipeline
from loadtest.processes import BenchError, BenchStore, running_store
from loadtest.scene import FUNDS_MICROS, running_front
from loadtest.session_load import office_name, running_load
from loadtest.store_cases import (
    MINUTE_MICROS,
    OPENING_MICROS,
    Step,
    SteppedClock,
    Workload,
    call_id_of,
    call_request,
    check_replies,
    read_offices,
    recorded,
    recording_store,
    run_step,
)
from loadtest.sweeps.crowd import ratios
from loadtest.sweeps.effort import SweepEffort

TICK_SECONDS: Final = 120
RATE: Final = Rate(0, (Slot(0, MINUTE_MICROS, 60, 60),), tick_seconds=TICK_SECONDS)
EARLY_SECONDS: Final = 10
"""A tick is taken so long before the granted time is over."""

HEAD_START_SECONDS: Final = 8.0
MADE_PER_SECOND: Final = 2_000
"""The calls are made and the front starts before the first tick is due: so much time, and so many calls a second."""

SHARE_OF_WINDOW: Final = 0.8
"""Of each window operations are sent; the rest is for its ticks and answers to come to their end."""

LATE_MS: Final = 1_000
OFFICES: Final = 1_000
CALLS_AN_OFFICE: Final = 50


class _Calls:
    """Live calls, those of the windows first.

    Args:
        store: A fresh one.
        effort: How many, and when they come due.
    """

    def __init__(self, store: BenchStore, effort: SweepEffort) -> None:
        self._pipeline = Pipeline(store.socket_path, store.pid)
        self._pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        self._effort = effort
        # The clock of the store must not have been later than the first answer.
        self._clock = SteppedClock(self._pipeline.now_ms() - 1000 * TICK_SECONDS)
        self._workload = Workload(-(-effort.tick_calls // CALLS_AN_OFFICE), self._clock.ms)
        self._sending = recording_store(self._clock)
        self.first_due = 0.0

    def make(self) -> None:
        """Make them, in the order in which they come due.

        Raises:
            BenchError: An operation did not answer what it should.
        """
        effort, window = self._effort, self._effort.tick_window_seconds
        for step in self._workload.opening():
            run_step(self._pipeline, step)
        chance = random.Random(7)
        in_windows = round(effort.ticks_per_second * window * SHARE_OF_WINDOW)
        offsets = sorted(
            (2 * number + 1) * window + chance.uniform(0, window * SHARE_OF_WINDOW)
            for number in range(effort.tick_windows)
            for _ in range(in_windows)
        )
        last = 2 * effort.tick_windows * window
        offsets += sorted(last + chance.uniform(5.0, 15.0) for _ in range(effort.tick_calls - len(offsets)))
        made_by = self._pipeline.now_ms() / 1000 + HEAD_START_SECONDS + effort.tick_calls / MADE_PER_SECOND
        self.first_due = made_by
        # Each call is answered before the next one begins: a shard's clock never goes back.
        commands: list[Command] = []
        for number, offset in enumerate(offsets[: effort.tick_calls]):
            office, name = self._named(number)
            answered = made_by + offset - (TICK_SECONDS - EARLY_SECONDS)
            self._clock.ms = int(1000 * answered)
            request = call_request(name, ticked_by_gateway=True, rate=RATE, switch_id="")
            commands.append(recorded(self._sending.authorize_call(office, request)))
            commands.append(recorded(self._sending.answer_call(office, name)))
        run = self._pipeline.run(commands)
        for first, operation, code in ((0, "authorize_call", Code.FUNDED), (1, "answer_call", Code.OK)):
            check_replies(Step(operation, "", commands[first::2], (code,)), run._replace(replies=run.replies[first::2]))

    def overdue(self) -> int:
        """How many calls should have been ticked a second ago and were not."""
        before = self._pipeline.now_ms() - LATE_MS
        counts = self._pipeline.run([("ZCOUNT", due_key(shard), "-inf", before) for shard in range(SHARDS)])
        return sum(counts.replies)

    def due_between(self, begin: float, end: float) -> int:
        """How many calls come due in a stretch of time, by the store's clock in seconds."""
        counts = self._pipeline.run(
            [("ZCOUNT", due_key(shard), int(1000 * begin), int(1000 * end)) for shard in range(SHARDS)]
        )
        return sum(counts.replies)

    def end_and_audit(self, books: Books) -> None:
        """End the calls as not answered, which gives back what ticks have debited.

        Raises:
            BenchError: The books are wrong.
        """
        self._clock.ms = self._pipeline.now_ms()
        ends = [
            recorded(self._sending.end_call(office, name, 0))
            for office, name in map(self._named, range(self._effort.tick_calls))
        ]
        run_step(self._pipeline, Step("end_call", "", ends, (Code.OK,)))
        funded = self._workload.funded
        balances = {office.office_id: OPENING_MICROS for office in funded}
        books.audit("beside_ticks", balances, read_offices(self._pipeline, funded))
        for shard in range(SHARDS):
            self._pipeline.ask("DEL", outbox_key(shard))

    def close(self) -> None:
        """Close the connection."""
        self._pipeline.close()

    def now(self) -> float:
        """The store's time in seconds."""
        return self._pipeline.now_ms() / 1000

    def _named(self, number: int) -> tuple[CachedOffice, str]:
        funded = self._workload.funded
        return funded[number % len(funded)], call_id_of("ticked", 0, number)


async def measure_beside_ticks(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """A Session by a schedule, in turns beside ticks and without any.

    Raises:
        BenchError: The calls were not ticked, an operation was answered wrongly, or the books are wrong.
    """
    offices = [office_name(index) for index in range(OFFICES)]
    window, rounds = effort.tick_window_seconds, effort.tick_windows
    without: list[Latency] = []
    beside: list[Latency] = []
    ticked: list[float] = []
    in_time: list[bool] = []
    late = 0
    async with running_store() as store:
        calls = await asyncio.to_thread(_Calls, store, effort)
        try:
            await asyncio.to_thread(calls.make)
            async with (
                running_front(store, offices) as front,
                running_load({"gateway": front.address}, len(offices)) as load,
            ):
                await load.ask("open", target="gateway", per_second=effort.beside_per_second, seconds=1.0)
                begin = calls.first_due
                if calls.now() > begin:
                    raise BenchError("calls and front were not there before the first tick was due")
                windows = [begin + number * window for number in range(2 * rounds)]
                # Before the first one: a call that was ticked comes due at another time.
                dues = [calls.due_between(starts, starts + window) for starts in windows]
                for number, (starts, due) in enumerate(zip(windows, dues, strict=True)):
                    await asyncio.sleep(max(0.0, starts - calls.now()))
                    said = await load.ask(
                        "open",
                        target="gateway",
                        per_second=effort.beside_per_second,
                        seconds=window * SHARE_OF_WINDOW,
                    )
                    in_time.append(calls.now() < starts + window)
                    (beside if number % 2 else without).append(Latency(**said["authorize_ms"]))
                    if number % 2:
                        ticked.append(due / (window * SHARE_OF_WINDOW))
                        await asyncio.sleep(max(0.0, starts + window - calls.now()))
                        late = max(late, calls.overdue())
                said = await load.ask("books", target="gateway")
                expected = {office_id: FUNDS_MICROS - said["debited"].get(office_id, 0) for office_id in offices}
                await books.audit_store("beside_ticks", expected, front.store)
            await asyncio.to_thread(calls.end_and_audit, books)
        finally:
            calls.close()
    if not all(ticked):
        raise BenchError("no call came due in a window of ticks")
    if late > effort.tick_calls // 100:
        raise BenchError(f"{late} calls were not ticked a second after they were due")
    # Where answers still came in the next window, that window is no window of its own any more.
    kept = [pair for pair in range(rounds) if all(in_time[2 * pair : 2 * pair + 2])]
    if 2 * len(kept) < rounds:
        raise BenchError(f"only {len(kept)} of {rounds} windows were answered within {window:g} s")
    beside, without = ([each[pair] for pair in kept] for each in (beside, without))
    return {
        "live_calls": effort.tick_calls,
        "rounds": len(kept),
        "rounds_left_out": rounds - len(kept),
        "seconds_a_round": window,
        "per_second": effort.beside_per_second,
        "ticks_per_second": Figure.of(ticked).to_json(),
        "overdue_at_most": late,
        "beside": latency_json(beside),
        "without": latency_json(without),
        **{
            f"{name}_ratio": ratios([getattr(each, name) for each in beside], [getattr(each, name) for each in without])
            for name in ("p50", "p99")
        },
    }
