"""Shard leases on a real store, with a clock and processes that the test moves."""

import asyncio
import random

import pytest

from gateway.background.shards import DUE_CALLS, JOURNAL, LEASE_MS, ShardLeases, Work
from gateway.store.balances import BalanceStore
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from tests.support.servers import StoreServer


class MovedClock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.mark.parametrize("work", [DUE_CALLS, JOURNAL])
def test_shards_are_shared_and_taken_over(valkey: StoreServer, work: Work) -> None:
    async def main() -> None:
        connection = StoreConnection(StoreLocation.parse(valkey.url), load_library())
        await connection.start()
        await connection.wait_connected()
        await connection.ask("FLUSHALL")
        clock = MovedClock()
        store = BalanceStore(connection, clock)
        a, b, c = (ShardLeases(work, connection, store, clock, shuffle=random.Random(seed)) for seed in range(3))

        async def turns(*gateways: ShardLeases) -> list[int]:
            for gateway in (*gateways, *gateways):
                await gateway.turn()
            return [len(gateway.held()) for gateway in gateways]

        assert await turns(a) == [64]
        # A second one gets its half as soon as the first one gave it back, a third one its third.
        assert sorted(await turns(a, b)) == [32, 32]
        shares = await turns(a, b, c)
        assert sum(shares) == SHARDS
        assert max(shares) == 22
        held = [shard for gateway in (a, b, c) for shard in gateway.held()]
        assert sorted(held) == list(range(SHARDS))

        # One dies: its leases run out (here they are dropped, since the store's own clock cannot be moved), and the
        # others share what it had.
        for shard in c.held():
            await connection.ask("DEL", work.lease(shard))
        clock.ms += LEASE_MS + 1
        assert c.held() == []
        assert sorted(await turns(a, b)) == [32, 32]

        await a.give_back()
        assert a.held() == []
        assert await turns(b) == [64]
        await connection.close()

    asyncio.run(main())
