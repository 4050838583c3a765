"""The store as a primary that sentinels watch."""

import asyncio

import pytest

from gateway.store.codes import Code
from gateway.store.durability import Durability
from gateway.store.faults import StoreUnavailable
from gateway.store.subscription import subscribed
from tests.support.balances import BY_THE_SECOND, OFFICE, open_till
from tests.support.clusters import kill_server, running_sentinels

pytestmark = pytest.mark.slow


async def test_a_promoted_replica_is_found_and_knows_what_was_settled(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_sentinels("valkey", tmp_path_factory.mktemp("sentinels")) as servers:
        async with open_till(servers.url) as till:
            await till.open_office(1_000_000)
            await till.authorize("before", BY_THE_SECOND)
            durability = Durability(till.connection)
            read = durability.servers()
            assert await durability.settle(read) is None
            kill_server(servers.primary)
            waited = 0
            while True:
                try:
                    assert (await till.authorize("after", BY_THE_SECOND)).code == Code.FUNDED
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.1)
                    waited += 1
                    assert waited < 300, "no replica took over"
            assert waited
            assert (await till.end(10, "before")).code == Code.OK
            assert await till.money(OFFICE) == (980_000, 120_000, 860_000)
            with pytest.raises(StoreUnavailable):
                await durability.settle(read)
            await durability.close()
            assert [address.port for address in till.connection.servers()] == [servers.replica.port]
            listening = asyncio.Event()
            async with asyncio.timeout(10):
                messages = subscribed(till.connection, b"tg:test", listening.set)
                hearing = asyncio.ensure_future(anext(messages))
                await listening.wait()
                await till.connection.ask("PUBLISH", b"tg:test", "x")
                assert await hearing == b"x"
                await messages.aclose()
