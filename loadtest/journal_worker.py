"""The journaler, put together as its process does it: `python -m loadtest.journal_worker`.

It journals when it is told to: `drain` takes what is there, `follow` begins to take what comes, `rest` ends that.
"""

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from time import perf_counter, process_time, thread_time
from typing import Any

import uvloop

from gateway.background.journaler import EVERY_SECONDS, Journaler
from gateway.background.loops import FIRST_PAUSE_SECONDS, Loop
from gateway.errors import Unavailable
from gateway.journaler import open_journaler, stand_behind
from gateway.log import configure_logging
from gateway.parent_watch import exit_with_parent
from gateway.settings import load_settings
from loadtest.control import serve_control


class Worker:
    """Journals when it is told to.

    Args:
        journaler: For all shards.
    """

    def __init__(self, journaler: Journaler) -> None:
        self._journaler = journaler
        self._loop = Loop("journaler", self._journaler.turn, EVERY_SECONDS)
        self._following: asyncio.Task[None] | None = None

    async def do(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked for."""
        match asked["do"]:
            case "drain":
                return await self._drain()
            case "follow":
                self._following = asyncio.create_task(self._loop.run())
                return {}
            case "rest":
                await self.rest()
                return {}
        raise ValueError(asked)

    async def rest(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
            self._following = None

    async def _drain(self) -> dict[str, Any]:
        started, own, all_threads = perf_counter(), thread_time(), process_time()
        retries, more = 0, True
        while more:
            try:
                more = await self._journaler.turn()
            except Unavailable:
                # As in its process: what was read comes again, a little later.
                retries += 1
                await asyncio.sleep(FIRST_PAUSE_SECONDS)
        own, all_threads = thread_time() - own, process_time() - all_threads
        # SQLite runs in threads of this process, and nothing else does.
        return {
            "seconds": perf_counter() - started,
            "journal_seconds": own,
            "sqlite_seconds": all_threads - own,
            "retries": retries,
        }


async def run() -> None:
    """Connect, and wait for what is to be done."""
    stand_behind()
    async with AsyncExitStack() as stack:
        parts = await open_journaler(load_settings(), stack)
        await parts.connection.wait_connected()
        await parts.clock.measure(parts.connection)
        worker = Worker(parts.journaler)
        stack.push_async_callback(worker.rest)
        await serve_control("journal", worker.do)


if __name__ == "__main__":
    exit_with_parent()
    configure_logging("warning", "console", process="journal")
    sys.exit(uvloop.run(run()))
