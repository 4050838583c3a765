"""The operations that are under way: which may be sent, which are in flight, and how each ends.

An operation is repeatable by its own id (that is the contract's design), so whatever was in flight on a stream that
broke is sent again on the next one, until its deadline. What the gateway could not answer (UNAVAILABLE,
RESOURCE_EXHAUSTED) is asked again after a pause. Every other error is final and goes to whoever asked.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from google.protobuf.message import Message

from gateway.client.deadlines import Deadlines
from gateway.client.errors import (
    ClientBusy,
    ClientError,
    GatewayUnavailable,
    InvalidArgument,
    OperationFailed,
    failure_of,
)
from gateway.client.timing import Backoff, Clock, Timer
from gateway.client.tracing import current_traceparent
from gateway.v1 import authorization_pb2 as pb

MAX_REQUEST_BYTES: Final = 16_384
"""The largest lawful request has some 700; one that is larger would only cost the others their stream."""

MAX_BATCH_BYTES: Final = 1 << 20
"""gRPC refuses a message of 4 MiB."""

_FIRST_RETRY_SECONDS: Final = 0.05
_LAST_RETRY_SECONDS: Final = 1.0

Line = tuple[str, str, str]
"""What operations keep their order on: a call or message, its office and its id."""


@dataclass(eq=False, slots=True)
class Operation:
    """One operation on its way.

    Attributes:
        kind: Its name in an Operation's oneof.
        request: What is asked.
        line: The call or message that it is about; None: its order does not matter.
        deadline: In seconds of the monotonic clock.
        size: Of the request, in bytes.
        retries: Whether it is sent again when a stream breaks or the gateway cannot answer.
        future: Its response, or the ClientError it ended with.
        tag: Of its latest sending.
        traceparent: The span of whoever asked; empty: there is none.
        may_have_happened: Whether it was sent and nobody knows what became of it.
        problem: Why it was not answered so far.
    """

    kind: str
    request: Message
    line: Line | None
    deadline: float
    size: int
    retries: bool
    future: asyncio.Future[Any]
    tag: int = 0
    traceparent: str = ""
    may_have_happened: bool = False
    problem: str = ""
    finished: bool = False
    backoff: Backoff | None = field(default=None, repr=False)
    rest: Timer | None = field(default=None, repr=False)


class Operations:
    """All operations of one client.

    Args:
        clock: Tells the time.
        random: Varies the pauses before an operation is asked again.
        max_pending: Operations under way at once; more are refused.
    """

    def __init__(self, clock: Clock, random: Random, *, max_pending: int) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to send."""
        self._clock = clock
        self._random = random
        self._max_pending = max_pending
        self._deadlines: Deadlines[Operation] = Deadlines(clock, self._expire)
        # Operations in line behind the first are not sent before that one has ended.
        self._lines: dict[Line, deque[Operation]] = {}
        self._ready: deque[Operation] = deque()
        self._flight: dict[int, Operation] = {}
        self._pending = 0
        self._tag = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._away = ""
        self._refusal: OperationFailed | None = None

    @property
    def in_flight(self) -> int:
        """Operations sent and not answered, on the stream that is open now."""
        return len(self._flight)

    @property
    def pending(self) -> int:
        """Operations under way, sent or not."""
        return self._pending

    @property
    def problem(self) -> str:
        """Why there is no stream; empty: there is one, or none was tried yet."""
        return self._away

    def raise_refusal(self) -> None:
        """Raise what the gateway said to this client when it did not let it in.

        Raises:
            OperationFailed: As it said; nothing if it did not.
        """
        if self._refusal is not None:
            raise _again(self._refusal)

    async def wait_idle(self) -> None:
        """Return when nothing is under way."""
        await self._idle.wait()

    def submit(
        self, kind: str, request: Message, line: Line | None, *, limit_seconds: float, retries: bool
    ) -> Operation:
        """Take an operation on; it ends within the limit, one way or the other.

        Raises:
            ClientBusy: There are too many.
            GatewayUnavailable: It is not to be retried, and there is no stream now.
            OperationFailed: The gateway does not let this client in, or the request is too large.
        """
        if not 0 < limit_seconds <= 86_400:
            raise ValueError(f"deadline_seconds: {limit_seconds} is not within 0 to 86,400")
        self.raise_refusal()
        if self._away and not retries:
            raise GatewayUnavailable(f"{kind} was not sent: {self._away}")
        if self._pending >= self._max_pending:
            raise ClientBusy(f"{kind} was not sent: {self._pending:,} operations are under way; {self._why_busy()}")
        size = request.ByteSize()
        if size > MAX_REQUEST_BYTES:
            raise InvalidArgument(
                "INVALID_ARGUMENT", f"the request has {size:,} bytes, at most {MAX_REQUEST_BYTES:,} are sent"
            )
        future = asyncio.get_running_loop().create_future()
        operation = Operation(kind, request, line, self._clock.monotonic() + limit_seconds, size, retries, future)
        operation.traceparent = current_traceparent()
        self._pending += 1
        self._idle.clear()
        self._deadlines.add(operation, operation.deadline)
        if line is not None:
            others = self._lines.setdefault(line, deque())
            others.append(operation)
            if len(others) > 1:
                return operation
        self._make_ready(operation)
        return operation

    def withdraw(self, operation: Operation) -> None:
        """Nobody waits for an operation any longer; if it was sent, what comes back is ignored."""
        self._finish(operation)

    def fill(self, request: pb.SessionRequest, max_operations: int) -> None:
        """Put what is to be sent now into a request; it is in flight from here on."""
        count = size = 0
        while self._ready and count < max_operations and size < MAX_BATCH_BYTES:
            operation = self._ready.popleft()
            if operation.finished:
                continue
            # A new tag a sending: a late answer to an earlier one is not taken for this one's.
            self._tag += 1
            operation.tag = self._tag
            self._flight[operation.tag] = operation
            message = request.operations.add(tag=operation.tag)
            getattr(message, operation.kind).CopyFrom(operation.request)
            if operation.traceparent:
                message.traceparent = operation.traceparent
            count += 1
            size += operation.size

    def answer(self, result: pb.Result) -> None:
        """Hand a result to whoever waits for it; nobody may."""
        operation = self._flight.pop(result.tag, None)
        if operation is None:
            return
        kind = result.WhichOneof("result")
        if kind == operation.kind:
            self._end(operation, getattr(result, kind))
            return
        error = failure_of(result.error)
        if error.code not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
            self._end(operation, error)
            return
        operation.problem = str(error)
        if error.code == "UNAVAILABLE":
            operation.may_have_happened = True
        if operation.retries:
            self._rest(operation)
        else:
            self._end(operation, self._given_up(operation))

    def connected(self) -> None:
        """A gateway answers."""
        self._away = ""
        self._refusal = None

    def disconnected(self, why: str, *, away: bool = True) -> None:
        """There is no stream: what was in flight on it is sent first on the next one.

        Args:
            why: For whoever gives up.
            away: False: the gateway answered all that it had begun before it ended the stream, and another is opened at
                once. What is left did not happen, so it is sent there even if it is not to be retried.
        """
        lost = list(self._flight.values())
        self._flight.clear()
        ready = [operation for operation in self._ready if not operation.finished]
        self._ready.clear()
        if away:
            self._away = why
            for operation in lost:
                operation.may_have_happened = True
        for operation in (*lost, *ready):
            operation.problem = why
            if operation.retries or not away:
                self._ready.append(operation)
            else:
                self._end(operation, self._given_up(operation))

    def refused(self, error: OperationFailed) -> None:
        """The gateway does not let this client in: nothing can be asked until it does."""
        self._away = str(error)
        self._refusal = error
        self.fail_all(error)

    def fail_all(self, error: ClientError) -> None:
        """End all that is under way."""
        for operation in [*self._flight.values(), *self._ready, *self._waiting()]:
            if isinstance(error, GatewayUnavailable):
                sent = operation.may_have_happened or operation.tag in self._flight
                self._end(operation, type(error)(str(error), ambiguous=sent))
            elif isinstance(error, OperationFailed):
                self._end(operation, _again(error))

    def close(self) -> None:
        """Stop all timers."""
        self._deadlines.close()

    def _waiting(self) -> list[Operation]:
        """What is in line or rests."""
        return [operation for line in self._lines.values() for operation in line]

    def _make_ready(self, operation: Operation) -> None:
        operation.rest = None
        self._ready.append(operation)
        self.wake()

    def _rest(self, operation: Operation) -> None:
        if operation.backoff is None:
            operation.backoff = Backoff(self._random, _FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        operation.rest = self._clock.call_later(
            operation.backoff.next_seconds(), lambda: None if operation.finished else self._make_ready(operation)
        )

    def _expire(self, operation: Operation) -> None:
        self._end(operation, self._given_up(operation))

    def _given_up(self, operation: Operation) -> GatewayUnavailable:
        ambiguous = operation.may_have_happened or operation.tag in self._flight
        outcome = "may or may not have happened, so repeat it with the same id" if ambiguous else "did not happen"
        problem = operation.problem or self._away or "no answer in time"
        return GatewayUnavailable(f"{operation.kind} {outcome}: {problem}", ambiguous=ambiguous)

    def _end(self, operation: Operation, outcome: object) -> None:
        if operation.finished:
            return
        if not operation.future.done():
            if isinstance(outcome, BaseException):
                operation.future.set_exception(outcome)
            else:
                operation.future.set_result(outcome)
        self._finish(operation)

    def _finish(self, operation: Operation) -> None:
        if operation.finished:
            return
        operation.finished = True
        self._deadlines.discard(operation, operation.deadline)
        if operation.rest is not None:
            operation.rest.cancel()
        self._flight.pop(operation.tag, None)
        self._pending -= 1
        if operation.line is not None:
            self._leave_line(operation, operation.line)
        if not self._pending:
            self._idle.set()

    def _leave_line(self, operation: Operation, key: Line) -> None:
        line = self._lines[key]
        was_first = line[0] is operation
        line.remove(operation)
        if not line:
            del self._lines[key]
        elif was_first:
            self._make_ready(line[0])

    def _why_busy(self) -> str:
        return self._away or "the gateway is slower than what is asked"


def _again(error: OperationFailed) -> OperationFailed:
    """The same error for somebody else: an exception that is raised twice gathers the tracebacks of both."""
    return type(error)(error.code, error.message, reason=error.reason, field=error.field)
