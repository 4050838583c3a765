"""When switches listed their calls, noted and read by several gateways on a real store."""

import asyncio

from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from gateway.store.switch_lists import SwitchLists
from tests.support.servers import StoreServer


async def connected(server: StoreServer) -> StoreConnection:
    connection = StoreConnection(StoreLocation.parse(server.url), load_library())
    await connection.start()
    await connection.wait_connected()
    await connection.ask("FLUSHALL")
    return connection


async def test_two_lists_and_not_one(valkey: StoreServer) -> None:
    connection = await connected(valkey)
    try:
        here, there = SwitchLists(connection), SwitchLists(connection)
        await here.record("sw1", 1_000)
        await there.refresh()
        assert here.missing_since("sw1") == there.missing_since("sw1") == 0
        await there.record("sw1", 2_000)
        await here.refresh()
        assert here.missing_since("sw1") == there.missing_since("sw1") == 1_000
        assert here.missing_since("sw2") == 0
    finally:
        await connection.close()


async def test_a_list_noted_while_others_are_read_is_not_lost(valkey: StoreServer) -> None:
    connection = await connected(valkey)
    try:
        lists = SwitchLists(connection)
        await lists.record("sw1", 1_000)
        reading = asyncio.create_task(lists.refresh())
        # The question is on its way; the store will have answered it before it is told of the next list.
        await asyncio.sleep(0)
        await lists.record("sw1", 2_000)
        await reading
        assert lists.missing_since("sw1") == 1_000
        await lists.record("sw1", 3_000)
        assert await connection.ask("HGET", "tg:switches", "sw1") == b"2000 3000"
    finally:
        await connection.close()
