"""What the gateway demands of a store before it trusts it with money."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from gateway.startup import StartupError
from gateway.store.address import StoreAddress
from gateway.store.keys import SHARDS
from gateway.store.permissions import PROBES, command_of
from gateway.store.redis_client import open_client

_NOT_TRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"

CHECK_SECONDS: Final = 5.0
"""How long a primary may take to answer one question."""


OLDEST_REDIS: Final = 7
"""The first major version with functions. Valkey says which Redis it is as good as."""

HALF_REBUILT: Final = (
    "the store is being rebuilt from the ledger, or that was broken off; let `tollgate rebuild` finish, or run it again"
)

_SECTIONS: Final = ("server", "memory", "persistence", "replication")
_KEPT: Final = "(and keep it in the store's own configuration)"


class StoreConfigurationError(StartupError):
    """The store could lose or forget balances as it is set up; the text has one line for each fault."""


class Misconfiguration(NamedTuple):
    """Something in a store's set-up that could lose or forget balances.

    Attributes:
        problem: What is wrong, and what it leads to.
        cure: What to do about it.
    """

    problem: str
    cure: str


async def check_primaries(addresses: Iterable[StoreAddress]) -> None:
    """Check each primary of a store.

    Raises:
        StoreConfigurationError: One is not as it must be.
        redis.RedisError, OSError: One did not answer, so that nothing is known.
    """
    for address in addresses:
        async with primary_client(address) as client:
            try:
                await check_permissions(client, address.username or "default")
                await check_store_configuration(client)
            except AuthenticationError as error:
                raise StoreConfigurationError(
                    f"TOLLGATE_REDIS_URL: {address} refuses user and password ({error}); correct them"
                ) from error
            except RedisError as error:
                if _NOT_TRUSTED in str(error):
                    raise StoreConfigurationError(
                        f"TOLLGATE_REDIS_URL: the certificate of {address} is not trusted ({error}); name the file of "
                        "who signed it, ?tls_ca=/etc/tollgate/store-ca.pem, and write the host as it has it"
                    ) from error
                raise


@asynccontextmanager
async def primary_client(address: StoreAddress) -> AsyncIterator[Redis]:
    """A client for questions about one server, which asks each once and waits up to `CHECK_SECONDS`."""
    client = open_client(address, answer_seconds=CHECK_SECONDS, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        await client.aclose()


async def check_store_configuration(client: Redis) -> None:
    """Refuse a store that evicts, that keeps no append-only file, or whose replicas may lag without bound.

    Args:
        client: A connection to one primary, whichever way it decodes answers.

    Raises:
        StoreConfigurationError: One line for each fault, with the cure.
        redis.RedisError: The store did not answer, so that nothing is known.
    """
    faults = list(find_misconfigurations(await read_info(client)))
    if faults:
        raise StoreConfigurationError("\n".join(f"TOLLGATE_REDIS_URL: {each.problem}; {each.cure}" for each in faults))


async def read_info(client: Redis) -> Mapping[str, Any]:
    """What a server says of itself, by INFO, which hosted stores allow where CONFIG is not.

    Raises:
        redis.RedisError: It did not answer.
    """
    info: dict[str, Any] = {}
    # One section at a time: Redis 7.0 takes several, but a Redis 6 behind a proxy would answer with an error.
    for section in _SECTIONS:
        info |= await client.info(section)
    return info


def find_misconfigurations(info: Mapping[str, Any]) -> Iterator[Misconfiguration]:
    """What is wrong with a primary's set-up, by what it says of itself."""
    version = str(info.get("redis_version", ""))
    if int(version.partition(".")[0] or 0) < OLDEST_REDIS:
        yield Misconfiguration(
            f"it is of version {version or 'unknown'}, which has no functions",
            f"use Redis {OLDEST_REDIS}.0 or newer, or Valkey",
        )
    if info.get("role") == "slave":
        yield Misconfiguration("it is a replica, which takes no writes", "name the primary")
    if info.get("maxmemory_policy") != "noeviction":
        yield Misconfiguration(
            f"maxmemory-policy is {info.get('maxmemory_policy')}, so that balances are dropped when memory is full",
            f"CONFIG SET maxmemory-policy noeviction {_KEPT}",
        )
    if info.get("aof_enabled") != 1:
        yield Misconfiguration(
            "appendonly is off, so that a restart loses the balances", f"CONFIG SET appendonly yes {_KEPT}"
        )
    # The count of good replicas is shown only while min-replicas-to-write is 1 or more.
    if info.get("connected_slaves", 0) > 0 and "min_slaves_good_slaves" not in info:
        yield Misconfiguration(
            "it has replicas but min-replicas-to-write is 0, so that a primary that is cut off goes on selling what "
            "the promoted replica sells again",
            f"CONFIG SET min-replicas-to-write 1 {_KEPT}",
        )


async def check_permissions(client: Redis, user: str) -> None:
    """Refuse a store whose access list keeps from the gateway what it needs: each command is tried in vain.

    Args:
        client: A connection to one primary.
        user: As whom it was signed in, for the cure.

    Raises:
        StoreConfigurationError: Names every command, and what gives it.
        redis.RedisError: The store did not answer.
    """
    pipeline = client.pipeline(transaction=False)
    for probe in PROBES:
        pipeline.execute_command(*probe)
    replies = await pipeline.execute(raise_on_error=False)
    denied = [
        command_of(probe) for probe, reply in zip(PROBES, replies, strict=True) if isinstance(reply, NoPermissionError)
    ]
    if denied:
        raise StoreConfigurationError(
            f"TOLLGATE_REDIS_URL: the store's user {user} lacks the permission for {', '.join(denied)} on tg:*; "
            f"ACL SETUSER {user} ~tg:* &tg:* {' '.join(f'+{each}' for each in denied)} (deploy/store/users.acl has all)"
        )


def foreign_shards(held: bytes | None) -> str | None:
    """Why a store is not this gateway's, by what it holds of its number of shards; None: it is, or is new."""
    if held is None or held == str(SHARDS).encode():
        return None
    return (
        f"the store is divided into {held.decode(errors='replace')} shards and this gateway into {SHARDS}; use the "
        "version that made it, or another store"
    )
