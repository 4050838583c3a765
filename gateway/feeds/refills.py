"""Refill triggers for those who watch: announced within a millisecond, and again durably with a cursor.

The script that raises a trigger publishes it; that is quick, and lost if nobody listens. The same trigger comes by the
outbox into SQL, where it gets its place in the order of all: that is what a watcher resumes behind. Both go through
here, and the watcher drops whichever comes second.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.ledger.refills import Refills, RefillTrigger

QUEUE_LIMIT: Final = 1_000
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class RefillEvent:
    """A trigger on its way to the watchers; `seq` is its place in SQL, or None: announced, not yet durable."""

    trigger: RefillTrigger
    seq: int | None


class Subscription:
    """What one watcher has yet to see.

    Attributes:
        begins_behind: Everything durable behind this cursor comes through the queue, and nothing up to it.
        is_overrun: It was too slow and has lost its place.
    """

    def __init__(self, begins_behind: int, limit: int) -> None:
        self.begins_behind = begins_behind
        self.is_overrun = False
        self._limit = limit
        self._queue: deque[RefillEvent] = deque()
        self._filled = asyncio.Event()

    def put(self, event: RefillEvent) -> None:
        """Add an event; a watcher that is too far behind is overrun instead, so that the queue stays bounded."""
        if len(self._queue) >= self._limit:
            self.is_overrun = True
            self._queue.clear()
        if not self.is_overrun:
            self._queue.append(event)
        self._filled.set()

    async def next(self) -> RefillEvent | None:
        """Wait for the next event; None: overrun."""
        while not self._queue and not self.is_overrun:
            self._filled.clear()
            await self._filled.wait()
        return None if self.is_overrun else self._queue.popleft()


class RefillFeed:
    """Hands triggers out to all subscriptions of this process."""

    def __init__(self, refills: Refills, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._refills = refills
        self._queue_limit = queue_limit
        self._subscriptions: set[Subscription] = set()
        self._tail: int | None = None
        self._advancing = asyncio.Lock()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Hear of everything from now on; `advance` must have run once."""
        if self._tail is None:
            raise RuntimeError("the feed has not found its place yet")
        subscription = Subscription(self._tail, self._queue_limit)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def announce(self, trigger: RefillTrigger) -> None:
        """Tell of a trigger that is not durable yet."""
        self._hand_out(RefillEvent(trigger, None))

    async def advance(self) -> None:
        """Hand out what SQL has got since the last time, whichever gateway recorded it; the first time only look.

        Raises:
            DatabaseError: The rest comes the next time.
        """
        async with self._advancing:
            if self._tail is None:
                self._tail = await self._refills.last_seq()
            while recorded := await self._refills.after(self._tail, _BATCH):
                for one in recorded:
                    self._hand_out(RefillEvent(one.trigger, one.seq))
                self._tail = recorded[-1].seq

    async def ready(self) -> None:
        """Return when `subscribe` may be called.

        Raises:
            DatabaseError: It cannot be told yet.
        """
        if self._tail is None:
            await self.advance()

    def _hand_out(self, event: RefillEvent) -> None:
        for subscription in self._subscriptions:
            subscription.put(event)
