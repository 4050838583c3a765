"""What the loops of the processes have in common: turns, pauses, and living on when something does not answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import structlog

from gateway.errors import Unavailable

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0


class Loop:
    """Takes turns for ever: at once while there is more to do, else after a pause or when it is woken.

    A turn is bounded, may be repeated, and does no harm when another process takes it too. When store or database do
    not answer, the next turn waits, longer each time; any other error ends the loop, and with it the process: it is a
    bug, and a supervisor that starts anew is a better answer than a loop that nobody sees is gone.

    Args:
        name: For the log.
        turn: Does some work; True if there is more at once.
        every_seconds: The pause after a turn that has left nothing.
        first_pause_seconds: The pause after a first turn that got no answer; it doubles each time.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], Awaitable[bool]],
        every_seconds: float,
        *,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._name = name
        self._turn = turn
        self._every_seconds = every_seconds
        self._first_pause_seconds = first_pause_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Take the next turn at once."""
        self._woken.set()

    async def run(self) -> None:
        """Take turns until cancelled."""
        pause = self._first_pause_seconds
        while True:
            self._woken.clear()
            try:
                wait = 0.0 if await self._turn() else self._every_seconds
                pause = self._first_pause_seconds
            except Unavailable as error:
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
                detail = str(getattr(error, "detail", None) or error.__cause__ or error)
                log.warning("loop_waits", loop=self._name, reason=error.reason, detail=detail, seconds=wait)
                await asyncio.sleep(wait)
                continue
            except Exception:
                log.exception("loop_died", loop=self._name)
                raise
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        if not seconds:
            await asyncio.sleep(0)  # Let the others run.
            return
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass


async def run_until(stop: asyncio.Event, loops: Iterable[Coroutine[Any, Any, None]]) -> bool:
    """Run loops, none of which ends by itself, until told to stop; returns whether it was that, and no loop died."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        return await stopped_or_died(stop, tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stopped_or_died(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> bool:
    """Wait until told to stop, or until one of the tasks has ended, which is logged; returns whether told to stop."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled():
                log.error("a loop died", error=repr(task.exception()))
        return stop.is_set()
    finally:
        stopped.cancel()
