"""Decisions a second: real counters of this process and of others, looked at by hand on a clock that is moved."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import metrics
from gateway.domain.vocabulary import Reason
from gateway.feeds.decisions import HISTORY_SAMPLES, WANTED_MS, DecisionFeed
from gateway.metric_sums import DecisionCounts, read_decision_counts
from gateway.metrics_http import MULTIPROCESS_VARIABLE
from tests.support.back import running_back
from tests.support.balances import NOON, ManualClock
from tests.support.servers import StoreServer

NOTHING = DecisionCounts({}, 0, 0)


def calls(funded: int, denied: int = 0) -> DecisionCounts:
    """Counters as they stand after so many calls."""
    return DecisionCounts({("call", Reason.FUNDED): funded, ("call", Reason.INSUFFICIENT_FUNDS): denied}, 3, 7)


class Readings:
    """What is read of the counters, one after the other; fails when it is asked for more."""

    def __init__(self, *readings: DecisionCounts | None) -> None:
        self._readings: Iterator[DecisionCounts | None] = iter(readings)
        self.taken = 0

    def read(self) -> DecisionCounts | None:
        self.taken += 1
        return next(self._readings)


async def looks(feed: DecisionFeed, clock: ManualClock, count: int, *, seconds: float = 1.0) -> None:
    """Let time pass and look, so many times."""
    for _ in range(count):
        clock.move(seconds)
        assert not await feed.turn()


async def test_what_is_decided_is_told_by_reason_and_operation(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        feed = back.back.decision_feed
        metrics.LIVE_CALLS.set(12)
        metrics.RESERVED.set(1_440_000)
        assert feed.history() == ()
        await looks(feed, back.clock, 1)
        for operation, reason, count in (
            ("call", Reason.FUNDED, 5),
            ("call", Reason.FREE, 2),
            ("message", Reason.FUNDED, 1),
            ("message", Reason.INSUFFICIENT_FUNDS, 4),
        ):
            for _ in range(count):
                metrics.count_decision(operation, reason)
        await looks(feed, back.clock, 1, seconds=2)
        await looks(feed, back.clock, 1)
        busy, quiet = feed.history()
        assert busy.at_ms == NOON + 3_000
        assert busy.by_reason == {Reason.FUNDED: 3.0, Reason.FREE: 1.0, Reason.INSUFFICIENT_FUNDS: 2.0}
        assert busy.by_operation == {"call": 3.5, "message": 2.5}
        assert (busy.per_second, busy.granted_per_second, busy.denied_per_second) == (6.0, 4.0, 2.0)
        assert (busy.live_calls, busy.reserved_micros) == (12, 1_440_000)
        assert (quiet.per_second, quiet.by_reason, quiet.by_operation) == (0, {}, {})


async def test_a_watcher_gets_the_latest_and_then_each_new_one() -> None:
    clock = ManualClock()
    feed = DecisionFeed(Readings(calls(0), calls(1), calls(3), calls(6), calls(10)).read, clock)
    first = feed.watch()
    waiting = asyncio.ensure_future(anext(first))
    await asyncio.sleep(0)
    await looks(feed, clock, 2)
    assert (await waiting).per_second == 1
    waiting = asyncio.ensure_future(anext(first))
    await asyncio.sleep(0)
    assert not waiting.done()
    second = feed.watch()
    assert (await anext(second)).per_second == 1
    await looks(feed, clock, 1)
    assert (await waiting).per_second == (await anext(second)).per_second == 2
    # Who is slow skips some.
    await looks(feed, clock, 2)
    assert (await anext(first)).per_second == 4
    await first.aclose()
    await second.aclose()


async def test_the_counters_are_read_only_while_somebody_wants_to_know() -> None:
    clock, readings = ManualClock(), Readings(*[calls(n) for n in range(5)])
    feed = DecisionFeed(readings.read, clock)
    await looks(feed, clock, 3)
    assert readings.taken == 0
    watcher = feed.watch()
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0)
    clock.move(WANTED_MS)  # However long it watches.
    await looks(feed, clock, 2)
    await waiting
    await watcher.aclose()
    await looks(feed, clock, 1, seconds=WANTED_MS / 1000 - 1)
    assert (readings.taken, len(feed.history())) == (3, 2)
    await looks(feed, clock, 1, seconds=WANTED_MS / 1000)
    assert readings.taken == 3
    # It begins anew: there is no second that what was counted meanwhile is of.
    assert feed.history() == ()
    await looks(feed, clock, 2)
    assert [each.per_second for each in feed.history()] == [1]


@pytest.mark.parametrize(
    ("readings", "rates"),
    [
        pytest.param([calls(0, 5), calls(10, 0), calls(12, 1)], [10, 3], id="one counter falls"),
        pytest.param([calls(100), calls(40), calls(45)], [0, 5], id="all fall"),
        pytest.param([calls(100), NOTHING, calls(5)], [0, 5], id="all are gone"),
        pytest.param([NOTHING, calls(4)], [4], id="the first decisions"),
        pytest.param([calls(1), None, calls(5)], [2], id="one look fails"),
        pytest.param([None, None, calls(5)], [], id="no look but one"),
    ],
)
async def test_counters_that_do_not_simply_grow(readings: list[DecisionCounts | None], rates: list[float]) -> None:
    clock = ManualClock()
    feed = DecisionFeed(Readings(*readings).read, clock)
    feed.history()
    await looks(feed, clock, len(readings))
    assert [each.per_second for each in feed.history()] == rates


async def test_a_clock_that_is_set_back_or_stands_makes_no_sample() -> None:
    clock = ManualClock()
    feed = DecisionFeed(Readings(*[calls(n) for n in range(4)]).read, clock)
    feed.history()
    for seconds in (1, 0, -5):
        await looks(feed, clock, 1, seconds=seconds)
    assert feed.history() == ()
    await looks(feed, clock, 1)
    assert [each.per_second for each in feed.history()] == [1]


async def test_five_minutes_are_kept() -> None:
    clock = ManualClock()
    feed = DecisionFeed(Readings(*[calls(n * n) for n in range(HISTORY_SAMPLES + 11)]).read, clock)
    for _ in range(HISTORY_SAMPLES + 11):
        feed.history()
        await looks(feed, clock, 1)
    kept = feed.history()
    assert len(kept) == HISTORY_SAMPLES
    assert kept[-1].at_ms - kept[0].at_ms == (HISTORY_SAMPLES - 1) * 1000
    assert kept[0].per_second == 21


COUNTING = """\
from gateway import metrics
from gateway.domain.vocabulary import Reason
for _ in range(3):
    metrics.count_decision("call", Reason.FUNDED)
metrics.count_decision("message", Reason.NO_RATE)
metrics.observe_rpc("AuthorizeCall", "OK", 0.001)
metrics.DECISIONS.labels("call", "A_REASON_OF_ANOTHER_VERSION").inc()
metrics.LIVE_CALLS.set(2)
metrics.RESERVED.set(5_000_000)
"""


def test_the_sum_over_processes_those_that_are_gone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    assert read_decision_counts() == NOTHING
    for count in (1, 2):
        subprocess.run([sys.executable, "-c", COUNTING], check=True, timeout=60)
        decisions = {("call", Reason.FUNDED): 3 * count, ("message", Reason.NO_RATE): count}
        assert read_decision_counts() == DecisionCounts(decisions, 2, 5_000_000)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\xff\xff\xff\x00\x00\x00\x00\x00\x10", b"\x20\x00\x00\x00" + b"{" * 28]
)
def test_a_file_that_is_just_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    (tmp_path / "counter_1.db").write_bytes(content)
    assert read_decision_counts() is None
