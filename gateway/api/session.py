"""The Session stream: batches of operations in, batches of results and commands out.

Many operations are in flight at once. Those of one batch leave in one flush of pipelined scripts, and the store's
replies themselves drive them on (`Running`). Results gather until the event loop's next turn, and while the message
before is being written.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import structlog

from gateway import metrics
from gateway.api.runner import ServicerContext, status_of
from gateway.api.session_codec import packed_response, packed_result
from gateway.domain.identity import Identity
from gateway.errors import Internal, InvalidArgument, TollgateError
from gateway.request_context import request_id
from gateway.store.wire import Reply
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

MAX_IN_FLIGHT: Final = 4_096
"""Operations of one Session that are begun, or answered and not yet written. A client that sends more, or that does not
read its results, is not read from until there is room: its stream waits, nobody else notices."""

MAX_COMMANDS: Final = 4_096
"""Commands waiting to be written; the oldest give way, since a command is repeated until EndCall."""

_MESSAGE_ITEMS: Final = 1_000

Operation = Callable[[Any, Identity], Coroutine[Any, Any, Any]]
Hear = Callable[[pb.LiveCalls, "Session"], Awaitable[None]]
Context = ServicerContext[pb.SessionRequest, bytes]
Batch = Callable[[], AbstractContextManager[None]]


class Running:
    """One operation, from its beginning to its result.

    A coroutine without a task: it goes on when the store's reply comes, in the same turn of the event loop. A task
    costs some 7 us an operation, and two turns. So an operation may await replies and futures, but it has no current
    task: nothing in it can use `asyncio.timeout`.
    """

    __slots__ = ("_session", "_work", "after", "key", "kind", "request", "tag")

    def __init__(self, session: "Session", tag: int, kind: str, key: tuple[str, str], request: Any) -> None:
        self._session = session
        self._work: Coroutine[Any, Any, Any] | None = None
        self.tag = tag
        self.kind = kind
        self.key = key
        self.request = request
        self.after: Running | None = None

    def begin(self, _: object = None) -> None:
        """Run, or go on, until something has to be waited for; after the end begin what waited for it."""
        running: Running | None = self
        # A loop, since a thousand operations on one call may each end at once.
        while running is not None:
            work = running._work
            if work is None:
                work = running._work = running._session.work_on(running)
            try:
                awaited = work.send(None)
            except StopIteration as done:
                running = running._session.finish(running, packed_result(running.tag, running.kind, done.value))
            except TollgateError as error:
                running = running._session.finish(running, packed_error(running.tag, error))
            except Exception:
                office_id, thing_id = running.key
                log.exception(
                    "an operation of a Session failed", operation=running.kind, office_id=office_id, id=thing_id,
                    tag=running.tag, request_id=running._session.request_id,
                )  # fmt: skip
                running = running._session.finish(running, packed_error(running.tag, Internal()))
            else:
                running._wait_for(awaited)
                return

    def _wait_for(self, awaited: Any) -> None:
        """Do what a task does with what its coroutine yields; None is a sleep of no time."""
        if awaited is None:
            asyncio.get_running_loop().call_soon(self.begin)
            return
        awaited._asyncio_future_blocking = False
        if type(awaited) is Reply:
            awaited.resume = self.begin
        else:
            awaited.add_done_callback(self.begin)


class Session:
    """One stream of one switch.

    Args:
        identity: Of the stream; its switch_id says whose calls are authorized here.
        operations: How each of an Operation's oneof is answered.
        hear: Takes the switch's live calls.
        batch: What is sent to the store inside of its block leaves together.
        max_operations: Allowed in one batch.

    Attributes:
        list_began_ms: When the list of live calls began that is still coming in, in Unix milliseconds; None: none is.
        list_is_whole: Whether all of that list so far was heard.
        request_id: Of the stream.
    """

    def __init__(
        self, identity: Identity, operations: Mapping[str, Operation], hear: Hear, batch: Batch, *, max_operations: int
    ) -> None:
        self.identity = identity
        self.list_began_ms: int | None = None
        self.list_is_whole = True
        self.request_id = request_id.get()
        self._operations = operations
        self._hear = hear
        self._batch = batch
        self._max_operations = max_operations
        self._tags: set[int] = set()
        # The last operation on each call or message: what comes next on it waits for this one.
        self._last: dict[tuple[str, str], Running] = {}
        self._results: list[bytes] = []
        self._commands: list[pb.Command] = []
        self._outgoing = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard.set_result(None)
        self._ended: TollgateError | None = None
        self._drained: TollgateError | None = None
        self._closing = False
        self._reading: asyncio.Task[None] | None = None

    def command(self, command: pb.Command) -> None:
        """Send a command with the next message."""
        if len(self._commands) >= MAX_COMMANDS:
            del self._commands[0]
        self._commands.append(command)
        self._outgoing.set()

    def end(self, error: TollgateError) -> None:
        """Read no more and end the stream with an error; what is in flight is finished, but no longer answered."""
        self._ended = error
        self._stop_reading()

    def drain(self, error: TollgateError) -> None:
        """Read no more, answer what is begun, then end the stream with an error."""
        self._drained = error
        self._stop_reading()

    def _stop_reading(self) -> None:
        # At once, not with the stream: a switch that does not read holds up its end as long as it likes.
        self._closing = True
        if self._reading is not None:
            self._reading.cancel()
        self._outgoing.set()

    async def run(self, context: Context) -> None:
        """Read and write until the switch closes its side and everything is answered.

        Raises:
            TollgateError: The stream broke a rule of streams, or was ended.
        """
        self._reading = asyncio.create_task(self._read(context))
        try:
            await self._write(context)
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._drained is not None:
            raise self._drained

    async def _read(self, context: Context) -> None:
        try:
            while True:
                await self._room.wait()
                request = await context.read()
                if not isinstance(request, pb.SessionRequest):  # grpc's end of file
                    break
                if len(request.operations) > self._max_operations:
                    raise InvalidArgument(
                        "operations",
                        f"has {len(request.operations)} entries, a batch has at most {self._max_operations}",
                    )
                self._begin_all(request)
                if request.HasField("live_calls"):
                    # Beside the operations, since a list is long; the next list waits for this one.
                    await self._heard
                    self._heard = asyncio.create_task(self._hear_list(request.live_calls))
        except TollgateError as error:
            self.end(error)
        finally:
            self._closing = True
            self._outgoing.set()

    async def _hear_list(self, live_calls: pb.LiveCalls) -> None:
        try:
            await self._hear(live_calls, self)
        except TollgateError as error:
            self.end(error)

    def _begin_all(self, request: pb.SessionRequest) -> None:
        kinds: list[str] = []
        # Those of this batch too: what needs no store is done by now, and two results of one tag say nothing.
        tags: set[int] = set()
        with self._batch():
            for operation in request.operations:
                tag, kind = operation.tag, operation.WhichOneof("operation")
                if tag in self._tags or tag in tags:
                    self._refuse(tag, "tag", f"{tag} is in flight already; give each operation a tag of its own")
                elif kind is None:
                    self._refuse(tag, "operation", "is empty; set one of authorize_call, answer_call, ...")
                else:
                    kinds.append(kind)
                    tags.add(tag)
                    self._begin(operation, tag, kind)
        self._check_room()
        for name, count in Counter(kinds).items():
            metrics.count_session_operations(name, count)

    def _begin(self, operation: pb.Operation, tag: int, kind: str) -> None:
        request = getattr(operation, kind)
        key = (request.office_id, request.message_id if "message" in kind else request.call_id)
        running = Running(self, tag, kind, key, request)
        self._tags.add(tag)
        before, self._last[key] = self._last.get(key), running
        if before is None:
            running.begin()
        else:
            before.after = running

    def work_on(self, running: Running) -> Coroutine[Any, Any, Any]:
        """An operation that begins now."""
        return self._operations[running.kind](running.request, self.identity)

    def finish(self, running: Running, result: bytes) -> Running | None:
        """Take the result of an operation; returns the one that waited for it."""
        if running.after is None:
            del self._last[running.key]
        self._tags.discard(running.tag)
        self._results.append(result)
        self._outgoing.set()
        return running.after

    def _refuse(self, tag: int, field: str, what: str) -> None:
        self._results.append(packed_error(tag, InvalidArgument(field, what)))
        self._outgoing.set()

    async def _write(self, context: Context) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            while self._ended is None and (self._results or self._commands):
                results = self._results[:_MESSAGE_ITEMS]
                commands, self._commands = self._commands[:_MESSAGE_ITEMS], self._commands[_MESSAGE_ITEMS:]
                await context.write(packed_response(results, commands))
                # Only now: a switch that does not read holds up this write, and what is in it still counts.
                del self._results[: len(results)]
                self._check_room()
            if self._ended is not None:
                raise self._ended
            if self._closing and not self._tags and not self._results:
                return

    def _check_room(self) -> None:
        if len(self._tags) + len(self._results) < MAX_IN_FLIGHT:
            self._room.set()
        else:
            self._room.clear()


class MakeSession(Protocol):
    """What makes Sessions: the class itself, or what adds to it."""

    def __call__(
        self, identity: Identity, operations: Mapping[str, Operation], hear: Hear, batch: Batch, *, max_operations: int
    ) -> Session:
        """A Session of a stream that has just been opened."""
        ...


def packed_error(tag: int, error: TollgateError) -> bytes:
    """The Result of an operation that could not be answered; counts it."""
    metrics.count_session_error(error.code)
    return packed_result(tag, "error", status_of(error))
