"""How long to wait before a process that died is started again."""

import time
from collections.abc import Callable

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0
STEADY_SECONDS = 30.0


class Backoff:
    """Doubles the wait with each death, from 0.1 s to 5 s, and starts over once a process has lived for 30 s.

    The longest wait is short: while a part is down calls are refused, and a start costs little.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_seconds = FIRST_SECONDS
        self._started_at: float | None = None

    def started(self) -> None:
        """Note that the process runs from now on."""
        self._started_at = self._clock()

    def next_delay_seconds(self) -> float:
        """How long to wait before the next start, counting one more death."""
        if self._started_at is not None and self._clock() - self._started_at >= STEADY_SECONDS:
            self._next_seconds = FIRST_SECONDS
        self._started_at = None
        delay = self._next_seconds
        self._next_seconds = min(2 * delay, LONGEST_SECONDS)
        return delay
