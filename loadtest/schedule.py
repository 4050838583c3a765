"""Arrivals by a schedule, whatever is answered: what makes a loop open.

A closed loop asks again when it has its answer, so while the gateway stands still it asks nothing, and the stall counts
once. By a schedule everything that should have been asked meanwhile counts, from the time at which it should have been.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from loadtest.timer import Alarm, open_alarm

_HEAD_START_SECONDS: Final = 0.01


def constant_arrivals(per_second: float, seconds: float) -> Iterator[float]:
    """Arrivals at equal distances, in seconds from the beginning."""
    for number in range(int(per_second * seconds)):
        yield number / per_second


def poisson_arrivals(per_second: float, seconds: float, seed: int = 1) -> Iterator[float]:
    """Arrivals of many who know nothing of each other: at random, at so many a second on the average."""
    # Seeded, so that each run has the same bursts.
    chance = random.Random(seed)
    at = chance.expovariate(per_second)
    while at < seconds:
        yield at
        at += chance.expovariate(per_second)


class OpenLoop:
    """Sends what the schedule says when its time has come.

    Args:
        arrivals: In seconds from the beginning, ascending.
        send: Takes the time, by `perf_counter`, at which the schedule has something sent. False: it cannot be sent now;
            it stays due, and is sent after `resume`, still with its own time.
        coalescing_seconds: How much later than its time the first of some is sent, so that they leave together.
    """

    def __init__(
        self, arrivals: Iterator[float], send: Callable[[float], bool], *, coalescing_seconds: float = 0.0
    ) -> None:
        self._arrivals = arrivals
        self._send = send
        self._coalescing_seconds = coalescing_seconds
        self._next = next(arrivals, None)
        self._begin = 0.0
        self._alarm: Alarm | None = None
        self._done = asyncio.Event()
        self.failure: Exception | None = None

    @property
    def begin(self) -> float:
        """When the schedule began, by `perf_counter`."""
        return self._begin

    @property
    def is_over(self) -> bool:
        """Whether everything was sent."""
        return self._next is None

    async def run(self) -> None:
        """Return when everything was sent.

        Raises:
            Exception: What `send` raised.
        """
        self._begin = perf_counter() + _HEAD_START_SECONDS
        with open_alarm(self.resume) as self._alarm:
            self.resume()
            await self._done.wait()
        self._alarm = None
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """Send nothing more; `run` returns."""
        self._done.set()

    def resume(self) -> None:
        """Send what is due."""
        if self._alarm is None or self._done.is_set():
            return
        now = perf_counter()
        try:
            while self._next is not None and (intended := self._begin + self._next) <= now:
                if not self._send(intended):
                    return
                self._next = next(self._arrivals, None)
        except Exception as error:  # in a callback nobody would hear of it
            self.failure = error
            self._done.set()
            return
        if self._next is None:
            self._done.set()
        else:
            self._alarm.set(self._begin + self._next + self._coalescing_seconds)
