"""Buying credits: intent, charge, credit, each durable before the next, and a repeat that tells how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.billing.charging import Charging
from gateway.billing.errors import ChargeUndecided, ConfirmationRequired
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.errors import InvalidArgument
from gateway.ledger.charges import Charge, Charges, Intended
from gateway.ledger.purchases import NewPurchase, Purchase, PurchaseRequest, Purchases
from gateway.projection.credits import Application, BalanceOutOfRange, CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeProjection
from gateway.store.clock import Clock

_AGAIN: Final = ", with a new idempotency_key"


@dataclass(frozen=True, slots=True)
class Bought:
    """A purchase that is paid or invoiced, and its credit as the store has it."""

    purchase: Purchase
    application: Application
    replayed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a purchase stands.

    Attributes:
        purchase: The purchase.
        charge: The latest one for it; None: it is on an invoice.
        is_credited: Whether the balance has it.
    """

    purchase: Purchase
    charge: Charge | None
    is_credited: bool


class Buying:
    """What AddCredits does.

    Args:
        purchases: SQL's side.
        charges: Their charges.
        charging: Charges the card.
        projection: Knows what the store has of an office.
        application: Brings the credit into the store.
        locks: Of offices.
        clock: The store's.
        offered: The amounts that may be bought, in micros.
    """

    def __init__(
        self,
        purchases: Purchases,
        charges: Charges,
        charging: Charging,
        projection: OfficeProjection,
        application: CreditApplication,
        locks: OfficeLocks,
        clock: Clock,
        *,
        offered: Sequence[int],
    ) -> None:
        self._purchases = purchases
        self._charges = charges
        self._charging = charging
        self._projection = projection
        self._application = application
        self._locks = locks
        self._clock = clock
        self.offered = tuple(sorted(set(offered)))

    async def buy(self, request: PurchaseRequest, *, actor: str) -> Bought:
        """Buy credits, once per idempotency key.

        What a crash, a provider or a store that is away leaves unfinished is finished by the loops; a repeat with the
        same key tells how it ended, and charges nothing more.

        Raises:
            InvalidArgument: A value is out of its range, or the amount is not offered.
            OfficeNotFound: There is no office of this id.
            IdempotencyKeyReused: The office has used this key for another purchase.
            PaymentMethodNotFound: The office has no such card.
            FailedPrecondition: The office is suspended or does not pay so, the card cannot pay, was declined or not
                charged, its owner has to confirm the payment, or the balance would pass its bound.
            ChargeUndecided: It is not known yet what became of the charge: repeat with the same key.
            Unavailable: The purchase is made or not: repeat with the same key.
        """
        request.validate()
        if await self._purchases.find(request.office_id, request.idempotency_key) is None:
            await self._check(request, actor)
        new = await self._purchases.begin(request, actor=actor, now_ms=self._clock.now_ms())
        purchase = new.purchase
        if purchase.payment_method_id is not None and purchase.credit_number is None:
            purchase = await self._paid(new)
        if purchase.credit_number is None:
            raise ChargeUndecided
        async with self._locks.hold(purchase.office_id):
            application = await self._application.apply_through(purchase.office_id, purchase.credit_number, actor=actor)
        return Bought(purchase, application, new.replayed)

    async def standing(self, office_id: str, idempotency_key: str) -> Standing | None:
        """How the purchase of a key stands, without asking the provider; None: nothing was written down under it.

        Raises:
            DatabaseError: The database did not answer.
        """
        purchase = await self._purchases.find(office_id, idempotency_key)
        if purchase is None:
            return None
        charge = await self._charges.latest(ChargePurpose.PURCHASE, purchase.purchase_id)
        return Standing(purchase, charge, await self._purchases.is_credited(purchase))

    async def latest(self, office_id: str) -> Purchase | None:
        """The newest purchase of an office that was not refused; raises as `standing`."""
        return await self._purchases.latest(office_id)

    async def _check(self, request: PurchaseRequest, actor: str) -> None:
        """Find out what can be known before anything is written: a repeat is answered whatever is offered by then."""
        if request.amount_micros not in self.offered:
            listed = ", ".join(map(str, self.offered))
            raise InvalidArgument(
                "amount_micros", f"is not offered; it must be one of {listed} micros", reason="AMOUNT_NOT_OFFERED"
            )
        async with self._locks.hold(request.office_id):
            record = await self._projection.record_of(request.office_id, actor=actor)
        largest = MAX_AMOUNT_MICROS - record.balance_micros
        if request.amount_micros > largest:
            raise BalanceOutOfRange(largest)

    async def _paid(self, new: NewPurchase) -> Purchase:
        """The purchase once its card was charged.

        Raises:
            FailedPrecondition: It was not, or its owner has to confirm it.
            ChargeUndecided: Nobody knows yet.
        """
        purchase_id = new.purchase.purchase_id
        charge = await self._charges.latest(ChargePurpose.PURCHASE, purchase_id)
        if charge is None:
            raise ChargeUndecided
        charge = await self._charging.outcome(Intended(charge, is_new=not new.replayed), again=_AGAIN)
        if charge.status is ChargeStatus.ACTION_REQUIRED:
            raise ConfirmationRequired(charge.confirmation_url)
        return await self._purchases.get(purchase_id)
