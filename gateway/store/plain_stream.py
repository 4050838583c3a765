"""A plain connection to one server, for a few commands or a subscription; the hot path is wire.py's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import hiredis

from gateway.store.address import StoreAddress
from gateway.store.faults import StoreUnavailable, translated
from gateway.store.packing import pack

_READ_BYTES: Final = 65_536


class PlainStream:
    """Sends commands and reads replies one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    def send(self, *command: bytes | str | int) -> None:
        """Send a command without waiting."""
        self._writer.write(pack(command))

    async def read(self) -> Any:
        """The next reply.

        Raises:
            StoreUnavailable: The server closed the connection, or said that it cannot answer.
            StoreFault: The reply is an error.
        """
        while (reply := self._parser.gets()) is False:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise StoreUnavailable("closed by the store")
            self._parser.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise translated(reply)
        return reply


@asynccontextmanager
async def plain_stream(address: StoreAddress) -> AsyncIterator[PlainStream]:
    """Connect and sign in; closed when the block ends.

    Raises:
        StoreUnavailable: Nobody answers there.
        StoreFault: The server refuses the user.
    """
    try:
        if address.path is not None:
            reader, writer = await asyncio.open_unix_connection(address.path)
        else:
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.ssl_context())
    except OSError as error:
        raise StoreUnavailable(str(error)) from error
    stream = PlainStream(reader, writer)
    try:
        for command in address.greeting():
            stream.send(*command)
            await stream.read()
        yield stream
    except OSError as error:
        raise StoreUnavailable(str(error)) from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask_server(address: StoreAddress, *command: bytes | str | int, limit_seconds: float) -> Any:
    """Ask one server one thing.

    Raises:
        StoreUnavailable: No answer in time.
        StoreFault: The answer is an error.
    """
    try:
        async with asyncio.timeout(limit_seconds), plain_stream(address) as stream:
            stream.send(*command)
            return await stream.read()
    except TimeoutError:
        raise StoreUnavailable(f"{address} did not answer within {limit_seconds:g} s") from None
