"""The schedule of an open loop: its arrivals, its alarm, and what becomes of what cannot be sent in time."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from statistics import fmean
from time import perf_counter

import pytest

from loadtest.schedule import OpenLoop, constant_arrivals, poisson_arrivals
from loadtest.timer import open_alarm


def test_constant_arrivals_have_equal_distances() -> None:
    assert list(constant_arrivals(4, 1.5)) == [0, 0.25, 0.5, 0.75, 1, 1.25]


def test_poisson_arrivals_come_at_random_at_the_rate_that_was_asked_for() -> None:
    times = list(poisson_arrivals(1_000, 10))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap > 0 for gap in gaps)
    assert times[-1] < 10
    assert fmean(gaps) == pytest.approx(0.001, rel=0.05)
    # Of an exponential distribution, 63 % are below the mean.
    assert sum(gap < 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.02)
    assert times == list(poisson_arrivals(1_000, 10)), "each run has the same arrivals"


def test_an_alarm_goes_off_once_each_time_it_is_set() -> None:
    async def main() -> None:
        times: list[float] = []
        with open_alarm(lambda: times.append(perf_counter())) as alarm:
            alarm.set(first := perf_counter() + 0.005)
            await asyncio.sleep(0.03)
            alarm.set(perf_counter() - 1)
            await asyncio.sleep(0.03)
            alarm.set(perf_counter() + 0.02)
        assert len(times) == 2, "once when its time came, once for a time that was over, and never after its block"
        assert times[0] >= first
        await asyncio.sleep(0.03)
        assert len(times) == 2

    asyncio.run(main())


def run_loop(times: list[float], send: Callable[[OpenLoop, float], bool]) -> OpenLoop:
    async def main() -> OpenLoop:
        loop = OpenLoop(iter(times), lambda intended: send(loop, intended))
        async with asyncio.timeout(5):
            await loop.run()
        return loop

    return asyncio.run(main())


def test_everything_is_sent_once_and_never_early() -> None:
    sent: list[tuple[float, float]] = []

    def send(_: OpenLoop, intended: float) -> bool:
        sent.append((intended, perf_counter()))
        return True

    times = [0.0, 0.001, 0.001, 0.02]
    loop = run_loop(times, send)
    assert [intended for intended, _ in sent] == pytest.approx([loop.begin + at for at in times])
    assert all(at >= intended for intended, at in sent)
    assert loop.is_over


def test_what_cannot_be_sent_keeps_its_time() -> None:
    sent: list[float] = []
    refused: list[float] = []

    def send(loop: OpenLoop, intended: float) -> bool:
        if not refused:
            refused.append(intended)
            asyncio.get_running_loop().call_later(0.02, loop.resume)
            return False
        sent.append(intended)
        return True

    loop = run_loop([0.0, 0.001], send)
    assert sent == pytest.approx([loop.begin, loop.begin + 0.001])
    assert sent[0] == refused[0]


def test_an_error_of_the_sender_ends_the_loop() -> None:
    def send(_: OpenLoop, __: float) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_loop([0.0, 1.0], send)


def test_no_arrivals_are_over_at_once() -> None:
    assert run_loop([], lambda _, __: False).is_over
