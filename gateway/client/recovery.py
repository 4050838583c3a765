"""Works through the calls that a gateway has lost, to make them known again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

MAX_WORKERS: Final = 64
"""Calls made known again at once. A store that lost everything makes all calls unknown together."""


class Recovery:
    """Works on a set of calls, each once at a time, a bounded number at once.

    Args:
        recover: Makes one call known again, and deals with its own errors.
    """

    def __init__(self, recover: Callable[[tuple[str, str], str], Awaitable[None]]) -> None:
        self._recover = recover
        self._waiting: dict[tuple[str, str], str] = {}
        self._working: set[tuple[str, str]] = set()
        self._workers: set[asyncio.Task[None]] = set()

    def add(self, call: tuple[str, str], command_id: str) -> None:
        """See to a call, unless that is being done."""
        if call in self._working:
            return
        self._waiting[call] = command_id
        if len(self._workers) < MAX_WORKERS:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self) -> None:
        """Stop; what is not done is asked for again by the gateway."""
        self._waiting.clear()
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            call = next(iter(self._waiting))
            command_id = self._waiting.pop(call)
            self._working.add(call)
            try:
                await self._recover(call, command_id)
            except Exception:
                log.exception("a call could not be made known again: %r", call)
            finally:
                self._working.discard(call)
