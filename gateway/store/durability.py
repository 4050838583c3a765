"""What the store cannot lose any more: the ledger must never know more than a store that was failed over or restarted.

A read is followed by a write on a connection of its own, and that write is waited for: until every replica has it
(WAIT) or, without replicas, until it is synced to the disk (WAITAOF). What was read before then is as safe.
"""

from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.store.connection import StoreUnavailable
from gateway.store.keys import BARRIER_KEY

WAIT_MS: Final = 3_000
"""How long one wait may take; everysec syncs once a second."""

SYNCED_AFTER_MS: Final = 3_000
"""With the append-only file synced every second, what is so old is on the disk, also if a sync took its time."""


class Durability:
    """Makes sure that what was read stays.

    Args:
        client: To the primary, on which nobody minds a command that waits.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._can_wait_for_disk = True

    async def settle(self) -> int | None:
        """Return once everything that was read before is replicated and synced.

        Returns:
            None: all of it is. Else the store cannot be asked (Redis 7.0 without replicas), and only what is older than
            this is, in Unix milliseconds of its clock.

        Raises:
            StoreUnavailable: It is not, or not yet: read again later.
        """
        try:
            replicas = int((await self._client.info("replication"))["connected_slaves"])
            if replicas:
                await self._wait("WAIT", replicas, replicas)
                return None
            if self._can_wait_for_disk:
                await self._wait("WAITAOF", 1, 1, 0)
                return None
            seconds, microseconds = await self._client.time()
        except ResponseError as error:
            if "unknown command" not in str(error):
                raise StoreUnavailable(str(error)) from error
            self._can_wait_for_disk = False
            return await self.settle()
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error
        return int(seconds) * 1000 + int(microseconds) // 1000 - SYNCED_AFTER_MS

    async def _wait(self, command: str, needed: int, *counts: int) -> None:
        # In one pipeline, hence on one connection: the wait is for what that connection wrote.
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(BARRIER_KEY, 1)
        pipeline.execute_command(command, *counts, WAIT_MS)
        _, reached = await pipeline.execute()
        done = reached[0] if isinstance(reached, list | tuple) else reached
        if done < needed:
            raise StoreUnavailable(f"{command} reached {done} of {needed} within {WAIT_MS} ms")
