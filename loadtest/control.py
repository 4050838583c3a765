"""How the benchmark has its child processes do things: a line of JSON each over a socket, and a line back."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.address import Address
from gateway.parent_watch import report_ready
from loadtest.processes import BenchError, Child, running_child

_LINE_BYTES: Final = 1 << 26
"""The books of a million offices are a long line."""


class Control:
    """The benchmark's end of the socket.

    Attributes:
        pid: Of the process that does things.
    """

    def __init__(self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = child.pid
        self._reader = reader
        self._writer = writer

    async def ask(self, do: str, **what: Any) -> Any:
        """Have something done, and return what was said of it.

        Raises:
            BenchError: It could not be done.
        """
        self._writer.write(json.dumps({"do": do, **what}).encode() + b"\n")
        line = await self._reader.readline()
        answer = json.loads(line) if line else {"error": "the process is gone"}
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer


@asynccontextmanager
async def running_controlled(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Control]:
    """Run a process that ends up in `serve_control`; arguments as of `running_child`."""
    async with running_child(name, *arguments, environment=environment) as child:
        address = Address.parse(child.said["control"])
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=_LINE_BYTES)
        try:
            yield Control(child, reader, writer)
        finally:
            writer.close()


async def serve_control(name: str, do: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    """Do what is asked for until SIGTERM, one thing at a time; an exception is the answer of what it came from.

    Args:
        name: By which the process reports that it is ready.
        do: Does a thing, named by `do`, and says what came of it.
    """
    stop = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                said = await do(json.loads(line))
            except Exception as error:  # whatever it is, the benchmark is who must hear of it
                said = {"error": f"the {name} process failed: {error!r}"}
            writer.write(json.dumps(said).encode() + b"\n")
        writer.close()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=_LINE_BYTES)
    async with server:
        report_ready(name, control=Address("127.0.0.1", server.sockets[0].getsockname()[1]))
        await stop.wait()
