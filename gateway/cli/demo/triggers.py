"""The refill triggers as anybody may hear of them, over WatchRefills."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.cli.demo.books import BooksError
from gateway.v1 import credits_pb2

if TYPE_CHECKING:
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

TRIGGER_SECONDS: Final = 30.0
"""The live act waits for a dip that is some seconds of talk away."""

Trigger: TypeAlias = credits_pb2.WatchRefillsResponse


@dataclass(frozen=True, slots=True)
class Dip:
    """An office's funds went below its threshold.

    Attributes:
        trigger: What was asked for.
        heard: When, by perf_counter.
    """

    trigger: Trigger
    heard: float


class Triggers:
    """The first dip of each office from now on: no office of the demo has two."""

    def __init__(self) -> None:
        # A data directory that is used again also has the triggers of earlier demos.
        self._since = datetime.now(UTC)
        self._dips: dict[str, asyncio.Future[Dip]] = {}

    async def watch(self, credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
        """Listen until cancelled."""
        async for trigger in credits.WatchRefills(credits_pb2.WatchRefillsRequest()):
            heard = perf_counter()
            future = self._future(trigger.office_id)
            if trigger.triggered_at.ToDatetime(UTC) >= self._since and not future.done():
                future.set_result(Dip(trigger, heard))

    async def of(self, office_id: str) -> Dip:
        """The dip of an office, waited for.

        Raises:
            BooksError: It did not come.
        """
        try:
            async with asyncio.timeout(TRIGGER_SECONDS):
                return await asyncio.shield(self._future(office_id))
        except TimeoutError:
            raise BooksError(f"the refill trigger of {office_id} did not come") from None

    def _future(self, office_id: str) -> asyncio.Future[Dip]:
        return self._dips.setdefault(office_id, asyncio.get_running_loop().create_future())
