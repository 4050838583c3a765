"""One server of the store, to which a connection is kept open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import hiredis
import structlog

from gateway.store.address import StoreAddress
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.packing import pack
from gateway.store.scripts import Library
from gateway.store.wire import Reply, Wire

log = structlog.get_logger(__name__)

_FIRST_RETRY_SECONDS: Final = 0.05
_LAST_RETRY_SECONDS: Final = 1.0


class Node:
    """Keeps one connection open and has the library loaded on it.

    Args:
        address: Where the server is; None: `find` says so.
        library: Loaded on each connection before it is used.
        timeout_seconds: How long one reply may take.
        refuse: Told of each reply that is an error.
        on_change: Called when the connection is there, or lost, or was not made.
        find: Says before each attempt to connect where the primary is. It may be behind, so the server is asked, too.

    Attributes:
        address: Where the server is, or was; None: not known yet.
        wire: The connection; None: there is none.
        run_id: The server's own name for the process that answers.
        tried: Whether an attempt to connect has ended, well or not.
    """

    def __init__(
        self,
        address: StoreAddress | None,
        library: Library,
        *,
        timeout_seconds: float,
        refuse: Callable[["Node", Reply, hiredis.ReplyError], None],
        on_change: Callable[["Node"], None],
        find: Callable[[], Awaitable[StoreAddress]] | None = None,
    ) -> None:
        self._library = library
        self._timeout = timeout_seconds
        self._refuse = refuse
        self._on_change = on_change
        self._find = find
        self._task: asyncio.Task[None] | None = None
        self.address = address
        self.wire: Wire | None = None
        self.run_id = ""
        self.tried = False
        self.connected = asyncio.Event()

    def start(self) -> None:
        """Begin connecting, and go on doing so until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected(), name="store connection")

    async def close(self) -> None:
        """Give up the connection; what is in flight fails with `StoreUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.wire is not None:
            self.wire.close("closing")
            self.wire = None
        self.connected.clear()

    def drop(self, why: str) -> None:
        """Close the connection, to be made anew to wherever the server is now."""
        if self.wire is not None:
            self.wire.close(why)

    async def load_library(self) -> None:
        """Load the scripts, unless they are there.

        Raises:
            StoreUnavailable: No answer in time, or it takes no writes.
            StoreFault: The server refuses them.
        """
        wire = self.wire
        if wire is None:
            raise StoreUnavailable("not connected")
        await self._load(wire)

    async def _stay_connected(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                if self._find is not None:
                    self.address = await self._find()
                if self.address is None:
                    raise StoreUnavailable("nobody says where it is")
                wire = await self._connect(self.address)
            except (OSError, StoreUnavailable, StoreFault, hiredis.HiredisError) as error:
                detail = getattr(error, "detail", str(error))
                log.warning("store not reached", address=str(self.address), error=detail, retry_seconds=delay)
                self.tried = True
                self._on_change(self)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY_SECONDS)
                continue
            delay = _FIRST_RETRY_SECONDS
            self.wire, self.tried = wire, True
            self.connected.set()
            log.info("store connected", address=str(self.address))
            self._on_change(self)
            why = await wire.lost
            self.wire = None
            self.connected.clear()
            log.warning("store connection lost", address=str(self.address), error=why)
            self._on_change(self)

    async def _connect(self, address: StoreAddress) -> Wire:
        loop = asyncio.get_running_loop()

        def protocol() -> Wire:
            return Wire(loop, self._timeout, lambda reply, error: self._refuse(self, reply, error))

        wire: Wire
        async with asyncio.timeout(max(1.0, self._timeout)):
            if address.path is not None:
                _, wire = await loop.create_unix_connection(protocol, address.path)
            else:
                _, wire = await loop.create_connection(protocol, address.host, address.port, ssl=address.ssl_context())
        try:
            for command in address.greeting():
                await _ask(wire, *command)
            self.run_id = _value(await _ask(wire, "INFO", "server"), b"run_id")
            if self._find is not None and _value(await _ask(wire, "INFO", "replication"), b"role") != "master":
                raise StoreUnavailable(f"{address} is no primary, or not yet")
            await self._load(wire)
        except BaseException:
            wire.close("greeting failed")
            raise
        return wire

    async def _load(self, wire: Wire) -> None:
        if not self._library.functions:
            return
        # Looked for first, since a store that is full, or a replica, refuses to load even what it has.
        if await _ask(wire, "FUNCTION", "LIST", "LIBRARYNAME", self._library.name):
            return
        try:
            await _ask(wire, "FUNCTION", "LOAD", self._library.source)
        except StoreFault as error:
            # Another gateway was faster; the name is made of the content, so what is there is the same.
            if "already exists" not in str(error):
                raise


def _ask(wire: Wire, *command: str | int) -> Reply:
    return wire.send(pack(command), None)


def _value(info: bytes, name: bytes) -> str:
    """A field of what INFO says; empty: there is none."""
    for line in info.splitlines():
        key, _, value = line.partition(b":")
        if key == name:
            return value.decode()
    return ""
