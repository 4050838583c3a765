"""Which gateway process does which shards' work: leases, shared out evenly, taken over within seconds.

Two kinds of work are shared out: fronts look after due calls, journalers take outboxes into the ledger. Each process
says in the store that it is there, counts the others, and holds its share of the 64 shards by leases that it keeps
every second. The lease of a process that died runs out, and the others' shares grow; until then the due loops of the
others look at what is overdue. Leases save double work; they guard nothing: scripts and the ledger's positions check
for themselves.
"""

import asyncio
import math
import random
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, NamedTuple

import structlog

from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.keys import GATEWAYS_KEY, JOURNALERS_KEY, SHARDS, journal_lease_key, lease_key

log = structlog.get_logger(__name__)

LEASE_MS: Final = 3_000
KEEP_EVERY_SECONDS: Final = 1.0


class Work(NamedTuple):
    """What is shared out.

    Attributes:
        members: The key of those who share it.
        lease: Shard -> the key of who does it there.
    """

    members: bytes
    lease: Callable[[int], bytes]


DUE_CALLS: Final = Work(GATEWAYS_KEY, lease_key)
JOURNAL: Final = Work(JOURNALERS_KEY, journal_lease_key)


class ShardLeases:
    """The shards whose work this process does.

    Args:
        work: Which.
        connection: To the store.
        store: To run the script.
        clock: The store's.
        shuffle: Puts the shards into the order in which they are tried, so that processes do not all try the same.
    """

    def __init__(
        self,
        work: Work,
        connection: StoreConnection,
        store: BalanceStore,
        clock: Clock,
        *,
        shuffle: random.Random | None = None,
    ) -> None:
        self._work = work
        self._connection = connection
        self._store = store
        self._clock = clock
        self._order = list(range(SHARDS))
        (shuffle or random.SystemRandom()).shuffle(self._order)
        self._held_until: dict[int, int] = {}
        self.gateway = secrets.token_hex(8)

    def held(self) -> list[int]:
        """The shards whose lease is good now."""
        now_ms = self._clock.now_ms()
        return [shard for shard, until_ms in self._held_until.items() if now_ms < until_ms]

    async def run(self) -> None:
        """Keep a share for ever; on cancellation give it back, so that others need not wait for it."""
        try:
            while True:
                await self._connection.wait_connected()
                try:
                    await self.turn()
                except (StoreUnavailable, StoreFault) as error:
                    log.warning("leases were not kept", error=str(getattr(error, "detail", error)))
                await asyncio.sleep(KEEP_EVERY_SECONDS)
        finally:
            if self._connection.is_connected:
                await self.give_back()

    async def turn(self) -> None:
        """Say that this process is there, then take, keep or give back shards up to its share.

        Raises:
            StoreUnavailable: Some leases were not kept; they run out by themselves.
        """
        now_ms = self._clock.now_ms()
        await self._connection.ask("ZADD", self._work.members, now_ms, self.gateway)
        await self._connection.ask("ZREMRANGEBYSCORE", self._work.members, "-inf", now_ms - LEASE_MS)
        share = math.ceil(SHARDS / max(1, int(await self._connection.ask("ZCARD", self._work.members))))
        kept = [shard for shard in self._order if shard in self._held_until]
        # Where one server does not answer, the leases on the others are kept and taken all the same.
        outcomes = await _all(self._take(shard, now_ms) for shard in kept[:share])
        outcomes += await _all(self._give_back(shard) for shard in kept[share:])
        if len(kept) < share:
            # All that are free are taken in one flush; what is too much is given back with the next turn.
            free = [shard for shard in self._order if shard not in self._held_until]
            outcomes += await _all(self._take(shard, now_ms) for shard in free[: share - len(kept)])
            if len(self._held_until) < share:
                outcomes += await _all(self._take(shard, now_ms) for shard in free[share - len(kept) :])
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def give_back(self) -> None:
        """Give back all shards and say that this process is gone."""
        try:
            await asyncio.gather(*[self._give_back(shard) for shard in list(self._held_until)])
            await self._connection.ask("ZREM", self._work.members, self.gateway)
        except (StoreUnavailable, StoreFault) as error:
            log.info("leases were not given back and run out", error=str(getattr(error, "detail", error)))

    async def _take(self, shard: int, now_ms: int) -> None:
        if await self._store.lease_shard(self._work.lease(shard), self.gateway, LEASE_MS):
            self._held_until[shard] = now_ms + LEASE_MS
        else:
            self._held_until.pop(shard, None)

    async def _give_back(self, shard: int) -> None:
        self._held_until.pop(shard, None)
        await self._store.lease_shard(self._work.lease(shard), self.gateway, 0)


async def _all(errands: Iterable[Coroutine[Any, Any, None]]) -> list[BaseException | None]:
    """Do all of them; what each failed with."""
    return await asyncio.gather(*errands, return_exceptions=True)
