"""The offices that are low on funds, asked for seldom and beside the rest: there may be many."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from gateway.cli.pages import pages_of
from gateway.client_channel import fault_of
from gateway.page.formats import is_low
from gateway.v1 import credits_pb2 as pb

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

EVERY_SECONDS: Final = 15.0
MOST: Final = 10_000
"""Offices that are looked at; each thousand is a page that the back has to make."""


@dataclass(frozen=True, slots=True)
class OfficeSight:
    """The offices when they were last looked at.

    Attributes:
        offices: How many were looked at.
        all_seen: Whether those are all.
        low: Those that have less than their refill waits for, or would, the emptiest first.
        pending: Refills that are asked for and not through.
        waiting: Refills that are tried again later.
        why_not: Why they could not be looked at; empty: they were.
    """

    offices: int = 0
    all_seen: bool = True
    low: Sequence[pb.Office] = ()
    pending: int = 0
    waiting: int = 0
    why_not: str = ""


class OfficeWatch:
    """Looks at the offices again and again, until it is closed.

    Args:
        credits_: Of the gateway.

    Attributes:
        sight: The newest; None: there is none yet.
    """

    def __init__(self, credits_: "CreditsAsyncStub") -> None:
        self._credits = credits_
        self.sight: OfficeSight | None = None
        self._looked = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def first(self) -> None:
        """Return when they were looked at once."""
        await self._looked.wait()

    async def close(self) -> None:
        """Stop looking."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                self.sight = await self._look()
            except grpc.RpcError as error:
                fault = fault_of(error)
                self.sight = OfficeSight(why_not=fault.reason or fault.code)
            self._looked.set()
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self) -> OfficeSight:
        seen: list[pb.Office] = []
        all_seen = True
        async for page in pages_of(self._credits.ListOffices, pb.ListOfficesRequest()):
            seen += page.offices
            if len(seen) >= MOST and page.next_page_token:
                all_seen = False
                break
        states = [office.refill.state for office in seen]
        return OfficeSight(
            len(seen),
            all_seen,
            sorted(filter(is_low, seen), key=lambda office: office.available_micros),
            states.count(pb.REFILL_STATE_PENDING),
            states.count(pb.REFILL_STATE_WAITING),
        )
