"""A connection to the embedded store that asks how it is and, held open, tells at once when it dies."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import hiredis

ANSWER_SECONDS = 2.0
"""A store that forks or syncs may be slow for a moment; one that is silent for longer is not taken as alive."""

READ_BYTES = 65536


class ProbeRefusedError(Exception):
    """The store answered with an error; the text is its own, e.g. `LOADING ...`."""


class Probe:
    """One connection to a unix socket; not for concurrent use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies = hiredis.Reader()

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connect to the socket.

        Raises:
            OSError: Nobody listens there (TimeoutError included).
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            return cls(*await asyncio.open_unix_connection(path))

    async def command(self, *words: str) -> Any:
        """Send a command and wait for its answer, bulk strings as bytes.

        Raises:
            ProbeRefusedError: The store said no.
            OSError: The connection broke or no answer came in time; the command may or may not have run.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            # hiredis' stub knows tuples of one word only.
            self._writer.write(hiredis.pack_command(words))  # type: ignore[arg-type]
            await self._writer.drain()
            while (reply := self._replies.gets()) is False:
                received = await self._reader.read(READ_BYTES)
                if not received:
                    raise ConnectionResetError("the store closed the connection")
                self._replies.feed(received)
        if isinstance(reply, hiredis.ReplyError):
            raise ProbeRefusedError(str(reply))
        return reply

    async def wait_closed(self) -> None:
        """Return when the store closes the connection, as the kernel does for it when it is killed."""
        with suppress(OSError):
            while await self._reader.read(READ_BYTES):
                pass

    async def close(self) -> None:
        """Close the connection; a broken one too."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
