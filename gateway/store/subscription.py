"""A subscription to what scripts publish, by a plain connection and hiredis.

What comes is waited for by the millisecond, of which redis-py's subscription would take a good part.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import hiredis

from gateway.store.address import StoreAddress
from gateway.store.connection import StoreUnavailable, translated

SILENCE_SECONDS: Final = 10.0
"""After so long without a word the store is asked for one; after as long again it is given up."""

_READ_BYTES: Final = 65_536


async def subscribed(
    address: StoreAddress, channel: bytes, on_subscribed: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the messages of a channel as they come; what is published before `on_subscribed` is called is not heard.

    Raises:
        StoreUnavailable: The store is not there, or not any more.
        StoreFault: It refuses the subscription.
    """
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            reader, writer = await _connect(address)
    except OSError as error:
        raise StoreUnavailable(str(error)) from error
    try:
        for command in (*address.greeting(), ("SUBSCRIBE", channel)):
            writer.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub allows only one argument
        async for reply in _replies(reader, writer):
            if isinstance(reply, hiredis.ReplyError):
                raise translated(reply)
            if not isinstance(reply, list):
                continue  # OK to the greeting.
            if reply[0] == b"message":
                yield reply[2]
            elif reply[0] == b"subscribe":
                on_subscribed()
    except OSError as error:
        raise StoreUnavailable(str(error)) from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(address: StoreAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path is not None:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port, ssl=address.ssl_context())


async def _replies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[Any, None]:
    parser, silent = hiredis.Reader(), False
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await reader.read(_READ_BYTES)
        except TimeoutError:
            if silent:
                raise StoreUnavailable("the subscription is silent") from None
            silent = True
            writer.write(hiredis.pack_command(("PING",)))
            continue
        if not data:
            raise StoreUnavailable("the store closed the subscription")
        silent = False
        parser.feed(data)
        while (reply := parser.gets()) is not False:
            yield reply
