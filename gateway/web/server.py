"""The HTTP server: uvicorn within the event loop of the back, which begins and ends it."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.address import Address
from gateway.ports import listen_on
from gateway.web.protocol import BoundedHttpProtocol

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 1_000
"""Beyond that uvicorn answers 503 by itself, so that nobody can use up the back's memory by connecting."""

_KEEP_ALIVE_SECONDS: Final = 5


class HttpServer:
    """Serves an application; made by `open`, then `start`, `run` beside the other loops, and at last `close`."""

    def __init__(self, server: "_Server", port: int) -> None:
        self._server = server
        self.port = port
        self._serving: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, app: ASGIApp, setting: str, address: Address, *, drain_seconds: int, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Listen, so that whoever connects waits for `start`.

        Args:
            app: What answers.
            setting: The name of the setting that has the address, for errors.
            address: Where to listen.
            drain_seconds: How long accepted requests may take to finish.
            tls: What connections are wrapped in; None: nothing.

        Raises:
            StartupError: The address is taken, or no address of this machine.
        """
        sockets = await listen_on(setting, address)
        config = uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            # Its lines go the way of all others (log.py); requests are counted, not logged.
            log_config=None,
            access_log=False,
            server_header=False,
            # Who asks is not decided by headers that anybody may send.
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        port: int = sockets[0].getsockname()[1]
        return cls(_Server(config, sockets), port)

    async def start(self) -> None:
        """Answer from now on.

        Raises:
            RuntimeError: The server could not begin.
        """
        self._serving = asyncio.create_task(self._server.serve(self._server.sockets))
        await _first_of(self._server.accepts, self._serving)
        if self._serving.done():
            raise RuntimeError("the HTTP server did not begin") from self._serving.exception()
        log.info("serving", service="http", port=self.port)

    async def run(self, stop: asyncio.Event) -> None:
        """Begin to drain when `stop` is set; never ends by itself, as the other loops.

        Raises:
            RuntimeError: The server ended although nobody told it to.
        """
        if self._serving is None:
            raise RuntimeError("start() comes first")
        await _first_of(stop, self._serving)
        if not stop.is_set():
            raise RuntimeError("the HTTP server ended by itself") from self._serving.exception()
        self._server.should_exit = True
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Accept nothing more and wait until what was accepted is answered, for the drain time at most."""
        self._server.should_exit = True
        if self._serving is None:
            for each in self._server.sockets:
                each.close()
            return
        await asyncio.gather(self._serving, return_exceptions=True)
        log.info("stopped", service="http")


class _Server(uvicorn.Server):
    """Leaves the signals to the process, and says when it has begun."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config)
        self.sockets = sockets
        self.accepts = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, on sockets that listen already."""
        await super().startup(sockets)
        self.accepts.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _first_of(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Wait until the event is set or the task is done."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
