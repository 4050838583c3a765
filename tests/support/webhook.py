"""A real HTTP server on loopback that takes POSTs and does to each what it is told to, well or badly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

HANG: Final = b"hang"
CLOSE: Final = b"close"
ENDLESS: Final = b"endless"


@dataclass(frozen=True)
class Posted:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebhookServer:
    """What has come, and what happens to the next requests; afterwards each is answered 204."""

    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=k3y"


def answer(status: str, *headers: str, body: str = "") -> bytes:
    """The bytes of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]).encode()


@asynccontextmanager
async def webhook_server() -> AsyncIterator[WebhookServer]:
    """Listen on a free port until the block ends."""
    server = WebhookServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # A client that is gone, or cut off in the middle, is what some tests are about.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await _one(server, reader, writer):
                pass
        tasks.discard(task)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


async def _one(server: WebhookServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    server.posted.append(Posted(head[0].split()[1], headers, body))
    todo = server.answers.pop(0) if server.answers else answer("204 No Content")
    if todo == HANG:
        server.hung.set()
        await asyncio.Event().wait()
    if todo == CLOSE:
        return False
    if todo == ENDLESS:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
    writer.write(todo)
    await writer.drain()
    return True
