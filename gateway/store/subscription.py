"""A subscription to what scripts publish, by a plain connection and hiredis.

What comes is waited for by the millisecond, of which redis-py's subscription would take a good part. In a cluster every
member passes on what is published at any.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Final

from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.plain_stream import plain_stream

SILENCE_SECONDS: Final = 10.0
"""After so long without a word the store is asked for one; after as long again it is given up."""


async def subscribed(
    connection: StoreConnection, channel: bytes, on_subscribed: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the messages of a channel as they come; what is published before `on_subscribed` is called is not heard.

    Args:
        connection: To the store: says which of its servers to listen to, on a connection of this subscription's own.
        channel: Its name.
        on_subscribed: Called once everything is heard.

    Raises:
        StoreUnavailable: The store is not there, or not any more, or the server is no primary of it any longer.
        StoreFault: It refuses the subscription.
    """
    address, silent = connection.a_primary(), False
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                stream = await stack.enter_async_context(plain_stream(address))
        except TimeoutError:
            raise StoreUnavailable(f"{address} does not answer") from None
        stream.send("SUBSCRIBE", channel)
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    kind, *rest = await stream.read()
            except TimeoutError:
                if silent or not connection.is_primary(address):
                    raise StoreUnavailable(f"the subscription at {address} is silent") from None
                silent = True
                stream.send("PING")
                continue
            silent = False
            if kind == b"message":
                yield rest[1]
            elif kind == b"subscribe":
                on_subscribed()
