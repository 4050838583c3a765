"""When each switch last said which calls it has: what decides that a call is missing.

A call lapses when two lists in a row lack it. Every gateway may get a switch's lists, and any gateway may look at its
calls, so the times of the last two complete lists of each switch are kept in the store.
"""

import asyncio
from typing import Final

import structlog

from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.keys import SWITCH_LISTS_KEY

log = structlog.get_logger(__name__)

FOLLOW_EVERY_SECONDS: Final = 2.0


class SwitchLists:
    """This process's copy of the times, in Unix milliseconds of the store's clock."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._times: dict[str, tuple[int, int]] = {}
        self._noted: set[str] = set()

    async def record(self, switch_id: str, began_ms: int) -> None:
        """Note that a switch said all its calls in a list that began at this time.

        Raises:
            StoreUnavailable: It is not noted; the next list will be.
        """
        _, last_ms = self._times.get(switch_id, (0, 0))
        self._times[switch_id] = last_ms, began_ms
        self._noted.add(switch_id)
        await self._connection.ask("HSET", SWITCH_LISTS_KEY, switch_id, f"{last_ms} {began_ms}")

    def missing_since(self, switch_id: str) -> int:
        """When the last list but one began: a call not heard of since is missing in two. 0: there were not two."""
        return self._times.get(switch_id, (0, 0))[0]

    async def follow(self) -> None:
        """Take over for ever what other gateways noted."""
        while True:
            await self._connection.wait_connected()
            try:
                await self.refresh()
            except (StoreUnavailable, StoreFault) as error:
                log.warning("the switches' lists were not read", error=str(error))
            await asyncio.sleep(FOLLOW_EVERY_SECONDS)

    async def refresh(self) -> None:
        """Read all times once.

        Raises:
            StoreUnavailable: The store did not answer; what was known stays.
        """
        self._noted.clear()
        flat = await self._connection.ask("HGETALL", SWITCH_LISTS_KEY)
        for name, times in zip(flat[::2], flat[1::2], strict=True):
            switch_id = name.decode()
            # What was noted here meanwhile is newer than this reply, which would have the next note lose it.
            if switch_id not in self._noted:
                before_ms, last_ms = map(int, times.split())
                self._times[switch_id] = before_ms, last_ms
