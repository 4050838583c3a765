"""The Session stream: batches of operations in, batches of results and commands out.

Many operations are in flight at once. They share one flush of pipelined scripts a turn of the event loop
(gateway/store/connection.py) and one stream message a turn: results gather while the message before is being written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from gateway import metrics
from gateway.api.runner import ServicerContext, status_of
from gateway.domain.identity import Identity
from gateway.errors import Internal, InvalidArgument, TollgateError
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

MAX_IN_FLIGHT: Final = 4_096
"""Operations of one Session that are begun, or answered and not yet written. A client that sends more, or that does not
read its results, is not read from until there is room: its stream waits, nobody else notices."""

MAX_COMMANDS: Final = 4_096
"""Commands waiting to be written; the oldest give way, since a command is repeated until EndCall."""

_MESSAGE_ITEMS: Final = 1_000

Operation = Callable[[Any, Identity], Awaitable[Any]]
Hear = Callable[[pb.LiveCalls, "Session"], Awaitable[None]]
Context = ServicerContext[pb.SessionRequest, pb.SessionResponse]


class Session:
    """One stream of one switch.

    Args:
        identity: Of the stream; its switch_id says whose calls are authorized here.
        operations: How each of an Operation's oneof is answered.
        hear: Takes the switch's live calls.
        max_operations: Allowed in one batch.

    Attributes:
        list_began_ms: When the list of live calls began that is still coming in, in Unix milliseconds; None: none is.
        list_is_whole: Whether all of that list so far was heard.
    """

    def __init__(
        self, identity: Identity, operations: Mapping[str, Operation], hear: Hear, *, max_operations: int
    ) -> None:
        self.identity = identity
        self.list_began_ms: int | None = None
        self.list_is_whole = True
        self._operations = operations
        self._hear = hear
        self._max_operations = max_operations
        self._tags: set[int] = set()
        # The last operation begun on each call or message: what comes next on it waits for this one.
        self._last: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._results: list[pb.Result] = []
        self._commands: list[pb.Command] = []
        self._outgoing = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        # Kept, since asking for the running loop is a system call in Python 3.11, and this is done for every operation.
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Future[None] = self._loop.create_future()
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
        """End the stream with an error; what is in flight is finished, but no longer answered."""
        self._ended = error
        self._outgoing.set()

    def drain(self, error: TollgateError) -> None:
        """Read no more, answer what is begun, then end the stream with an error."""
        self._drained = error
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
                for operation in request.operations:
                    self._begin(operation)
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

    def _begin(self, operation: pb.Operation) -> None:
        tag, kind = operation.tag, operation.WhichOneof("operation")
        if tag in self._tags:
            self._refuse(
                tag, InvalidArgument("tag", f"{tag} is in flight already; give each operation a tag of its own")
            )
            return
        if kind is None:
            self._refuse(tag, InvalidArgument("operation", "is empty; set one of authorize_call, answer_call, ..."))
            return
        request = getattr(operation, kind)
        key = (request.office_id, request.message_id if "message" in kind else request.call_id)
        self._tags.add(tag)
        metrics.count_session_operation(kind)
        # A task an operation costs some 7 us, a tenth of all, and keeps each of them as plain to read as the unary way.
        task = self._loop.create_task(self._run(tag, kind, request, key, self._last.get(key)))
        self._last[key] = task
        self._check_room()

    async def _run(
        self, tag: int, kind: str, request: Any, key: tuple[str, str], before: "asyncio.Task[None] | None"
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        try:
            response = await self._operations[kind](request, self.identity)
            result = pb.Result(tag=tag, **{kind: response})
        except TollgateError as error:
            result = pb.Result(tag=tag, error=status_of(error))
        except Exception:
            log.exception("an operation of a Session failed", operation=kind)
            result = pb.Result(tag=tag, error=status_of(Internal()))
        if self._last.get(key) is asyncio.current_task(self._loop):
            del self._last[key]
        self._tags.discard(tag)
        self._results.append(result)
        self._outgoing.set()

    def _refuse(self, tag: int, error: TollgateError) -> None:
        self._results.append(pb.Result(tag=tag, error=status_of(error)))
        self._outgoing.set()
        self._check_room()

    async def _write(self, context: Context) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            while self._ended is None and (self._results or self._commands):
                results = self._results[:_MESSAGE_ITEMS]
                commands, self._commands = self._commands[:_MESSAGE_ITEMS], self._commands[_MESSAGE_ITEMS:]
                await context.write(pb.SessionResponse(results=results, commands=commands))
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
