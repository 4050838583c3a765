"""The refiller: pays for the refills that the journal tells of, and goes on with those that a crash has left."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.background.missing import MissingOffices
from gateway.errors import Internal
from gateway.ledger.auto_refills import AutoRefill, AutoRefills
from gateway.projection.offices import OfficeLost
from gateway.store.clock import Clock

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
A_TURN: Final = 100
AT_ONCE: Final = 20
"""Refills begun in one transaction, which others wait for, and cards charged at the same time, each of which may take
as long as the provider does."""


class Refiller:
    """Begins what is asked for and takes everything under way a step on.

    Args:
        refills: SQL's side.
        advance: Takes a refill a step on, as `Refilling.advance`.
        missing: Offices that the store has lost.
        clock: The store's.
    """

    def __init__(
        self,
        refills: AutoRefills,
        advance: Callable[[AutoRefill], Awaitable[None]],
        missing: MissingOffices,
        clock: Clock,
    ) -> None:
        self._refills = refills
        self._advance_refill = advance
        self._missing = missing
        self._clock = clock
        self._after = ""

    async def turn(self) -> bool:
        """Begin and go on; True if there is more at once.

        Raises:
            StoreUnavailable, DatabaseError: What is not done is there in the next turn.
        """
        asked = await self._refills.asked_for(A_TURN)
        for start in range(0, len(asked), AT_ONCE):
            await self._refills.begin(asked[start : start + AT_ONCE], now_ms=self._clock.now_ms())
        # From where the last turn stopped, so that one that is stuck hides no other.
        unfinished = await self._refills.unfinished(A_TURN, self._after)
        for start in range(0, len(unfinished), AT_ONCE):
            some = unfinished[start : start + AT_ONCE]
            outcomes = await asyncio.gather(*(self._advance(refill) for refill in some), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        self._after = unfinished[-1].refill_id if len(unfinished) == A_TURN else ""
        return A_TURN in (len(asked), len(unfinished))

    async def _advance(self, refill: AutoRefill) -> None:
        try:
            await self._advance_refill(refill)
        except OfficeLost:
            self._missing.add(refill.office_id)
        except Internal as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            log.error("refill_stuck", refill_id=refill.refill_id, reason=error.reason, detail=notes)
