"""The sampler: live calls and reserved money over all offices, for the metrics."""

import asyncio
from typing import Final

from gateway import metrics
from gateway.store.balances import BalanceStore
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, due_key

EVERY_SECONDS: Final = 0.5
SHARDS_A_TURN: Final = 8
_MEMBERS_AT_ONCE: Final = 1_000
_READS_AT_ONCE: Final = 200


class Sampler:
    """Goes round the shards, some a turn; the reserved sum is shown when a round is complete."""

    def __init__(self, connection: StoreConnection, store: BalanceStore) -> None:
        self._connection = connection
        self._store = store
        self._next_shard = 0
        self._reserved = 0

    async def turn(self) -> bool:
        """Sample the next shards.

        Raises:
            StoreUnavailable: The store did not answer; the round goes on from there.
        """
        cards = await self._connection.ask_all(("ZCARD", due_key(shard)) for shard in range(SHARDS))
        metrics.LIVE_CALLS.set(sum(cards))
        shards = range(self._next_shard, self._next_shard + SHARDS_A_TURN)
        for shard in shards:
            if cards[shard]:
                self._reserved += await self._reserved_in(shard)
        self._next_shard = shards.stop
        if self._next_shard >= SHARDS:
            metrics.RESERVED.set(self._reserved)
            self._next_shard, self._reserved = 0, 0
        return False

    async def _reserved_in(self, shard: int) -> int:
        office_ids: set[str] = set()
        start = 0
        while members := await self._connection.ask("ZRANGE", due_key(shard), start, start + _MEMBERS_AT_ONCE - 1):
            office_ids.update(member.partition(b":")[0].decode() for member in members)
            start += len(members)
        reserved, remaining = 0, sorted(office_ids)
        for begin in range(0, len(remaining), _READS_AT_ONCE):
            offices = await asyncio.gather(
                *(self._store.read_office(office_id) for office_id in remaining[begin : begin + _READS_AT_ONCE])
            )
            reserved += sum(office.reserved_micros for office in offices if office is not None)
        return reserved
