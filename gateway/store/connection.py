"""The hot path to the store: one pipelined connection that costs a few microseconds a command.

Commands of one turn of the event loop leave in one write, and replies are parsed by hiredis as they come: 3 us of CPU
a call at 64 in flight, where redis-py's asyncio client takes 38. Everything that is not the hot path (topology, admin
reads, subscriptions) uses redis-py.

What the ugly parts gain is said where they stand. What they keep: replies come in the order of the commands, so the
queue of what is waited for is a deque, and what timed out stays in it until its reply has passed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any, Final, cast

import hiredis
import structlog

from gateway.errors import Unavailable
from gateway.store.address import StoreAddress
from gateway.store.packing import pack, pack_script
from gateway.store.scripts import Library

log = structlog.get_logger(__name__)

# A store that says one of these did not run the script, or cannot: the caller may retry with the same id.
_UNAVAILABLE: Final = (
    "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MOVED",
    "ASK", "NOAUTH", "NOPERM", "UNBLOCKED",
)  # fmt: skip

_FUNCTION_NOT_FOUND: Final = "ERR Function not found"

_FIRST_RETRY_SECONDS: Final = 0.05
_LAST_RETRY_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 0.05
_READ_FIRST_SECONDS: Final = 0.01


class StoreUnavailable(Unavailable):
    """The store did not answer in time, or cannot write: the operation may or may not have happened.

    Safe to retry with the same id, which is what makes every operation repeatable.
    """

    reason = "STORE_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__("The balance store did not answer; retry with the same id.")
        self.detail = detail  # in the engine's words: for the log


class StoreFull(StoreUnavailable):
    """The store is out of memory: it refuses to sell, and still settles."""


class StoreFault(Exception):
    """The store answered with an error that no state of it explains: a bug in a script or in its caller."""


class Reply(asyncio.Future[Any]):
    """What the store will have answered to one command.

    Attributes:
        resume: Called as soon as the reply is there, in the same turn of the event loop; whoever awaits the reply in a
            task leaves it None. Waking a task takes a turn of its own, and most of the 7 us that a task costs.
        sent_at: When it was sent, by the loop's clock.
        script: The packed command of a script, to be sent again where the store had lost the library; None: a plain
            command, whose errors are raised in the store's own words.
    """

    __slots__ = ("resume", "script", "sent_at")

    resume: Callable[[], None] | None
    sent_at: float
    script: bytes | None

    def settle(self, value: Any) -> None:
        """Take the reply, or the exception in place of one, unless it came too late; then wake who waits for it."""
        if self.done():
            return
        if isinstance(value, BaseException):
            self.set_exception(value)
        else:
            self.set_result(value)
        if self.resume is not None:
            self.resume()


class StoreConnection:
    """Keeps one connection to the store open and runs scripts on it.

    Args:
        address: Where the store is.
        library: Loaded on each connection before it is used.
        timeout_seconds: How long one reply may take. A connection that owes a reply for four times as long is replaced.
        on_connect: Called each time the store can be used (again).
    """

    def __init__(
        self,
        address: StoreAddress,
        library: Library,
        *,
        timeout_seconds: float = 0.5,
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._library = library
        self._timeout = timeout_seconds
        self._on_connect = on_connect
        self._wire: _Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._loading: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent now."""
        return self._wire is not None

    async def start(self) -> None:
        """Begin connecting, and go on doing so until `close`; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected(), name="store connection")

    async def wait_connected(self) -> None:
        """Return when commands can be sent."""
        await self._connected.wait()

    async def close(self) -> None:
        """Give up the connection; what is in flight fails with `StoreUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._wire is not None:
            self._wire.close("closing")
            self._wire = None
        await asyncio.gather(*self._loading, return_exceptions=True)

    def send(self, *command: bytes | str | int) -> Reply:
        """Send one command in the next flush.

        Raises:
            StoreUnavailable: There is no connection now. (The reply raises it too, for what happens later.)
        """
        return self._connected_wire().send(pack(command), None)

    def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Reply:
        """Run a script; its reply is awaited, raw.

        Raises:
            StoreUnavailable: No answer in time, or the store cannot write now.
            StoreFault: The script failed.
        """
        packed = pack_script(operation, self._library.functions[operation], keys, args)
        return self._connected_wire().send(packed, packed)

    def batch(self) -> "_Batch":
        """What is sent inside of a `with` block leaves when it ends, not a turn of the event loop later."""
        return _Batch(self._wire)

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send a plain command and return its reply.

        Raises:
            StoreUnavailable: No answer in time.
            StoreFault: The store refused the command.
        """
        try:
            return await self.send(*command)
        except hiredis.ReplyError as error:
            raise translated(error) from error

    async def ask_all(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Send plain commands in one flush and return their replies in order; without a task for each.

        Raises:
            StoreUnavailable: One of them was not answered in time.
            StoreFault: The store refused one of them.
        """
        try:
            return await asyncio.gather(*[self.send(*command) for command in commands])
        except hiredis.ReplyError as error:
            raise translated(error) from error

    async def ask_together(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Run plain commands as one transaction, in one round trip: nothing comes in between; for reads of one moment.

        All keys must be of one shard.

        Raises:
            StoreUnavailable: It was not answered in time.
            StoreFault: The store refused one of them.
        """
        *_, replies = await self.ask_all([("MULTI",), *commands, ("EXEC",)])
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise translated(reply) from reply
        return list(replies)

    async def _stay_connected(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                wire = await self._connect()
            except (OSError, StoreUnavailable, StoreFault, hiredis.HiredisError) as error:
                detail = getattr(error, "detail", str(error))
                log.warning("store not reached", address=str(self._address), error=detail, retry_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY_SECONDS)
                continue
            delay = _FIRST_RETRY_SECONDS
            self._wire = wire
            self._connected.set()
            log.info("store connected", address=str(self._address))
            self._on_connect()
            await wire.lost
            self._wire = None
            self._connected.clear()
            log.warning("store connection lost", address=str(self._address), error=wire.lost.result())

    def _connected_wire(self) -> "_Wire":
        if self._wire is None:
            raise StoreUnavailable("not connected")
        return self._wire

    def _refuse(self, reply: Reply, packed: bytes, error: hiredis.ReplyError) -> None:
        """Say why a script was not answered; one that the store does not know is loaded and sent again, once."""
        if str(error) != _FUNCTION_NOT_FOUND:
            reply.settle(_caused(translated(error), error))
            return
        task = asyncio.get_running_loop().create_task(self._load_and_repeat(reply, packed))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def _load_and_repeat(self, reply: Reply, packed: bytes) -> None:
        """It did not run: the functions were flushed behind our back."""
        try:
            await self._load_library(self.send)
            reply.settle(await self._connected_wire().send(packed, None))
        except hiredis.ReplyError as error:
            reply.settle(_caused(translated(error), error))
        except Exception as error:  # whatever it is, somebody waits for the reply
            reply.settle(error)

    async def _connect(self) -> "_Wire":
        loop = asyncio.get_running_loop()

        def protocol() -> _Wire:
            return _Wire(loop, self._timeout, self._refuse)

        wire: _Wire
        async with asyncio.timeout(max(1.0, self._timeout)):
            if self._address.path is not None:
                _, wire = await loop.create_unix_connection(protocol, self._address.path)
            else:
                _, wire = await loop.create_connection(
                    protocol, self._address.host, self._address.port, ssl=self._address.ssl_context()
                )
        try:
            for command in self._address.greeting():
                await wire.send(pack(command), None)
            await self._load_library(lambda *command: wire.send(pack(command), None))
        except BaseException as error:
            wire.close("greeting failed")
            if isinstance(error, hiredis.ReplyError):
                raise translated(error) from error
            raise
        return wire

    async def _load_library(self, send: "Callable[..., asyncio.Future[Any]]") -> None:
        # Looked for first, since a store that is full, or a replica, refuses to load even what it has.
        if await send("FUNCTION", "LIST", "LIBRARYNAME", self._library.name):
            return
        try:
            await send("FUNCTION", "LOAD", self._library.source)
        except hiredis.ReplyError as error:
            # Another gateway was faster; the name is made of the content, so what is there is the same.
            if "already exists" not in str(error):
                raise


class _Batch:
    """The commands of a `with` block leave together at its end."""

    __slots__ = ("_wire",)

    def __init__(self, wire: "_Wire | None") -> None:
        self._wire = wire

    def __enter__(self) -> None:
        if self._wire is not None:
            self._wire.holds = True

    def __exit__(self, *_: object) -> None:
        if self._wire is not None:
            self._wire.holds = False
            self._wire.flush()


class _Wire(asyncio.Protocol):
    """One TCP or unix connection: bytes out once a turn, replies in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        refuse: Callable[[Reply, bytes, hiredis.ReplyError], None],
    ) -> None:
        self._loop = loop
        self._timeout = timeout
        self._refuse = refuse
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Reply] = deque()
        self._outgoing: list[bytes] = []
        self._flushed_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._watch_at = 0.0
        self.lost: asyncio.Future[str] = loop.create_future()
        self.holds = False

    def send(self, packed: bytes, script: bytes | None) -> Reply:
        reply = Reply(loop=self._loop)
        reply.resume, reply.script = None, script
        if self._transport is None:
            reply.set_exception(StoreUnavailable("not connected"))
            return reply
        if not self._outgoing:
            # One write a turn of the loop: at 64 in flight this is what makes 93,000 commands a second of 26,000. And
            # one look at the clock, which is late by at most that turn.
            self._flushed_at = self._loop.time()
            if not self.holds:
                self._loop.call_soon(self.flush)
        self._outgoing.append(packed)
        reply.sent_at = self._flushed_at
        self._waiting.append(reply)
        if self._watch is None:
            self._watch_in(self._timeout)
        return reply

    def flush(self) -> None:
        if not self._outgoing:
            return
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))

    def close(self, why: str) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, but by its methods

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc else "closed by the store")

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while True:
            reply = reader.gets()
            if reply is False:
                return
            waiter = waiting.popleft()
            if not isinstance(reply, hiredis.ReplyError) or waiter.script is None or waiter.done():
                waiter.settle(reply)
            else:
                self._refuse(waiter, waiter.script, reply)

    def _check_deadlines(self) -> None:
        """Time out what waits too long. One timer a connection, not one a command: all have the same patience."""
        self._watch = None
        now = self._loop.time()
        if now - self._watch_at > _LATE_SECONDS:
            # The loop itself was held up, so the replies may lie in the socket unread: read first, then judge.
            self._watch_in(_READ_FIRST_SECONDS)
            return
        # Judged before anybody is told: who is told may send on.
        late = list(takewhile(lambda reply: now - reply.sent_at >= self._timeout, self._waiting))
        if late and now - late[0].sent_at > 4 * self._timeout:
            self.close("the store owes replies for too long")
            return
        if self._waiting:
            oldest = self._waiting[len(late)].sent_at if len(late) < len(self._waiting) else now
            self._watch_in(max(0.0, oldest + self._timeout - now))
        for reply in late:
            reply.settle(StoreUnavailable(f"no reply within {self._timeout} s"))

    def _watch_in(self, seconds: float) -> None:
        self._watch_at = self._loop.time() + seconds
        self._watch = self._loop.call_later(seconds, self._check_deadlines)

    def _fail(self, why: str) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        for reply in waiting:
            reply.settle(StoreUnavailable(why))
        if not self.lost.done():
            self.lost.set_result(why)


def _caused(exception: Exception, cause: Exception) -> Exception:
    exception.__cause__ = cause
    return exception


def translated(error: hiredis.ReplyError) -> Exception:
    """The store's own words as one of our errors; they go to the log, never to a caller."""
    text = str(error)
    if text.startswith("OOM"):
        return StoreFull(text)
    if text.startswith(_UNAVAILABLE):
        return StoreUnavailable(text)
    return StoreFault(text)
