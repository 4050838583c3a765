"""What unit tests of gateway.client need: a clock that they move, and streams that they play the gateway on."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.client import Client, LinkTimes
from gateway.client.link import PROBE_TAG
from gateway.client.transport import Stream, StreamBroken
from gateway.v1 import authorization_pb2 as pb

UNIX_START = 1_800_000_000.0
CODES = {"NOT_FOUND": 5, "INVALID_ARGUMENT": 3, "UNAVAILABLE": 14, "RESOURCE_EXHAUSTED": 8, "ALREADY_EXISTS": 6}


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = count()

    def monotonic(self) -> float:
        return self._now

    def unix(self) -> float:
        return UNIX_START + self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass; every timer fires at its own moment, and what follows from it happens then."""
        until = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= until:
            self._now = max(self._now, self._timers[0][0])
            fired = heapq.heappop(self._timers)[2]
            if fired.callback is not None:
                fired.callback()
                await settle()
        self._now = until
        await settle()


class FakeStream:
    """A stream with the test as the gateway.

    Attributes:
        sent: The requests, as they came.
    """

    def __init__(self, answer: Callable[[pb.Operation], pb.Result | None] | None = None) -> None:
        self.sent: list[pb.SessionRequest] = []
        self.is_closed = False
        self.is_half_closed = False
        self._answer = answer
        self._incoming: asyncio.Queue[pb.SessionResponse | StreamBroken | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def operations(self) -> list[pb.Operation]:
        """What was asked, without signs of life."""
        return [operation for request in self.sent for operation in request.operations if operation.tag != PROBE_TAG]

    @property
    def lists(self) -> list[pb.LiveCalls]:
        return [request.live_calls for request in self.sent if request.HasField("live_calls")]

    @property
    def probes(self) -> int:
        return sum(operation.tag == PROBE_TAG for request in self.sent for operation in request.operations)

    def respond(self, *results: pb.Result, commands: tuple[pb.Command, ...] = ()) -> None:
        self._incoming.put_nowait(pb.SessionResponse(results=results, commands=commands))

    def break_off(self, code: str = "UNAVAILABLE", message: str = "cut", reason: str = "") -> None:
        self._incoming.put_nowait(StreamBroken(code, message, reason))

    def end(self) -> None:
        self._incoming.put_nowait(None)

    def ask_to_leave(self) -> None:
        self._left.set()

    def block(self) -> None:
        self._room.clear()

    def unblock(self) -> None:
        self._room.set()

    async def write(self, request: pb.SessionRequest) -> None:
        await self._room.wait()
        self.sent.append(request)
        if self._answer is None:
            return
        results = [self._answer(operation) for operation in request.operations if operation.tag != PROBE_TAG]
        probes = [pb.Result(tag=PROBE_TAG) for operation in request.operations if operation.tag == PROBE_TAG]
        known = [result for result in results if result is not None]
        if known or probes:
            self.respond(*probes, *known)

    async def read(self) -> pb.SessionResponse | None:
        response = await self._incoming.get()
        if isinstance(response, StreamBroken):
            raise response
        return response

    async def done_writing(self) -> None:
        self.is_half_closed = True
        if self._answer is not None:
            self.end()

    async def leaving(self) -> None:
        await self._left.wait()

    async def close(self) -> None:
        self.is_closed = True


class FakeTransport:
    """Hands out streams: those that were put in first, then ones made anew.

    Attributes:
        streams: Those that were handed out.
        attempts: When somebody tried to connect, by the clock.
        is_down: Nothing answers.
    """

    def __init__(self, clock: FakeClock, answer: Callable[[pb.Operation], pb.Result | None] | None = None) -> None:
        self.streams: list[FakeStream] = []
        self.attempts: list[float] = []
        self.is_down = False
        self.answer = answer
        self._clock = clock
        self._next: deque[FakeStream] = deque()

    async def connect(self, limit_seconds: float) -> Stream:
        self.attempts.append(self._clock.monotonic())
        if self.is_down:
            raise StreamBroken("UNAVAILABLE", "nothing answers")
        stream = FakeStream(self.answer)
        self.streams.append(stream)
        return stream

    @property
    def stream(self) -> FakeStream:
        """The latest one."""
        return self.streams[-1]


def granted(operation: pb.Operation) -> pb.Result:
    """Answer an operation as a gateway with boundless funds would."""
    kind = operation.WhichOneof("operation") or ""
    fields: dict[str, dict[str, Any]] = {
        "authorize_call": {"decision": pb.GRANTED, "reason": pb.FUNDED, "granted_seconds": 60},
        "authorize_message": {"decision": pb.GRANTED, "reason": pb.FUNDED},
    }
    response = getattr(pb, "".join(word.title() for word in kind.split("_")) + "Response")(**fields.get(kind, {}))
    arguments: dict[str, Any] = {kind: response}
    return pb.Result(tag=operation.tag, **arguments)


def failed(operation: pb.Operation, code: str, reason: str = "", field: str = "") -> pb.Result:
    status = Status(code=CODES[code], message=f"said the gateway: {code}")
    status.details.add().Pack(ErrorInfo(reason=reason, domain="tollgate", metadata={"field": field} if field else {}))
    return pb.Result(tag=operation.tag, error=status)


async def close(client: Client, clock: FakeClock) -> None:
    """Close a client, however long that takes."""
    closing = asyncio.create_task(client.close())
    await clock.advance(100.0)
    await closing


AT_ONCE = LinkTimes(coalescing_seconds=0.0)
"""Nothing waits for more to gather, so that a test need not move the clock to see it sent."""


@asynccontextmanager
async def open_client(
    answer: Callable[[pb.Operation], pb.Result | None] | None = granted,
    *,
    is_down: bool = False,
    times: LinkTimes = AT_ONCE,
    **options: Any,
) -> AsyncIterator[tuple[Client, FakeTransport, FakeClock]]:
    """A client on streams that the test holds, with a clock that it moves and a seeded chance."""
    clock = FakeClock()
    transport = FakeTransport(clock, answer)
    transport.is_down = is_down
    client = Client("nowhere", "token", clock=clock, random=Random(1), transport=transport, times=times, **options)
    async with client:
        await settle()
        try:
            yield client, transport, clock
        finally:
            await close(client, clock)
