"""A proxy between a client and a real server that breaks the connection at the moments that matter.

    async with FaultProxy(target) as proxy:
        proxy.cut_after_send()          # the next request runs, its reply is lost
        ...
        await proxy.fault_happened()

A fault applies to what comes next on any connection, `times` times; then the proxy passes everything on again. What
comes in one read counts as one request, which holds for a client that waits for its answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

WAIT_SECONDS = 10.0

CHUNK_BYTES = 65536

Target = tuple[str, int] | Path
"""Where to connect or listen: host and port, or the path of a unix socket."""


class Fault(Enum):
    """What happens to a request."""

    CUT_BEFORE_SEND = "the server never sees it, the client sees the connection close"
    CUT_AFTER_SEND = "the server answers it, the client sees the connection close instead"
    STALL = "nothing happens to it until `resume`"
    DELAY = "it is passed on late"


@dataclass
class _Plan:
    fault: Fault
    times: int
    skip: int
    delay_seconds: float = 0.0


@dataclass(eq=False)
class _Link:
    """One client's connection and its own to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    # Set while the replies to come are to be dropped and the client cut off.
    drop_reply: asyncio.Event = field(default_factory=asyncio.Event)

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class FaultProxy:
    """Listens on a free loopback port, or on a unix socket, and passes everything on to the target until told else.

    Args:
        target: The server.
        listen: A path to listen on a unix socket there; a free port of 127.0.0.1 when None.
    """

    def __init__(self, target: Target, listen: Path | None = None) -> None:
        self._target = target
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._plan: _Plan | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._mended = asyncio.Event()
        self._mended.set()
        self._changed = asyncio.Condition()
        self._refuses = False
        self.faults = 0
        """How many faults have happened so far."""
        self.connections = 0
        """How many connections were accepted so far."""

    async def __aenter__(self) -> Self:
        if self._listen is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        else:
            self._server = await asyncio.start_unix_server(self._accept, str(self._listen))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._listen is not None:
            self._listen.unlink(missing_ok=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The address as TOLLGATE_REDIS_URL takes it."""
        return f"unix://{self._listen}" if self._listen else f"redis://127.0.0.1:{self.port}/0"

    def pass_on(self) -> None:
        """Forget the planned fault."""
        self._plan = None

    def cut_before_send(self, *, times: int = 1, skip: int = 0) -> None:
        """Close the connection instead of passing on a request, after `skip` requests that go through."""
        self._plan = _Plan(Fault.CUT_BEFORE_SEND, times, skip)

    def cut_after_send(self, *, times: int = 1, skip: int = 0) -> None:
        """Pass a request on and, when the server has answered, close the connection instead of passing the answer."""
        self._plan = _Plan(Fault.CUT_AFTER_SEND, times, skip)

    def stall(self, *, times: int = 1, skip: int = 0) -> None:
        """Hold a request, and all that follows it on its connection, until `resume`."""
        self._resumed.clear()
        self._plan = _Plan(Fault.STALL, times, skip)

    def resume(self) -> None:
        """Pass on what is stalled."""
        self._resumed.set()

    def delay(self, milliseconds: float, *, times: int = 1_000_000_000, skip: int = 0) -> None:
        """Pass requests on so much later."""
        self._plan = _Plan(Fault.DELAY, times, skip, milliseconds / 1000)

    def partition(self) -> None:
        """Hold everything, both ways and the closing of connections too, until `mend`: neither side is told anything.

        New connections are accepted, as the kernel of a machine does whose program does not answer.
        """
        self._mended.clear()

    def mend(self) -> None:
        """Pass on what a partition holds, each connection in its order."""
        self._mended.set()

    def cut_all(self) -> None:
        """Reset every connection that is open now."""
        for link in list(self._links):
            link.abort()

    def refuse(self, refuses: bool = True) -> None:
        """Close every new connection at once, as long as wanted; the open ones too."""
        self._refuses = refuses
        if refuses:
            self.cut_all()

    async def fault_happened(self, times: int = 1) -> None:
        """Wait until so many faults have happened since the proxy started.

        Raises:
            TimeoutError: They have not within 10 s.
        """
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.faults >= times)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._refuses:
                await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The server is down, or the proxy ends: the client sees its connection close.
            pass
        finally:
            self._tasks.discard(task)
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, Path):
            server_reader, server_writer = await asyncio.open_unix_connection(str(self._target))
        else:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, link, lambda data: self._to_server(link, data)))
                group.create_task(self._pump(server_reader, link, lambda data: self._to_client(link, data)))
        finally:
            self._links.discard(link)
            await _close(server_writer)

    async def _pump(
        self, source: asyncio.StreamReader, link: _Link, deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                await self._mended.wait()
                await deliver(data)
        await self._mended.wait()
        # Either side's end is the other's, too.
        link.abort()

    async def _to_server(self, link: _Link, data: bytes) -> None:
        plan = self._take_plan()
        if plan is not None:
            await self._note_fault(plan)
            if plan.fault is Fault.CUT_BEFORE_SEND:
                raise ConnectionAbortedError
            if plan.fault is Fault.CUT_AFTER_SEND:
                link.drop_reply.set()
            elif plan.fault is Fault.STALL:
                await self._resumed.wait()
            else:
                await asyncio.sleep(plan.delay_seconds)
        await _write(link.server, data)

    async def _to_client(self, link: _Link, data: bytes) -> None:
        if link.drop_reply.is_set():
            await self._count_fault()
            raise ConnectionAbortedError
        await _write(link.client, data)

    def _take_plan(self) -> _Plan | None:
        """The fault for this request, if there is one."""
        plan = self._plan
        if plan is None:
            return None
        if plan.skip > 0:
            plan.skip -= 1
            return None
        plan.times -= 1
        if plan.times <= 0:
            self._plan = None
        return plan

    async def _note_fault(self, plan: _Plan) -> None:
        # A cut after the send has happened only when the server has answered, which is what a test waits for.
        if plan.fault is not Fault.CUT_AFTER_SEND:
            await self._count_fault()

    async def _count_fault(self) -> None:
        async with self._changed:
            self.faults += 1
            self._changed.notify_all()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    # To write on a connection that was aborted is a RuntimeError of uvloop.
    if writer.is_closing():
        raise ConnectionAbortedError
    writer.write(data)
    await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
