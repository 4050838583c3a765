"""What the gateway demands of a store before it trusts it with money."""

from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from gateway.startup import StartupError
from gateway.store.address import StoreAddress
from gateway.store.permissions import PROBES, command_of
from gateway.store.redis_client import open_client

_NOT_TRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"

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
        client = open_client(address, answer_seconds=CHECK_SECONDS, retry=Retry(NoBackoff(), 0))
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
                    f"TOLLGATE_REDIS_URL: the certificate of {address} is not trusted ({error}); name the file of who "
                    "signed it, ?tls_ca=/etc/tollgate/store-ca.pem, and write the host as the certificate has it"
                ) from error
            raise
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
