"""Webhooks: what the provider tells without being asked. Each is handled once, and in whichever order they come.

A webhook is believed only in that something happened. What happened is looked up: an event may be old, and another may
have overtaken it.
"""

from collections.abc import Callable
from typing import Final

import structlog

from gateway.billing.chargebacks import ChargingBack
from gateway.billing.charging import Charging
from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.errors import Unavailable
from gateway.ledger.chargebacks import ProviderEvents
from gateway.ledger.charges import Charge, Charges
from gateway.payments.provider import PaymentEvent, PaymentEventKind
from gateway.store.clock import Clock

log = structlog.get_logger(__name__)

_ENDS: Final = frozenset({PaymentEventKind.CHARGE_SUCCEEDED, PaymentEventKind.CHARGE_FAILED})


class EventNotYet(Unavailable):
    """The event is about a charge of which we do not know enough yet: the provider is to send it again."""

    reason = "PAYMENT_EVENT_TOO_EARLY"


class PaymentEvents:
    """Handles the provider's events.

    Args:
        events: Those that were handled.
        charges: What they are about.
        charging: Looks charges up.
        charging_back: Takes chargebacks.
        clock: The store's.
        wake: Called when there may be something for the billing loop to do.
    """

    def __init__(
        self,
        events: ProviderEvents,
        charges: Charges,
        charging: Charging,
        charging_back: ChargingBack,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._events = events
        self._charges = charges
        self._charging = charging
        self._charging_back = charging_back
        self._clock = clock
        self._wake = wake

    async def on_event(self, event: PaymentEvent) -> None:
        """Handle an event; when this returns it was handled, and a repeat does nothing.

        Raises:
            EventNotYet: It is to be sent again, later.
            DatabaseError: It was handled or not: it is to be sent again.
        """
        if await self._events.is_known(event.event_id):
            return
        if event.kind is not PaymentEventKind.OTHER:
            charge = await self._charges.find_by_provider(event.idempotency_key, event.charge_id)
            if charge is None:
                charge = await self._by_metadata(event)
            if charge is None:
                # An account of the provider may be shared with others.
                log.info("payment_event_of_others", event_id=event.event_id, kind=event.kind.value)
            else:
                await self._handle(event, charge)
        await self._events.mark_handled(event.event_id, event.kind.value, now_ms=self._clock.now_ms())

    async def _by_metadata(self, event: PaymentEvent) -> Charge | None:
        """The charge whose key we gave the provider along: its answer, with its own name of the charge, may be lost."""
        return await self._charges.find_by_provider(event.metadata.get("charge_key"), None)

    async def _handle(self, event: PaymentEvent, charge: Charge) -> None:
        if event.kind in _ENDS:
            await self._charging.settle(charge.charge_key, told=True)
            self._wake()
        elif event.kind is PaymentEventKind.CHARGE_REFUNDED:
            await self._refunded(charge)
        else:
            await self._disputed(event, charge)

    async def _refunded(self, charge: Charge) -> None:
        if charge.purpose is ChargePurpose.CONFIRMATION:
            await self._charges.mark_given_back(charge.charge_key, now_ms=self._clock.now_ms())
        else:
            # Somebody gave it back at the provider's, and knows why: what it means for the balance is theirs to say.
            log.warning("charge_refunded_elsewhere", charge_key=charge.charge_key, cure="tollgate credits adjust")

    async def _disputed(self, event: PaymentEvent, charge: Charge) -> None:
        if not charge.is_decided:
            charge = await self._charging.settle(charge.charge_key, told=True)
        if not charge.is_decided:
            raise EventNotYet("It is not known yet what became of this charge: send the event again.")
        if charge.status is not ChargeStatus.SUCCEEDED:
            log.error("failed_charge_disputed", charge_key=charge.charge_key, event_id=event.event_id)
            return
        disputed = event.amount_micros or charge.amount_micros
        # One chargeback a charge, however many words the provider finds for it.
        chargeback_id = charge.provider_charge_id or charge.charge_key
        chargeback = await self._charging_back.record(chargeback_id, charge, min(disputed, charge.amount_micros))
        if charge.purpose is ChargePurpose.CONFIRMATION:
            # The bank has given it back.
            await self._charges.mark_given_back(charge.charge_key, now_ms=self._clock.now_ms())
        if chargeback.taken_micros is None:
            self._wake()
