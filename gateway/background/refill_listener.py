"""The refill listener: one subscription a process to the triggers that scripts publish, the quick way."""

import asyncio
import re
from contextlib import aclosing
from typing import Final

import structlog

from gateway.background.loops import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from gateway.feeds.refills import RefillFeed
from gateway.ledger.refills import RefillTrigger
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import REFILLS_CHANNEL
from gateway.store.subscription import subscribed

log = structlog.get_logger(__name__)

_MESSAGE: Final = re.compile(
    rb"([A-Za-z0-9._-]{1,64}) ([0-9]{1,15}) ([0-9]{1,16}) ([0-9]{1,16}) (-?[0-9]{1,16}) ([0-9]{1,16})"
)


class RefillListener:
    """Announces triggers to the watchers.

    What is published while it is not connected is not heard: the outbox is the durable way.

    Args:
        connection: To the store.
        feed: Announces.
    """

    def __init__(self, connection: StoreConnection, feed: RefillFeed) -> None:
        self._connection = connection
        self._feed = feed
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the store is lost."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with aclosing(subscribed(self._connection, REFILLS_CHANNEL, self.listening.set)) as messages:
                    async for message in messages:
                        self.hear(message)
            except StoreUnavailable as error:
                if self.listening.is_set():
                    pause = FIRST_PAUSE_SECONDS
                log.warning("refill_listener_waits", error=error.detail, seconds=pause)
            finally:
                self.listening.clear()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def hear(self, message: bytes) -> None:
        """Take one published trigger."""
        match = _MESSAGE.fullmatch(message)
        if match is None:
            log.error("refill_message_not_understood", message=message[:200])
            return
        office_id = match[1].decode()
        amount, threshold, available, at_ms = (int(match[group]) for group in (3, 4, 5, 6))
        refill_id = f"{office_id}/{match[2].decode()}"
        self._feed.announce(RefillTrigger(refill_id, office_id, amount, threshold, available, at_ms))
