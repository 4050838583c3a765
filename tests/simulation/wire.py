"""A gateway's connection to the store through which nothing passes before the simulation lets it.

What a gateway sends waits in a queue, as it would in a socket. The simulation takes the queues of all gateways on in an
order of its own choosing and runs each command on the real store; so two gateways interleave in any way, and the order
is known. A queue also outlives its gateway: what was in the socket of a process that died may still be carried out.
"""

import asyncio
from collections import deque
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import hiredis

from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable, translated
from gateway.store.location import StoreLocation
from gateway.store.scripts import Library
from gateway.store.wire import Reply

if TYPE_CHECKING:
    from tests.simulation.stream import Asked, List

NOWHERE: Final = StoreLocation.parse("redis://127.0.0.1:1/0")

OPERATION: Final[ContextVar["Asked | List | None"]] = ContextVar("OPERATION", default=None)
"""What a switch asked on whose behalf a gateway is at work."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A command on its way, and who waits for its reply."""

    command: tuple[bytes | str | int, ...]
    reply: Reply
    on_behalf: "Asked | List | None"
    context: Context

    def settle(self, value: Any) -> None:
        """Reply; who waits without a task of its own goes on here and now, as who it was when it sent."""
        if isinstance(value, hiredis.ReplyError):
            value = translated(value)
        self.context.copy().run(self.reply.settle, value)


class Wire(StoreConnection):
    """The connection of a simulated gateway; what it does with replies and errors is the real one's.

    Attributes:
        queue: Sent and not carried out yet, in order.
        is_up: Whether commands can be sent.
    """

    def __init__(self, library: Library) -> None:
        super().__init__(NOWHERE, library)
        self.queue: deque[Sent] = deque()
        self.is_up = True

    @property
    def is_connected(self) -> bool:
        return self.is_up

    async def wait_connected(self) -> None:
        assert self.is_up, "nothing that waits for a connection runs here"

    def send(self, *command: bytes | str | int) -> Reply:
        if not self.is_up:
            _note_failure(OPERATION.get())
            raise StoreUnavailable("not connected")
        reply = Reply(loop=asyncio.get_running_loop())
        reply.resume = None
        self.queue.append(Sent(command, reply, OPERATION.get(), copy_context()))
        return reply

    def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Reply:
        return self.send("FCALL", self._library.functions[operation], len(keys), *keys, *args)

    def time_out(self) -> bool:
        """Everybody gives up waiting, but what was sent stays on its way; returns whether anybody was waiting."""
        waiting = [sent for sent in self.queue if not sent.reply.done()]
        for sent in waiting:
            _note_failure(sent.on_behalf)
            sent.settle(StoreUnavailable("no reply in time"))
        return bool(waiting)

    def abandon(self, still_arriving: int) -> list[Sent]:
        """Nothing can be sent any longer, and nobody is there to hear; returns what the store gets all the same."""
        self.is_up = False
        for sent in self.queue:
            sent.reply.cancel()
        arriving = list(self.queue)[:still_arriving]
        self.queue.clear()
        return arriving

    def cut(self, still_arriving: int) -> list[Sent]:
        """The connection breaks, and whoever waits is told so: at once, and so is whoever goes on to send for it."""
        self.is_up = False
        self.time_out()
        return self.abandon(still_arriving)


def _note_failure(on_behalf: "Asked | List | None") -> None:
    if on_behalf is not None:
        on_behalf.was_answered = False
