"""The parts of billing, put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.billing.chargebacks import ChargingBack
from gateway.billing.charging import Charging, Pace
from gateway.billing.events import PaymentEvents
from gateway.billing.payment_methods import Cards
from gateway.billing.purchases import Buying
from gateway.billing.refilling import Refilling
from gateway.domain.payment import ChargePurpose
from gateway.ledger.auto_refills import AutoRefills, refill_decided
from gateway.ledger.chargebacks import Chargebacks, ProviderEvents
from gateway.ledger.charges import Charges, Consequence
from gateway.ledger.credits import Credits
from gateway.ledger.database import Database
from gateway.ledger.invoices import Invoices
from gateway.ledger.offices import Offices
from gateway.ledger.payment_methods import PaymentMethods, confirmation_decided
from gateway.ledger.purchases import Purchases, purchase_decided
from gateway.payments.provider import PaymentProvider
from gateway.projection.credits import CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeProjection
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock

CONSEQUENCES: Final[Mapping[ChargePurpose, Consequence]] = {
    ChargePurpose.PURCHASE: purchase_decided,
    ChargePurpose.REFILL: refill_decided,
    ChargePurpose.CONFIRMATION: confirmation_decided,
}
"""What follows from a charge, by what it is for; written in the transaction that decides the charge."""


@dataclass(frozen=True)
class Way:
    """How money gets from SQL into the store."""

    offices: Offices
    credits: Credits
    store: BalanceStore
    projection: OfficeProjection
    application: CreditApplication
    locks: OfficeLocks
    clock: Clock


@dataclass(frozen=True)
class Billing:
    """Everything of billing that the rest of the back uses."""

    charges: Charges
    methods: PaymentMethods
    purchases: Purchases
    invoices: Invoices
    chargebacks: Chargebacks
    charging: Charging
    buying: Buying
    cards: Cards
    charging_back: ChargingBack
    events: PaymentEvents
    refills: AutoRefills
    refilling: Refilling

    @classmethod
    def put_together(
        cls,
        database: Database,
        provider: PaymentProvider,
        way: Way,
        *,
        currency: str,
        offered: Sequence[int],
        refills_a_day: int,
        pace: Pace,
        wake: Callable[[], None],
    ) -> "Billing":
        """Make every part.

        Args:
            database: Of the ledger.
            provider: Who charges cards.
            way: Into the store.
            currency: Of this installation.
            offered: What may be bought at a time, in micros.
            refills_a_day: Of an office, at most.
            pace: How patient the machine is.
            wake: Called when there may be something for the billing loop to do.
        """
        clock = way.clock
        charges, methods = Charges(database, CONSEQUENCES), PaymentMethods(database, provider.name)
        purchases, chargebacks = Purchases(database, provider.name), Chargebacks(database)
        charging = Charging(charges, methods, provider, clock, currency=currency, pace=pace)
        refills = AutoRefills(database, provider.name)
        charging_back = ChargingBack(
            chargebacks, way.offices, way.credits, way.projection, way.application, way.locks, clock
        )
        return cls(
            charges=charges,
            methods=methods,
            purchases=purchases,
            invoices=Invoices(database),
            chargebacks=chargebacks,
            charging=charging,
            buying=Buying(
                purchases,
                charges,
                charging,
                way.projection,
                way.application,
                way.locks,
                clock,
                offered=offered,
            ),
            cards=Cards(methods, charging, provider, clock, currency=currency),
            charging_back=charging_back,
            refills=refills,
            refilling=Refilling(
                refills, charges, charging, way.store, way.application, way.locks, clock, a_day=refills_a_day
            ),
            events=PaymentEvents(ProviderEvents(database), charges, charging, charging_back, clock, wake),
        )
