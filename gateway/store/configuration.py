"""What the gateway demands of a store before it trusts it with money."""

from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.startup import StartupError
from gateway.store.address import StoreAddress

CHECK_SECONDS: Final = 5.0
"""How long a primary may take to answer one question."""


class StoreConfigurationError(StartupError):
    """The store could lose or forget balances as it is set up; the text has one line for each fault."""


async def check_primaries(addresses: Iterable[StoreAddress]) -> None:
    """Check each primary of a store.

    Raises:
        StoreConfigurationError: One is not as it must be.
        redis.RedisError, OSError: One did not answer, so that nothing is known.
    """
    for address in addresses:
        client = Redis.from_url(
            address.url(),
            socket_timeout=CHECK_SECONDS,
            socket_connect_timeout=CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            await check_store_configuration(client)
        finally:
            await client.aclose()


async def check_store_configuration(client: Redis) -> None:
    """Refuse a store that evicts, that keeps no append-only file, or whose replicas may lag without bound.

    Reads INFO only, which hosted stores allow where CONFIG is not.

    Args:
        client: A connection to one primary, whichever way it decodes answers.

    Raises:
        StoreConfigurationError: One line for each fault, with the cure.
        redis.RedisError: The store did not answer, so that nothing is known.
    """
    info: dict[str, Any] = {}
    # One section at a time: Redis 7.0 takes several, but a Redis 6 behind a proxy would answer with an error.
    for section in ("memory", "persistence", "replication"):
        info |= await client.info(section)
    faults = []
    if info.get("role") == "slave":
        faults.append("it is a replica, which takes no writes; name the primary")
    if info.get("maxmemory_policy") != "noeviction":
        faults.append(
            f"maxmemory-policy is {info.get('maxmemory_policy')}, so that balances are dropped when memory is full; "
            "CONFIG SET maxmemory-policy noeviction"
        )
    if info.get("aof_enabled") != 1:
        faults.append("appendonly is off, so that a restart loses the balances; CONFIG SET appendonly yes")
    # The count of good replicas is shown only while min-replicas-to-write is 1 or more.
    if info.get("connected_slaves", 0) > 0 and "min_slaves_good_slaves" not in info:
        faults.append(
            "it has replicas but min-replicas-to-write is 0, so that a primary that is cut off goes on selling what "
            "the promoted replica sells again; CONFIG SET min-replicas-to-write 1"
        )
    if faults:
        raise StoreConfigurationError(
            "\n".join(f"TOLLGATE_REDIS_URL: {fault} (and keep it in the store's own configuration)" for fault in faults)
        )
