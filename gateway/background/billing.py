"""The billing loop: finishes what a crash, a provider or a store that was away has left of charges and chargebacks."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from gateway import metrics
from gateway.billing.chargebacks import ChargingBack
from gateway.billing.charging import Charging
from gateway.errors import Internal
from gateway.ledger.chargebacks import Chargeback, Chargebacks
from gateway.ledger.charges import Charge, Charges
from gateway.projection.offices import OfficeLost
from gateway.store.clock import Clock

T = TypeVar("T")

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 2.0
A_TURN: Final = 20
KEEP_SMALL_CHARGE_MS: Final = 7 * 86_400_000
"""How long a card's owner has to find the small charge; then it is given back, and can be made anew."""


class BillingLoop:
    """Takes each undecided charge a step on, gives small charges back, and takes chargebacks."""

    def __init__(
        self,
        charges: Charges,
        chargebacks: Chargebacks,
        charging: Charging,
        charging_back: ChargingBack,
        clock: Clock,
    ) -> None:
        self._charges = charges
        self._chargebacks = chargebacks
        self._charging = charging
        self._charging_back = charging_back
        self._clock = clock
        self._after = ""

    async def turn(self) -> bool:
        """Do some of each; True if there is more at once. Each step is durable by itself, and safe to repeat.

        Raises:
            DatabaseError, StoreUnavailable: What is not done is there in the next turn.
        """
        now_ms = self._clock.now_ms()
        undecided = await self._charges.undecided(A_TURN, now_ms=now_ms)
        for charge in undecided:
            await self._guarded(charge.charge_key, self._settle, charge)
        over = await self._charges.to_give_back(A_TURN, now_ms=now_ms, decided_before=now_ms - KEEP_SMALL_CHARGE_MS)
        for charge in over:
            await self._guarded(charge.charge_key, self._give_back, charge)
        # From where the last turn stopped, so that an office that is stuck hides no other.
        untaken = await self._chargebacks.untaken(A_TURN, self._after)
        for chargeback in untaken:
            await self._guarded(chargeback.charge_key, self._take, chargeback)
        self._after = untaken[-1].chargeback_id if len(untaken) == A_TURN else ""
        metrics.CHARGES_UNDECIDED.set(await self._charges.count_undecided())
        return A_TURN in (len(undecided), len(over), len(untaken))

    async def _guarded(self, charge_key: str, step: Callable[[T], Awaitable[None]], thing: T) -> None:
        """One thing that a person has to look into must not keep the others from being finished."""
        try:
            await step(thing)
        except (Internal, OfficeLost) as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            log.error("billing_stuck", charge_key=charge_key, reason=error.reason, detail=notes)

    async def _settle(self, charge: Charge) -> None:
        await self._charging.settle(charge.charge_key)

    async def _give_back(self, charge: Charge) -> None:
        await self._charging.give_back(charge)

    async def _take(self, chargeback: Chargeback) -> None:
        await self._charging_back.take(chargeback)
