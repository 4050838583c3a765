"""The connection to a server of the store: when what is sent leaves."""

import pytest

from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from tests.support.servers import StoreServer, wait_until


@pytest.mark.parametrize(("commands", "leaves_early"), [(31, False), (32, True)])
async def test_a_large_batch_reaches_the_store_while_it_grows(
    valkey: StoreServer, commands: int, leaves_early: bool
) -> None:
    connection = StoreConnection(StoreLocation.parse(valkey.url), load_library())
    await connection.start()
    try:
        await connection.wait_connected()
        await connection.ask("FLUSHALL")
        with valkey.client() as beside, connection.batch():
            replies = [connection.send("INCR", "tg:sent") for _ in range(commands)]
            assert wait_until(lambda: beside.get("tg:sent") is not None, 2.0 if leaves_early else 0.2) is leaves_early
        assert [await reply for reply in replies] == list(range(1, commands + 1))
    finally:
        await connection.close()
