"""Which switches have a callback, from SQL into the store: so that a front knows whose calls the gateway ticks."""

import asyncio

from gateway.ledger.switches import Switches
from gateway.store.connection import StoreConnection
from gateway.store.directory import publish_callbacks, published_callbacks


class SwitchProjection:
    """Makes the store hold what SQL has."""

    def __init__(self, switches: Switches, connection: StoreConnection) -> None:
        self._switches = switches
        self._connection = connection
        self._turn = asyncio.Lock()

    async def project(self) -> None:
        """Publish the switches where the store holds others, or none.

        Raises:
            StoreUnavailable: What was published is still so; the projector sees to it.
            DatabaseError: Nothing was published.
        """
        async with self._turn:
            # Again until they agree: another gateway may have registered one meanwhile and published it first.
            while await published_callbacks(self._connection) != await self._switches.version():
                version, switches = await self._switches.with_callback()
                await publish_callbacks(self._connection, version, [switch.switch_id for switch in switches])
