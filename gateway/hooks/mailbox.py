"""The commands that wait for one switch: the newest of each call, posted until the switch says that it has it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway import metrics
from gateway.hooks.callback_client import NotAnswered
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 4_096
"""Calls with a command waiting; the oldest gives way, since a cut is raised again until EndCall."""

AT_ONCE: Final = 16
"""Posts to one switch that are under way."""

GIVE_UP_SECONDS: Final = 30.0
"""How long a command is posted again after it was raised last; a cut is raised every 5 s until EndCall."""

PAUSES_SECONDS: Final = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Before the second attempt and the ones after; the last for all that follow. The first is none: the switch may just
have closed a connection that it kept open."""

Post = Callable[[pb.Command], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    command: pb.Command
    raised_at: float


class Mailbox:
    """Commands on their way to one switch.

    Of one call only the newest is of use: a warning says nothing any more once the call is to be cut. So a call has one
    post under way at most, and they arrive in their order.

    Args:
        switch_id: For the log.
        post: Posts a command; raises NotAnswered.
    """

    def __init__(self, switch_id: str, post: Post) -> None:
        self._switch_id = switch_id
        self._post = post
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._posting: set[tuple[str, str]] = set()
        self._workers: set[asyncio.Task[None]] = set()

    def put(self, command: pb.Command) -> None:
        """Take a command; raised again while it waits, it waits for longer, and is not posted twice."""
        call, now = (command.office_id, command.call_id), asyncio.get_running_loop().time()
        if call not in self._waiting and len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[call] = _Waiting(command, now)
        # One that is done stays in the set for a turn of the loop, and takes nothing any more.
        if sum(not worker.done() for worker in self._workers) < AT_ONCE:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def settled(self) -> None:
        """Wait until everything is posted or given up."""
        while self._workers:
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def close(self) -> None:
        """Give up what waits."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while (call := next((call for call in self._waiting if call not in self._posting), None)) is not None:
            self._posting.add(call)
            try:
                await self._deliver(call)
            finally:
                self._posting.discard(call)

    async def _deliver(self, call: tuple[str, str]) -> None:
        """Post what is newest for a call, until there is nothing more or it is given up."""
        loop, attempt = asyncio.get_running_loop(), 0
        while (waiting := self._waiting.get(call)) is not None:
            kind = waiting.command.WhichOneof("command") or ""
            try:
                await self._post(waiting.command)
            except NotAnswered as error:
                metrics.count_callback(kind, "failed")
                if loop.time() - waiting.raised_at > GIVE_UP_SECONDS:
                    log.warning("command_given_up", switch_id=self._switch_id, kind=kind, error=str(error))
                    self._forget(call, waiting)
                    continue
                await asyncio.sleep(PAUSES_SECONDS[min(attempt, len(PAUSES_SECONDS) - 1)])
                attempt += 1
            else:
                metrics.count_callback(kind, "answered")
                self._forget(call, waiting)

    def _forget(self, call: tuple[str, str], done: _Waiting) -> None:
        now = self._waiting.get(call)
        # What was raised meanwhile is another command, or the same once more, which is as good as told.
        if now is not None and now.command.command_id == done.command.command_id:
            del self._waiting[call]
