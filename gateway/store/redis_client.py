"""A client of redis-py, for what is off the hot path and needs more than a command or two."""

from typing import Any

from redis.asyncio import Redis

from gateway.store.address import StoreAddress


def open_client(address: StoreAddress, *, answer_seconds: float, **options: Any) -> Redis:
    """Make a client of one server; it connects with the first command.

    Args:
        address: Where, as whom, and with TLS or without.
        answer_seconds: How long connecting may take, and an answer.
        **options: More of redis-py's.
    """
    # It says nothing of itself (CLIENT SETINFO): an access list would have to allow what Redis 7.0 does not know.
    return Redis.from_url(
        address.url(),
        socket_timeout=answer_seconds,
        socket_connect_timeout=answer_seconds,
        driver_info=None,
        **options,
    )
