"""One pipelined connection to one server of the store, at a few microseconds a command.

Commands of one turn of the event loop leave in one write, and replies are parsed by hiredis as they come: 3 us of CPU
a call at 64 in flight, where redis-py's asyncio client takes 38. Everything that is not the hot path (admin reads,
subscriptions) uses redis-py or a plain stream.

What the ugly parts gain is said where they stand. What they keep: replies come in the order of the commands, so the
queue of what is waited for is a deque, and what timed out stays in it until its reply has passed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final, cast

import hiredis

from gateway.store.faults import StoreUnavailable

_LATE_SECONDS: Final = 0.05
_READ_FIRST_SECONDS: Final = 0.01

_ENOUGH: Final = 32
"""Commands that are worth a write before the turn is over: of a large batch the store answers the first ones while the
others are still being decided: 3 to 9 % more at 64 and 512 in flight. By 8 or 16 at a time each costs more."""


class Reply(asyncio.Future[Any]):
    """What the store will have answered to one command.

    Attributes:
        resume: Called as soon as the reply is there, in the same turn of the event loop; whoever awaits the reply in a
            task leaves it None. Waking a task takes a turn of its own, and most of the 7 us that a task costs.
        sent_at: When it was sent, by the loop's clock.
        redirections: How often it was sent on to another server.
        command: As packed, to be sent again where the server had lost the library or the key lives elsewhere; None: it
            stands and falls with others (a transaction), and is never sent again.
    """

    __slots__ = ("command", "redirections", "resume", "sent_at")

    resume: Callable[[], None] | None
    sent_at: float
    redirections: int
    command: bytes | None

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


class Wire(asyncio.Protocol):
    """One TCP or unix connection: bytes out once a turn, replies in order.

    Args:
        loop: The running one.
        timeout_seconds: How long one reply may take. A connection that owes one for four times as long is closed.
        refuse: Told of each reply that is an error and of whom it was for.

    Attributes:
        lost: Done when the connection is gone; says why.
        holds: While it is set, commands wait for `flush`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout_seconds: float,
        refuse: Callable[[Reply, hiredis.ReplyError], None],
    ) -> None:
        self._loop = loop
        self._timeout = timeout_seconds
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

    def send(self, packed: bytes, again: bytes | None) -> Reply:
        """Send a packed command in the next flush; `again` is what `Reply.command` is to be."""
        reply = Reply(loop=self._loop)
        reply.resume, reply.redirections, reply.command = None, 0, again
        self.deliver(packed, reply)
        return reply

    def deliver(self, packed: bytes, reply: Reply) -> None:
        """Send a packed command for somebody who waits already."""
        if self._transport is None:
            reply.settle(StoreUnavailable("not connected"))
            return
        if not self._outgoing:
            # One write a turn of the loop: at 64 in flight this is what makes 93,000 commands a second of 26,000. And
            # one look at the clock, which is late by at most that turn.
            self._flushed_at = self._loop.time()
            if not self.holds:
                self._loop.call_soon(self.flush)
        self._outgoing.append(packed)
        reply.sent_at = self._flushed_at
        self._waiting.append(reply)
        if len(self._outgoing) >= _ENOUGH:
            self.flush()
        if self._watch is None:
            self._watch_in(self._timeout)

    def flush(self) -> None:
        """Write what waits to be written."""
        if not self._outgoing:
            return
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))

    def close(self, why: str) -> None:
        """Close the connection; what is waited for fails with `StoreUnavailable`."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """By the event loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, but by its methods

    def connection_lost(self, exc: Exception | None) -> None:
        """By the event loop."""
        self._fail(str(exc) if exc else "closed by the store")

    def data_received(self, data: bytes) -> None:
        """By the event loop: hand out the replies."""
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while True:
            reply = reader.gets()
            if reply is False:
                return
            waiter = waiting.popleft()
            if not isinstance(reply, hiredis.ReplyError):
                waiter.settle(reply)
            elif not waiter.done():
                self._refuse(waiter, reply)

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
