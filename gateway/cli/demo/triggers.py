"""The refill triggers as whoever charges cards hears of them, over WatchRefills."""

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.cli.demo.books import BooksError
from gateway.v1 import credits_pb2

if TYPE_CHECKING:
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

TRIGGER_SECONDS: Final = 10.0

Trigger: TypeAlias = credits_pb2.WatchRefillsResponse


@dataclass
class Triggers:
    """Each trigger, with the moment it was heard."""

    _heard: dict[str, asyncio.Future[tuple[Trigger, float]]] = field(default_factory=dict)

    async def watch(self, credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
        """Listen until cancelled."""
        async for trigger in credits.WatchRefills(credits_pb2.WatchRefillsRequest()):
            heard = perf_counter()
            future = self._future(trigger.refill_id)
            if not future.done():
                future.set_result((trigger, heard))

    async def of(self, refill_id: str) -> tuple[Trigger, float]:
        """The trigger of a refill, waited for, and when it was heard by perf_counter.

        Raises:
            BooksError: It did not come.
        """
        try:
            async with asyncio.timeout(TRIGGER_SECONDS):
                return await asyncio.shield(self._future(refill_id))
        except TimeoutError:
            raise BooksError(f"the trigger of {refill_id or 'no refill'} did not come") from None

    def _future(self, refill_id: str) -> asyncio.Future[tuple[Trigger, float]]:
        return self._heard.setdefault(refill_id, asyncio.get_running_loop().create_future())
