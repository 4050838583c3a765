"""Simulated time: lives that take a step, wait and go on, many of them at the same instant."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from tests.support.balances import ManualClock

INSTANT_MS: Final = 20_000
"""Instants are so far apart: what waits for less waits for the next, so that many lives step together."""

Life: TypeAlias = AsyncGenerator[int, None]
"""Something that goes on for a while: it yields the Unix milliseconds at which it wants to go on."""


class Timeline:
    """Moves the clock from instant to instant and has every life that is due take its step, all at once.

    Args:
        clock: Moved, never back.
        beside: What else goes on at each instant.
        at_rest: Awaited between two instants, when nothing goes on.
    """

    def __init__(
        self,
        clock: ManualClock,
        beside: Callable[[], Iterable[Awaitable[object]]],
        at_rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._at_rest = at_rest
        self._beside = beside
        self._waiting: list[tuple[int, int, Life]] = []
        self._order = itertools.count()
        self.instants = 0

    def begin(self, at_ms: int, life: Life) -> None:
        """Have a life begin at a time."""
        heapq.heappush(self._waiting, (-(-at_ms // INSTANT_MS) * INSTANT_MS, next(self._order), life))

    async def run(self) -> None:
        """Until all lives are over."""
        while self._waiting:
            now_ms = self._waiting[0][0]
            self._clock.set(now_ms)
            self.instants += 1
            due = []
            while self._waiting and self._waiting[0][0] <= now_ms:
                due.append(heapq.heappop(self._waiting)[2])
            async with asyncio.TaskGroup() as together:
                for life in due:
                    together.create_task(self._step(life, now_ms))
                for other in self._beside():
                    together.create_task(_waited_for(other))
            await self._at_rest()

    async def _step(self, life: Life, now_ms: int) -> None:
        try:
            until_ms = await anext(life)
        except StopAsyncIteration:
            return
        self.begin(max(until_ms, now_ms + 1), life)


async def _waited_for(other: Awaitable[object]) -> None:
    await other
