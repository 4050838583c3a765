"""The credit applier: sends the credits that SQL has numbered and the store has not confirmed, in order."""

from typing import Final

import structlog

from gateway import metrics
from gateway.background.missing import MissingOffices
from gateway.errors import Internal
from gateway.ledger.credits import Credits
from gateway.projection.credits import CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeLost

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 2.0
A_TURN: Final = 100
ACTOR: Final = "applier"


class CreditApplier:
    """Finishes the credits that a crash, a store that was away or a failover has left on their way."""

    def __init__(
        self, ledger: Credits, application: CreditApplication, locks: OfficeLocks, missing: MissingOffices
    ) -> None:
        self._credits = ledger
        self._application = application
        self._locks = locks
        self._missing = missing
        self._after = ("", 0)

    async def turn(self) -> bool:
        """Apply the next ones that are waiting; True if there are more.

        Raises:
            StoreUnavailable, DatabaseError: What is not done is there in the next turn.
        """
        # From where the last turn stopped, so that an office that is stuck hides no other.
        waiting = await self._credits.unapplied_credits(A_TURN, self._after)
        stuck: str | None = None
        for credit in waiting:
            if credit.office_id != stuck and not await self.apply_through(credit.office_id, credit.number):
                stuck = credit.office_id
        self._after = (waiting[-1].office_id, waiting[-1].number) if len(waiting) == A_TURN else ("", 0)
        return len(waiting) == A_TURN

    async def apply_through(self, office_id: str, number: int) -> bool:
        """Apply an office's credits up to a number; False: that cannot be, and the log says why.

        Raises:
            StoreUnavailable, DatabaseError: It was done or not.
        """
        try:
            async with self._locks.hold(office_id):
                await self._application.apply_through(office_id, number, actor=ACTOR)
            return True
        except OfficeLost:
            self._missing.add(office_id)
        except Internal as error:
            metrics.CREDITS_STUCK.inc()
            notes = "; ".join(getattr(error, "__notes__", ()))
            log.error("credit_stuck", office_id=office_id, number=number, reason=error.reason, detail=notes)
        return False
