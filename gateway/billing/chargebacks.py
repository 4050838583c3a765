"""Chargebacks: what the office has is taken, the rest is owed, and nothing more is sold to it until a person looked."""

from typing import Final

import structlog

from gateway import metrics
from gateway.domain.payment import ChargePurpose
from gateway.errors import Unavailable
from gateway.ledger.chargebacks import Chargeback, Chargebacks
from gateway.ledger.charges import ACTOR, Charge
from gateway.ledger.credits import Credits
from gateway.ledger.errors import IdempotencyKeyReused
from gateway.ledger.offices import Offices
from gateway.projection.credits import CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeProjection
from gateway.store.clock import Clock

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 10


class ChargingBack:
    """Records chargebacks and takes them; may be broken off anywhere, and is finished by the loop."""

    def __init__(
        self,
        chargebacks: Chargebacks,
        offices: Offices,
        credits_: Credits,
        projection: OfficeProjection,
        application: CreditApplication,
        locks: OfficeLocks,
        clock: Clock,
    ) -> None:
        self._chargebacks = chargebacks
        self._offices = offices
        self._credits = credits_
        self._projection = projection
        self._application = application
        self._locks = locks
        self._clock = clock

    async def record(self, chargeback_id: str, charge: Charge, amount_micros: int) -> Chargeback:
        """Note a chargeback once: the office is suspended and its refill off when this returns, and not yet charged.

        Raises:
            DatabaseError: It is noted or not: repeat it.
        """
        chargeback, office = await self._chargebacks.record(
            chargeback_id, charge, amount_micros, now_ms=self._clock.now_ms()
        )
        # A small charge was never credited, so there is nothing to take: it is owed, and trust is gone all the same.
        if charge.purpose is ChargePurpose.CONFIRMATION and chargeback.taken_micros is None:
            chargeback = await self._chargebacks.mark_taken(chargeback_id, 0, 1, now_ms=self._clock.now_ms())
        metrics.CHARGEBACKS.inc()
        log.warning("charge_taken_back", charge_key=charge.charge_key, office_id=office.office_id)
        return chargeback

    async def take(self, chargeback: Chargeback) -> Chargeback:
        """Take what the office has for a chargeback, by one negative credit; safe to repeat and to race.

        Raises:
            OfficeLost, StoreUnavailable, DatabaseError: It is taken or not: repeat it.
            Unavailable: Calls were faster each time: repeat it.
        """
        if chargeback.taken_micros is not None:
            return chargeback
        office_id = chargeback.office_id
        async with self._locks.hold(office_id):
            # Suspended in the store too, so that no call that begins now takes what is about to be taken.
            await self._projection.settle(await self._offices.get(office_id), actor=ACTOR)
            for attempt in range(1, _ATTEMPTS + 1):
                taken = await self._attempt(chargeback, attempt)
                if taken is not None:
                    return await self._chargebacks.mark_taken(
                        chargeback.chargeback_id, taken, attempt, now_ms=self._clock.now_ms()
                    )
        raise Unavailable("The funds of the office keep changing; retry.", reason="OFFICE_CHANGING")

    async def _attempt(self, chargeback: Chargeback, attempt: int) -> int | None:
        """Take it by the credit of an attempt, numbered now or before a crash; None: the store refused that one."""
        office_id = chargeback.office_id
        credit = await self._credits.find_by_key(office_id, chargeback.credit(attempt, 1).idempotency_key)
        if credit is None:
            amount = min(chargeback.amount_micros, await self._available(office_id))
            if amount <= 0:
                return 0
            try:
                credit = await self._chargebacks.number(chargeback, attempt, amount, now_ms=self._clock.now_ms())
            except IdempotencyKeyReused:
                credit = await self._credits.find_by_key(office_id, chargeback.credit(attempt, 1).idempotency_key)
            if credit is None:
                return 0  # Another gateway has finished it: what is noted stays.
        done = await self._application.apply_through(office_id, credit.number, actor=ACTOR)
        return None if done.is_refused else -done.credit.amount_micros

    async def _available(self, office_id: str) -> int:
        """What the office has when everything that was numbered is applied."""
        number = (await self._credits.last_numbers([office_id])).get(office_id, 0)
        if number:
            return (await self._application.apply_through(office_id, number, actor=ACTOR)).available_micros
        return (await self._projection.record_of(office_id, actor=ACTOR)).available_micros
