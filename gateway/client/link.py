"""Keeps one Session stream open: connects, sends what is ready once a turn, hands out what comes, connects anew.

Whatever became ready in one turn of the event loop leaves in one SessionRequest. While a write waits for room, and for
a millisecond while answers are owed, the next batch gathers. A stream that owes an answer and says nothing for
`stall_seconds` is given up; one on which nothing at all was said for `probe_seconds` is asked for a sign of life, since
its commands would be missed silently.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.client.errors import failure
from gateway.client.operations import Operations
from gateway.client.timing import Backoff, Clock, sleep
from gateway.client.transport import Stream, StreamBroken, Transport
from gateway.v1 import authorization_pb2 as pb

log = logging.getLogger(__name__)

PROBE_TAG: Final = 0
"""An Operation with nothing in it: the gateway answers at once that it is empty, and does nothing."""

_REFUSALS: Final = frozenset(
    {"UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
)

_STOPPING: Final = "STOPPING"
"""The reason with which a gateway that stops ends its streams, once all that it had begun is answered."""

_REFUSED_PAUSE_SECONDS: Final = 5.0
"""Before knocking again where the token was refused: it may be put in force again."""

_PART_PAUSE_SECONDS: Final = 0.02
"""Between the parts of a long list of live calls, so that operations get in between."""


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """The patience of a link, in seconds.

    Attributes:
        connect_seconds: For opening a connection.
        stall_seconds: Silence that is borne while an answer is owed. More than the gateway's store time-out (0.5 s).
        probe_seconds: Silence that is borne while none is.
        live_calls_seconds: How often the live calls are listed.
        coalescing_seconds: How long operations gather, behind a message that is not answered yet; the first one never
            waits. A message costs the gateway several times what an operation in it does.
    """

    connect_seconds: float = 2.0
    stall_seconds: float = 0.75
    probe_seconds: float = 5.0
    live_calls_seconds: float = 30.0
    coalescing_seconds: float = 0.001


class Link:
    """One stream at a time, for as long as `run` runs.

    Args:
        transport: Opens streams.
        operations: What is to be sent, and who waits for what.
        clock: Tells the time.
        random: Varies the pauses between attempts to connect.
        on_command: Takes every command that comes.
        list_calls: The parts of a list of the live calls, made anew for each list.
        times: The patience.
        max_batch: Operations in one message.
    """

    def __init__(
        self,
        transport: Transport,
        operations: Operations,
        clock: Clock,
        random: Random,
        *,
        on_command: Callable[[pb.Command], None],
        list_calls: Callable[[], AsyncIterator[pb.LiveCalls]],
        times: LinkTimes,
        max_batch: int,
    ) -> None:
        self._transport = transport
        self._operations = operations
        self._clock = clock
        self._on_command = on_command
        self._list_calls = list_calls
        self._times = times
        self._max_batch = max_batch
        self._backoff = Backoff(random)
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._connected = asyncio.Event()
        self._refused = asyncio.Event()
        self._parts: deque[pb.LiveCalls] = deque()
        self._probe_due = False
        self._leaving_since: float | None = None
        self._heard_at = 0.0
        self._owed_since: float | None = None
        self._closing = False
        operations.wake = self._wake.set

    @property
    def is_connected(self) -> bool:
        """Whether a gateway has answered on the stream that is open."""
        return self._connected.is_set()

    async def wait_connected(self, limit_seconds: float) -> bool:
        """Return whether a gateway answers, as soon as one does or refuses, or when the time is over."""
        waits = [
            asyncio.create_task(wait)
            for wait in (self._connected.wait(), self._refused.wait(), sleep(self._clock, limit_seconds))
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return self.is_connected

    def leave(self) -> None:
        """Finish what is in flight, end the stream, and open no other."""
        self._closing = True
        self._leave()

    async def run(self) -> None:
        """Keep a stream open until told to leave."""
        while not self._closing:
            pause = None
            try:
                stream = await self._transport.connect(self._times.connect_seconds)
                try:
                    await self._serve(stream)
                finally:
                    await stream.close()
                self._operations.disconnected("the gateway ended the stream", away=False)
            except StreamBroken as broken:
                if broken.code in _REFUSALS:
                    self._operations.refused(
                        failure(broken.code, broken.message, reason=broken.reason, field=broken.field)
                    )
                    self._refused.set()
                    pause = _REFUSED_PAUSE_SECONDS
                else:
                    self._operations.disconnected(str(broken), away=broken.reason != _STOPPING)
            except Exception:
                # Nobody would see this task die: all operations would only time out.
                log.exception("a stream failed; connecting again")
                self._operations.disconnected("the client failed; its log has the details")
            finally:
                self._connected.clear()
            if not self._closing:
                await sleep(self._clock, self._backoff.next_seconds() if pause is None else pause)

    async def _serve(self, stream: Stream) -> None:
        """Use a stream until it ends well.

        Raises:
            StreamBroken: It ended otherwise.
        """
        self._parts.clear()
        self._leaving_since = self._clock.monotonic() if self._closing else None
        self._heard_at = self._clock.monotonic()
        self._owed_since = None
        # The answer to the first probe says that the gateway has let us in.
        self._probe_due = True
        reading = asyncio.create_task(self._read(stream))
        others = [
            asyncio.create_task(part)
            for part in (self._list(), self._write(stream), self._watch(), self._follow_leaving(stream))
        ]
        waiting = {reading, *others}
        try:
            # Writing ends before reading does, when the stream is left; listing and following end by themselves.
            while not reading.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: task is not reading):
                    task.result()
        finally:
            for task in (reading, *others):
                task.cancel()
            await asyncio.gather(reading, *others, return_exceptions=True)

    async def _write(self, stream: Stream) -> None:
        while self._leaving_since is None:
            self._wake.clear()
            while self._leaving_since is None and (request := self._next_request()) is not None:
                await stream.write(request)
                await self._gather()
            if self._leaving_since is None:
                await self._wake.wait()
        await stream.done_writing()

    async def _gather(self) -> None:
        """Wait until everything is answered, but for a moment at most."""
        if self._operations.in_flight and self._times.coalescing_seconds:
            self._answered.clear()
            timer = self._clock.call_later(self._times.coalescing_seconds, self._answered.set)
            try:
                await self._answered.wait()
            finally:
                timer.cancel()

    def _next_request(self) -> pb.SessionRequest | None:
        probes = 1 if self._probe_due else 0
        request = pb.SessionRequest()
        self._operations.fill(request, self._max_batch - probes)
        if probes:
            self._probe_due = False
            request.operations.add(tag=PROBE_TAG)
        if self._parts:
            request.live_calls.CopyFrom(self._parts.popleft())
        if request.operations and self._owed_since is None:
            self._owed_since = self._clock.monotonic()
        return request if request.operations or request.HasField("live_calls") else None

    async def _read(self, stream: Stream) -> None:
        while (response := await stream.read()) is not None:
            self._heard_at = self._clock.monotonic()
            self._connected.set()
            self._refused.clear()
            self._backoff.reset()
            self._operations.connected()
            for result in response.results:
                self._operations.answer(result)
            for command in response.commands:
                self._on_command(command)
            self._owed_since = self._heard_at if self._operations.in_flight else None
            if not self._operations.in_flight:
                self._answered.set()

    async def _watch(self) -> None:
        """Give the stream up when it owes an answer for too long, and ask for one when it is silent."""
        limit = self._times.stall_seconds
        while True:
            await sleep(self._clock, limit / 3)
            now = self._clock.monotonic()
            for since in (self._owed_since, self._leaving_since):
                if since is not None and now - max(since, self._heard_at) >= limit:
                    raise StreamBroken("UNAVAILABLE", f"the gateway was silent for {limit:g} s")
            if self._owed_since is None and now - self._heard_at >= self._times.probe_seconds:
                self._probe_due = True
                self._wake.set()

    async def _list(self) -> None:
        """List the live calls at once, and then again and again."""
        while True:
            began = self._clock.monotonic()
            async for part in self._list_calls():
                self._parts.append(part)
                self._wake.set()
                if part.more:
                    await sleep(self._clock, _PART_PAUSE_SECONDS)
            spent = self._clock.monotonic() - began
            await sleep(self._clock, max(0.0, self._times.live_calls_seconds - spent))

    async def _follow_leaving(self, stream: Stream) -> None:
        await stream.leaving()
        self._leave()

    def _leave(self) -> None:
        if self._leaving_since is None:
            self._leaving_since = self._clock.monotonic()
        self._answered.set()
        self._wake.set()
