"""Clients that mean no good, or are broken: raw sockets on the port of the switches, each bad in a way of its own."""

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.address import Address
from gateway.api.session import MAX_IN_FLIGHT
from gateway.v1 import authorization_pb2 as pb
from tests.support.operator import OPERATOR_TOKEN
from tests.support.switch_books import NEW_YORK

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, 3.4: what every client begins with, and an empty SETTINGS frame after it."""

_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_HEADERS = 4
_SERVICE: Final = "/gateway.v1.CallAuthorization/"
_CHUNK: Final = bytes(16_384)

PACE_SECONDS: Final = 0.1
"""Between what one of them sends: what is to be seen is what they cost the gateway, not what they cost us."""

ASKED_BY_THE_DEAF: Final = MAX_IN_FLIGHT + 500
_BATCH: Final = 100

Bad = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, payload: bytes, *, claimed: int | None = None) -> bytes:
    """A frame of HTTP/2; its head may claim another length than it has."""
    length = len(payload) if claimed is None else claimed
    return length.to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def request_headers(rpc: str, **more: str) -> bytes:
    """The head of an rpc, each header a literal that goes into no table (RFC 7541, 6.2.2)."""
    fields = {":method": "POST", ":scheme": "http", ":path": _SERVICE + rpc, ":authority": "x", "te": "trailers"}
    fields |= {"content-type": "application/grpc", **more}
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(value: str) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value.encode()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks no HTTP/2."""
    writer.write(b"\x16\x03\x01 GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 64)
    await _until_dropped(reader)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connects and says nothing."""
    await _until_dropped(reader)


async def slow_preface(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what a client begins with, a byte at a time (slow loris)."""
    dropped = asyncio.create_task(_until_dropped(reader))
    for each in itertools.cycle(PREFACE[:-1]):
        if dropped.done():
            return
        writer.write(bytes([each]))
        await asyncio.sleep(0.5)


async def giant_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins a frame of 16 MB, a thousand times what it was told is the most."""
    writer.write(PREFACE + frame(_SETTINGS, 0, 0, b"") + frame(_DATA, 0, 1, b"", claimed=(1 << 24) - 1))
    await _pour(reader, writer, _CHUNK)


async def endless_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins a request of 1 GB, and sends it as long as anybody takes it.

    It is refused as too large at once. The connection stays, as HTTP/2 has it, until it owes the answer to a ping.
    """
    writer.write(PREFACE + frame(_SETTINGS, 0, 0, b""))
    writer.write(frame(_HEADERS, _END_HEADERS, 1, request_headers("AuthorizeCall")))
    writer.write(frame(_DATA, 0, 1, struct.pack(">BI", 0, 1 << 30)))
    await _pour(reader, writer, frame(_DATA, 0, 1, _CHUNK))


async def deaf_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A switch with a good token that asks for more than the gateway keeps answers for, and never reads one."""
    bearer = {"authorization": f"Bearer {OPERATOR_TOKEN}", "x-switch-id": "deaf"}
    writer.write(PREFACE + frame(_SETTINGS, 0, 0, b""))
    writer.write(frame(_HEADERS, _END_HEADERS, 1, request_headers("Session", **bearer)))
    for batch in range(ASKED_BY_THE_DEAF // _BATCH):
        quote = pb.QuoteCallRequest(office_id="nobody", direction=pb.OUTBOUND, called_number=NEW_YORK)
        operations = [pb.Operation(tag=batch * _BATCH + each + 1, quote_call=quote) for each in range(_BATCH)]
        message = pb.SessionRequest(operations=operations).SerializeToString()
        writer.write(frame(_DATA, 0, 1, struct.pack(">BI", 0, len(message)) + message))
        await writer.drain()
    await asyncio.Event().wait()


KINDS: Final[Mapping[str, Bad]] = {
    kind.__name__: kind for kind in (garbage, silence, slow_preface, giant_frame, endless_message, deaf_session)
}


class BadConnections:
    """Some of each kind at once.

    Attributes:
        open: How many of each kind the gateway has not dropped.
    """

    def __init__(self) -> None:
        self.open = dict.fromkeys(KINDS, 0)

    @asynccontextmanager
    async def connected(self, server: str, counts: Mapping[str, int]) -> AsyncIterator[None]:
        """Keep so many of each kind until the block ends; one that is dropped stays dropped."""
        tasks = [
            asyncio.create_task(self._be_bad(server, kind)) for kind, count in counts.items() for _ in range(count)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _be_bad(self, server: str, kind: str) -> None:
        address = Address.parse(server)
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1 << 16)
        self.open[kind] += 1
        try:
            with suppress(OSError):
                await KINDS[kind](reader, writer)
        finally:
            self.open[kind] -= 1
            writer.transport.abort()


async def _until_dropped(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunk: bytes) -> None:
    dropped = asyncio.create_task(_until_dropped(reader))
    while not dropped.done():
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(PACE_SECONDS)
