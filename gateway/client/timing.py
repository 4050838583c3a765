"""Time and chance, as the client sees them; tests pass a clock that they move, and randomness with a seed."""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 2.0


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Do not call back."""
        ...


class Clock(Protocol):
    """Everything the client knows about time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def unix(self) -> float:
        """Seconds since 1970, for what is said to others."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after so many seconds, in the event loop."""
        ...


class SystemClock:
    """This machine's clocks, and the running event loop's timers."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def unix(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait by a clock."""
    done = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if done.done() else done.set_result(None))
    try:
        await done
    finally:
        timer.cancel()


class Backoff:
    """Pauses that double, each shortened by chance to between half and all of it.

    The chance keeps thousands of switches from knocking in step at a gateway that comes back.

    Args:
        random: Where the chance comes from.
        first_seconds: The first pause.
        longest_seconds: No pause is longer.
    """

    def __init__(
        self,
        random: Random,
        first_seconds: float = FIRST_PAUSE_SECONDS,
        longest_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._random = random
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._next_seconds = first_seconds

    def next_seconds(self) -> float:
        """The pause before the next attempt."""
        pause = self._next_seconds
        self._next_seconds = min(2 * pause, self._longest_seconds)
        return pause * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with the first pause again: an attempt succeeded."""
        self._next_seconds = self._first_seconds
