"""The guard keeper: says how many offices the fraud guards hold, and forgets the hours that no guard asks for."""

from typing import Final

from gateway import metrics
from gateway.ledger.fraud_guards import FraudGuards
from gateway.store.clock import Clock

EVERY_SECONDS: Final = 5.0


class GuardKeeper:
    """Looks after what the journal counts for the fraud guards."""

    def __init__(self, guards: FraudGuards, clock: Clock) -> None:
        self._guards = guards
        self._clock = clock

    async def turn(self) -> bool:
        """Look once.

        Raises:
            DatabaseError: The database did not answer.
        """
        now_ms = self._clock.now_ms()
        metrics.OFFICES_GUARDED.set(await self._guards.guarded_offices(now_ms))
        await self._guards.forget_old_hours(now_ms)
        return False
