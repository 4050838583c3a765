"""Listens for Diameter peers."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from gateway.address import Address
from gateway.diameter.identity import DiameterIdentity
from gateway.diameter.peer import WATCHDOG_SECONDS, Handler, PeerConnection

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 256
"""Peers are a network's few call-control nodes; more than that is no network but a flood."""


class DiameterServer:
    """The peers that are connected.

    Args:
        identity: Who we are.
        allowed_hosts: Origin-Hosts that may connect, in lower case; empty: any.
        handle: Answers credit-control requests.
        watchdog_seconds: Silence after which a peer is asked whether it lives.
    """

    def __init__(
        self,
        identity: DiameterIdentity,
        allowed_hosts: Collection[str],
        handle: Handler,
        *,
        watchdog_seconds: float = WATCHDOG_SECONDS,
    ) -> None:
        self._identity = identity
        self._allowed_hosts = allowed_hosts
        self._handle = handle
        self._watchdog_seconds = watchdog_seconds
        self._connections: set[PeerConnection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: Address) -> None:
        """Listen.

        Raises:
            OSError: It cannot be listened on.
        """
        self._server = await asyncio.start_server(self._serve, address.host, address.port)

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("it has not been started")
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, limit_seconds: float) -> None:
        """Take no more connections, answer what is under way, and tell the peers to go elsewhere."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(connection.leave(limit_seconds) for connection in self._connections))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            log.warning("diameter_connection_refused", connections=len(self._connections))
            writer.transport.abort()
            return
        connection = PeerConnection(
            reader,
            writer,
            self._identity,
            self._allowed_hosts,
            self._handle,
            watchdog_seconds=self._watchdog_seconds,
        )
        with self._kept(connection):
            await connection.run(self._close_older)

    @contextmanager
    def _kept(self, connection: PeerConnection) -> Iterator[None]:
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def _close_older(self, connection: PeerConnection) -> None:
        """A peer that connects again has lost its connection, though it may look alive from here."""
        for other in self._connections:
            if other is not connection and other.host.lower() == connection.host.lower():
                log.info("diameter_peer_came_again", peer=connection.host)
                other.abort()
