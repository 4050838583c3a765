"""Automatic refill: the steps from a refill that is asked for to its credit, each durable before the next.

The order is the promise: the trigger is in the ledger, and so is the intent; the store has taken the claim (no card is
charged for a store that cannot write); the charge is written down; the card is charged; the outcome and the credit are
one transaction. Whatever is broken off between two steps is gone on with by `advance`, in any process.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from gateway import metrics
from gateway.billing.charging import Charging
from gateway.domain import notice
from gateway.domain.calendar import day_begins_ms, local_date, next_day_begins_ms
from gateway.domain.payment import ChargePurpose, ChargeStatus, RefillStatus
from gateway.domain.vocabulary import PaymentTerms, RefillState
from gateway.ledger.auto_refills import ACTOR, AutoRefill, AutoRefills, Payer
from gateway.ledger.charges import Charge, Charges
from gateway.ledger.errors import CardUnusable, PaymentMethodNotFound
from gateway.projection.credits import CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeLost
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.codes import Code

log = structlog.get_logger(__name__)

PAUSES_SECONDS: Final = (600, 3_600)
"""After the first and the second failure in a row; the third turns refill off."""

UNCOUNTED_PAUSE_SECONDS: Final = 60
"""After an attempt that never reached the card, which is not the card's failure and is not counted."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed, in words for people; `counts`: towards the third, which turns refill off."""

    cause: str
    counts: bool


class Refilling:
    """Pays for the refills that are the gateway's to pay for.

    Args:
        refills: SQL's side.
        charges: Their charges.
        charging: Charges the cards.
        store: Where refills are claimed, and failures reported.
        application: Brings the credits into the store.
        locks: Of offices.
        clock: The store's.
        a_day: Refills of an office a day, at most.
    """

    def __init__(
        self,
        refills: AutoRefills,
        charges: Charges,
        charging: Charging,
        store: BalanceStore,
        application: CreditApplication,
        locks: OfficeLocks,
        clock: Clock,
        *,
        a_day: int,
    ) -> None:
        self._refills = refills
        self._charges = charges
        self._charging = charging
        self._store = store
        self._application = application
        self._locks = locks
        self._clock = clock
        self._a_day = a_day

    async def advance(self, refill: AutoRefill) -> None:
        """Take a refill that is under way as far as it goes now; safe from anywhere, any number of times.

        Raises:
            OfficeLost, StoreUnavailable, DatabaseError: What is not done is there the next time.
        """
        if refill.status is RefillStatus.INTENDED:
            await self._claim(refill)
        elif refill.status is RefillStatus.CHARGING:
            charge = await self._charges.find(ChargePurpose.REFILL, refill.refill_id, refill.attempt)
            if charge is not None and charge.is_decided:
                await self._follow(refill, charge)

    async def _claim(self, refill: AutoRefill) -> None:
        payer, now_ms = await self._refills.payer(refill.office_id), self._clock.now_ms()
        if now_ms < payer.guarded_until:
            await self._brake(refill, payer.guarded_until)
            return
        if await self._refills.credited_since(refill.office_id, day_begins_ms(now_ms, payer.time_zone)) >= self._a_day:
            await self._cap(refill, payer, now_ms)
            return
        claim = await self._store.claim_refill(refill.office_id, refill.number)
        if claim.code is Code.UNKNOWN_OFFICE:
            raise OfficeLost(refill.office_id)
        if claim.code is not Code.OK:
            # The funds have come otherwise, or it was turned off, or somebody outside has closed it.
            await self._end(refill, RefillStatus.NOT_NEEDED)
        elif payer.terms is PaymentTerms.INVOICE:
            credited = await self._refills.invoice(refill, claim.amount_micros, now_ms=now_ms)
            if credited is not None:
                await self._bring_in(credited)
        else:
            await self._charge(refill, claim.amount_micros, payer)

    async def _charge(self, refill: AutoRefill, amount_micros: int, payer: Payer) -> None:
        try:
            intended = await self._refills.charge(
                refill, amount_micros, payer.payment_method_id, now_ms=self._clock.now_ms()
            )
        except (CardUnusable, PaymentMethodNotFound) as error:
            await self._fail(refill, payer.payment_method_id, _Failure(error.message, counts=True))
            return
        if intended is None or not intended.is_new:
            return  # Another gateway is at it; the billing loop looks up what nobody finishes.
        charge = await self._charging.send(intended.charge)
        under_way = await self._refills.find(refill.refill_id)
        if under_way is not None and under_way.attempt == refill.attempt and charge.is_decided:
            await self._follow(under_way, charge)

    async def _follow(self, refill: AutoRefill, charge: Charge) -> None:
        """Do what a decided charge leaves to do."""
        if charge.status is ChargeStatus.SUCCEEDED:
            await self._bring_in(refill)
            return
        # What never reached the card says nothing of it.
        counts = charge.status is ChargeStatus.DECLINED or not charge.can_retry
        await self._fail(refill, charge.payment_method_id, _Failure(charge.message, counts))

    async def _bring_in(self, refill: AutoRefill) -> None:
        """Bring the credit into the store at once; if that cannot be now, the credit applier does it."""
        if refill.credit_number is None:
            return
        log.info("refill_credited", refill_id=refill.refill_id, attempt=refill.attempt)
        async with self._locks.hold(refill.office_id):
            await self._application.apply_through(refill.office_id, refill.credit_number, actor=ACTOR)

    async def _fail(self, refill: AutoRefill, payment_method_id: str, failure: _Failure) -> None:
        """Report a failure to the store, which waits or turns refill off, then end the attempt."""
        office = await self._store.read_office(refill.office_id)
        if office is None:
            raise OfficeLost(refill.office_id)
        pause = UNCOUNTED_PAUSE_SECONDS
        if failure.counts:
            pause = PAUSES_SECONDS[min(office.refill_failures, len(PAUSES_SECONDS) - 1)]
        until_ms = self._clock.now_ms() + 1000 * pause
        reported = await self._store.fail_refill(
            refill.office_id, refill.number, refill.attempt if failure.counts else 0, until_ms
        )
        told = None
        if failure.counts:
            told = await self._told_of(refill, payment_method_id, failure, reported.state, until_ms)
        log.warning(
            "refill_failed",
            refill_id=refill.refill_id,
            attempt=refill.attempt,
            cause=failure.cause,
            counted=failure.counts,
            state=RefillState(reported.state).name,
        )
        await self._end(refill, RefillStatus.FAILED, told)

    async def _told_of(
        self, refill: AutoRefill, payment_method_id: str, failure: _Failure, state: int, until_ms: int
    ) -> notice.Notice:
        card = await self._refills.card(payment_method_id)
        if state == RefillState.OFF:
            return notice.refill_off(
                refill.office_id,
                refill.refill_id,
                amount_micros=refill.amount_micros,
                card=card,
                cause=failure.cause,
            )
        return notice.refill_failed(
            refill.office_id,
            refill.refill_id,
            refill.attempt,
            amount_micros=refill.amount_micros,
            card=card,
            cause=failure.cause,
            next_attempt_at=until_ms,
        )

    async def _cap(self, refill: AutoRefill, payer: Payer, now_ms: int) -> None:
        await self._store.fail_refill(refill.office_id, refill.number, 0, next_day_begins_ms(now_ms, payer.time_zone))
        day = local_date(now_ms, payer.time_zone).isoformat()
        told = notice.refill_capped(
            refill.office_id, day, refills_a_day=self._a_day, amount_micros=refill.amount_micros
        )
        await self._end(refill, RefillStatus.CAPPED, told)

    async def _brake(self, refill: AutoRefill, until_ms: int) -> None:
        """Let a refill wait for the end of the office's fraud guards: no card pays for what may be fraud."""
        await self._store.fail_refill(refill.office_id, refill.number, 0, until_ms)
        told = notice.refill_braked(
            refill.office_id, refill.refill_id, amount_micros=refill.amount_micros, until=until_ms
        )
        log.warning("refill_braked", refill_id=refill.refill_id, until_ms=until_ms)
        await self._end(refill, RefillStatus.BRAKED, told)

    async def _end(self, refill: AutoRefill, status: RefillStatus, told: notice.Notice | None = None) -> None:
        if await self._refills.close(refill, status, told, now_ms=self._clock.now_ms()) is not None:
            metrics.REFILLS.labels(status.value).inc()
