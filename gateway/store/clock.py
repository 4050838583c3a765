"""The one clock that counts: the store's, followed between measurements on this machine's monotonic clock.

Nothing else in the gateway asks what time it is; tests pass a clock that they move.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreUnavailable

log = structlog.get_logger(__name__)

MEASURE_EVERY_SECONDS: Final = 10.0
JUMP_MS: Final = 2_000
AGREEING_MEASUREMENTS: Final = 3


class Clock(Protocol):
    """Whatever can say what time it is."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...


class StoreClock:
    """Follows the store's TIME by a measured offset.

    The offset is measured on connecting and every 10 s. A measurement gives bounds, apart by the round trip; the offset
    is moved no further than into them, so a slow answer of a busy machine does not make it worse. When it jumps by more
    than 2 s (somebody set a clock) `is_sure` is False until three measurements agree: until then nobody may tick or
    cut.

    Args:
        monotonic: This machine's clock that nobody sets, in seconds.

    Attributes:
        is_sure: Whether the offset can be relied on.
        round_trip_seconds: How long the last measurement's question and answer were on their way; 0: there was none.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset_ms = time.time() * 1000 - monotonic() * 1000
        self._measured = False
        self._recent: deque[float] = deque(maxlen=AGREEING_MEASUREMENTS)
        self.is_sure = False
        self.round_trip_seconds = 0.0

    def now_ms(self) -> int:
        """The store's time in Unix milliseconds; this machine's until the first measurement."""
        return int(self._monotonic() * 1000 + self._offset_ms)

    @property
    def offset_ms(self) -> float:
        """How far the store's clock is from this machine's wall clock, in milliseconds."""
        return self._offset_ms + self._monotonic() * 1000 - time.time() * 1000

    def record(self, least_ms: float, most_ms: float) -> None:
        """Take a measurement: bounds of the store's Unix time less this machine's monotonic time, in milliseconds."""
        offset_ms = min(max(self._offset_ms, least_ms), most_ms)
        jumped = self._measured and abs(offset_ms - self._offset_ms) > JUMP_MS
        if jumped or not self._measured:
            if jumped:
                log.error("the store's clock jumped", by_ms=round(offset_ms - self._offset_ms))
            self.is_sure = not jumped
            self._recent.clear()
            # Nothing is known but these bounds: the reply was made about half way of the round trip.
            offset_ms = (least_ms + most_ms) / 2
        self._recent.append(offset_ms)
        self._measured = True
        self._offset_ms = offset_ms
        if len(self._recent) == AGREEING_MEASUREMENTS and max(self._recent) - min(self._recent) <= JUMP_MS:
            self.is_sure = True

    async def follow(self, connection: StoreConnection) -> None:
        """Measure for ever; after a jump every second, until the clock is sure again."""
        while True:
            await connection.wait_connected()
            try:
                await self.measure(connection)
            except (StoreUnavailable, StoreFault) as error:
                log.warning("the store's clock was not read", error=str(error))
            await asyncio.sleep(MEASURE_EVERY_SECONDS if self.is_sure else 1.0)

    async def measure(self, connection: StoreConnection) -> None:
        """Ask the store for its time once.

        Raises:
            StoreUnavailable: It did not answer.
        """
        before = self._monotonic()
        seconds, micros = await connection.ask("TIME")
        after = self._monotonic()
        self.round_trip_seconds = after - before
        store_ms = int(seconds) * 1000 + int(micros) / 1000
        self.record(store_ms - after * 1000, store_ms - before * 1000)
