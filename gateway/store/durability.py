"""What the store cannot lose any more: the ledger must never know more than a store that was failed over or restarted.

A read is followed by a write on a connection of its own, and that write is waited for: until every replica has it
(WAIT) or, without replicas, until it is synced to the disk (WAITAOF). What was read before then is as safe, provided
that the same process answered all the time: one that was restarted or replaced may have lost it before.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.store.address import StoreAddress
from gateway.store.connection import Server, StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import barrier_key
from gateway.store.redis_client import open_client

WAIT_MS: Final = 3_000
"""How long one wait may take; everysec syncs once a second."""

SYNCED_AFTER_MS: Final = 3_000
"""With the append-only file synced every second, what is so old is on the disk, also if a sync took its time."""

_CLIENT_SECONDS: Final = 5.0

Servers = Mapping[StoreAddress, Server]


class Durability:
    """Makes sure that what was read stays.

    Args:
        connection: On which it was read.
    """

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._clients: dict[StoreAddress, Redis] = {}
        self._can_wait_for_disk = True

    def servers(self) -> Servers:
        """Who answers now; to be asked before anything is read."""
        return self._connection.servers()

    async def settle(self, servers: Servers) -> int | None:
        """Return once everything that was read since is replicated and synced.

        Args:
            servers: Who answered before it was read.

        Returns:
            None: all of it is. Else the store cannot be asked (Redis 7.0 without replicas), and only what is older than
            this is, in Unix milliseconds of its clock.

        Raises:
            StoreUnavailable: It is not, or not yet, or another process answers meanwhile: read again later.
        """
        if self._connection.servers() != servers:
            raise StoreUnavailable("the servers of the store have changed since it was read")
        settled = await asyncio.gather(*[self._settle(*each) for each in servers.items() if each[1].shards])
        await self._forget_others(servers)
        return min((before for before in settled if before is not None), default=None)

    async def close(self) -> None:
        """Close the connections."""
        await self._forget_others({})

    async def _settle(self, address: StoreAddress, server: Server) -> int | None:
        client = self._client(address)
        try:
            replication = await client.info("replication")
            replicas = int(replication["connected_slaves"])
            # A primary that must have replicas and has none is cut off, and another one may have taken its place.
            if replicas or "min_slaves_good_slaves" in replication:
                await _wait(client, server, "WAIT", max(1, replicas), max(1, replicas))
                return None
            if self._can_wait_for_disk:
                await _wait(client, server, "WAITAOF", 1, 1, 0)
                return None
            _check(server, await client.info("server"))
            seconds, microseconds = await client.time()
        except ResponseError as error:
            if "unknown command" not in str(error):
                raise StoreUnavailable(str(error)) from error
            self._can_wait_for_disk = False
            return await self._settle(address, server)
        except RedisError as error:
            # Another one is made next time, with certificates as they are then.
            if self._clients.get(address) is client:
                await self._clients.pop(address).aclose()
            raise StoreUnavailable(str(error)) from error
        return int(seconds) * 1000 + int(microseconds) // 1000 - SYNCED_AFTER_MS

    def _client(self, address: StoreAddress) -> Redis:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = open_client(address, answer_seconds=_CLIENT_SECONDS)
        return client

    async def _forget_others(self, servers: Servers) -> None:
        for address in self._clients.keys() - servers.keys():
            await self._clients.pop(address).aclose()


async def _wait(client: Redis, server: Server, command: str, needed: int, *counts: int) -> None:
    # In one pipeline, hence on one connection: the wait is for what that connection wrote, at that process.
    pipeline = client.pipeline(transaction=False)
    pipeline.info("server")
    pipeline.set(barrier_key(server.shards[0]), 1)
    pipeline.execute_command(command, *counts, WAIT_MS)
    told, _, reached = await pipeline.execute()
    _check(server, told)
    done = reached[0] if isinstance(reached, list | tuple) else reached
    if done < needed:
        raise StoreUnavailable(f"{command} reached {done} of {needed} within {WAIT_MS} ms")


def _check(server: Server, told: Mapping[str, Any]) -> None:
    if told["run_id"] != server.run_id:
        raise StoreUnavailable("another process answers than when it was read")
