"""The machine that charges cards: each charge at most once, and none forgotten.

A charge is written down first (`ledger.charges.intend`, in the transaction of what asks for it). Then

- `send` hands it to the provider, once, right after that commit. Whoever is not sure whether that was done (after a
  crash, or when the claim that was to come in between failed) does not send it: it is left to
- `settle`, which never charges. It looks up what became of the charge and puts an end to one that was never made, so
  that another attempt, under a key of its own, may begin. Safe from anywhere, any number of times, in any process.

Both take a charge one step on and return it as it is then: decided for good, waiting for its owner (ACTION_REQUIRED),
or INTENDED yet, of which nobody knows; a loop comes back to it with growing pauses. What follows from an outcome is
written in the transaction that records it (`Charges`' consequences).

One charge makes one step at a time in a process, and whoever asks meanwhile waits for the same step. A step is not
cancelled with whoever waits for it: a caller who hangs up must not make an outcome unknown.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway import metrics
from gateway.billing.errors import ChargeUndecided, failure_of
from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.errors import Internal, InvalidArgument, TollgateError
from gateway.ledger.charges import Charge, Charges, Intended, Verdict
from gateway.ledger.payment_methods import PaymentMethods
from gateway.payments.errors import ChargeNotFound
from gateway.payments.provider import (
    ActionRequired,
    ChargeAttempt,
    ChargeOutcome,
    Declined,
    NotCharged,
    PaymentMethodReference,
    PaymentProvider,
    Refunded,
    RefundOutcome,
    RefundRefused,
    Succeeded,
    Unknown,
)
from gateway.store.clock import Clock

log = structlog.get_logger(__name__)

_DESCRIPTIONS: Final = {
    ChargePurpose.PURCHASE: "Calling credits for",
    ChargePurpose.REFILL: "Automatic refill of calling credits for",
    ChargePurpose.CONFIRMATION: "Confirmation of a card, given back, for",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient the machine is.

    Attributes:
        first_pause_seconds: Before the provider is asked again; doubles each time.
        longest_pause_seconds: Up to this.
        refused_pause_seconds: Before a refund that the provider refused is tried again.
        confirmation_seconds: How long a charge waits for its owner before it is cancelled.
        patience_seconds: How long a caller is kept waiting: less than the 10 s that clients wait for an answer.
    """

    first_pause_seconds: float = 5.0
    longest_pause_seconds: float = 900.0
    refused_pause_seconds: float = 86_400.0
    confirmation_seconds: float = 86_400.0
    patience_seconds: float = 8.0

    def pause_ms(self, look_ups: int) -> int:
        """How long to wait after the provider was asked in vain so many times before."""
        return int(1000 * min(self.first_pause_seconds * 2.0 ** min(look_ups, 30), self.longest_pause_seconds))


class Charging:
    """Charges cards, finds out what became of charges, and gives small ones back.

    Args:
        charges: SQL's side.
        methods: The cards.
        provider: Who charges them.
        clock: The store's.
        currency: Of this installation.
        pace: How patient it is.
    """

    def __init__(
        self,
        charges: Charges,
        methods: PaymentMethods,
        provider: PaymentProvider,
        clock: Clock,
        *,
        currency: str,
        pace: Pace | None = None,
    ) -> None:
        self._charges = charges
        self._methods = methods
        self._provider = provider
        self._clock = clock
        self._currency = currency
        self.pace = pace or Pace()
        self._steps: dict[str, asyncio.Task[Charge]] = {}

    async def send(self, charge: Charge) -> Charge:
        """Charge a card, right after the commit that wrote the charge down as new (`Intended.is_new`), and only then.

        Returns:
            The charge after it: decided, waiting for its owner, or INTENDED where the outcome is not known. Where
            another attempt followed at once, that one's charge; here and below.

        Raises:
            DatabaseError: The outcome is recorded or not: `settle` finds out.
            ChargeContradicted: A person has to look.
        """
        return await self._step(charge.charge_key, lambda: self._send(charge))

    async def settle(self, charge_key: str, *, told: bool = False) -> Charge:
        """Take a charge one step on without ever charging: look it up, or cancel it when its owner took too long.

        Args:
            charge_key: Which.
            told: The provider said that something became of it, so that it is looked up even if it may still be
                under way.

        Returns:
            The charge after it. One that was written down just now and may still be on its way is left as it is.

        Raises:
            DatabaseError: The outcome is recorded or not: settle it again.
            ChargeContradicted: A person has to look.
        """
        return await self._step(charge_key, lambda: self._settle(charge_key, told))

    async def outcome(self, intended: Intended, *, again: str = "") -> Charge:
        """Send a new charge, or settle one that was there, for a caller who waits for how it ends.

        Args:
            intended: The charge, and whether it is new.
            again: How the caller would ask anew, for what they are told; e.g. ", with a new idempotency_key".

        Returns:
            The charge, SUCCEEDED or ACTION_REQUIRED.

        Raises:
            CardDeclined, CardNotCharged: It failed, for good.
            ChargeUndecided: Nobody knows yet, and the caller has waited long enough; it is finished all the same.
            DatabaseError: As `send`.
        """
        charge = intended.charge
        try:
            async with asyncio.timeout(self.pace.patience_seconds):
                charge = await (self.send(charge) if intended.is_new else self.settle(charge.charge_key))
        except TimeoutError:
            raise ChargeUndecided from None
        if charge.status is ChargeStatus.NOT_CHARGED:
            # Another gateway may have followed it by another attempt, which is the one that counts.
            charge = await self._charges.latest(charge.purpose, charge.subject_id) or charge
        if not charge.is_decided and charge.status is not ChargeStatus.ACTION_REQUIRED:
            raise ChargeUndecided
        if charge.status in (ChargeStatus.DECLINED, ChargeStatus.NOT_CHARGED):
            raise failure_of(charge, again=again)
        return charge

    async def give_back(self, charge: Charge) -> Charge:
        """Refund a charge that succeeded, once however often this is called.

        Returns:
            The charge after it; `given_back_at` is set if it is done, else it is tried again later.

        Raises:
            DatabaseError: It is recorded or not: call it again.
        """
        if charge.given_back_at is not None:
            return charge
        outcome: RefundOutcome
        try:
            outcome = await self._provider.refund(
                charge.provider_charge_id, idempotency_key=f"{charge.charge_key}/refund"
            )
        except TollgateError as error:
            outcome = _unknown(charge, error)
        if isinstance(outcome, Refunded):
            metrics.CHARGES.labels(charge.purpose.value, "GIVEN_BACK").inc()
            return await self._charges.mark_given_back(charge.charge_key, now_ms=self._clock.now_ms())
        if isinstance(outcome, RefundRefused):
            log.error("refund_refused", charge_key=charge.charge_key, code=outcome.code, detail=outcome.message)
            return await self._postpone(charge, int(1000 * self.pace.refused_pause_seconds))
        return await self._postpone(charge)

    async def close(self) -> None:
        """Wait for the steps under way: each ends within the provider's time-out."""
        while self._steps:
            await asyncio.wait(self._steps.values())

    async def _step(self, charge_key: str, make: Callable[[], Coroutine[Any, Any, Charge]]) -> Charge:
        step = self._steps.get(charge_key)
        if step is None:
            step = self._steps[charge_key] = asyncio.create_task(make())
            step.add_done_callback(lambda done: self._stepped(charge_key, done))
        return await asyncio.shield(step)

    def _stepped(self, charge_key: str, step: asyncio.Task[Charge]) -> None:
        del self._steps[charge_key]
        if not step.cancelled() and (error := step.exception()) is not None:
            # Whoever waited may be gone, and nobody else would hear of it.
            log.warning("charge_not_settled", charge_key=charge_key, error=repr(error))

    async def _send(self, charge: Charge) -> Charge:
        attempt = await self._attempt(charge)
        if attempt is None:
            return await self._postpone(charge)
        outcome: ChargeOutcome
        try:
            outcome = await self._provider.charge(attempt)
        except InvalidArgument as error:  # The provider never heard of it.
            outcome = NotCharged("invalid_request", error.message, can_retry=False)
        except TollgateError as error:
            outcome = _unknown(charge, error)
        return await self._record(charge, outcome)

    async def _settle(self, charge_key: str, told: bool) -> Charge:
        charge = await self._charges.get(charge_key)
        if charge.is_decided:
            return charge
        now_ms = self._clock.now_ms()
        may_be_under_way = charge.status is ChargeStatus.INTENDED and not charge.look_ups
        if may_be_under_way and not told and now_ms < charge.next_look_at:
            return charge
        attempt = await self._attempt(charge)
        if attempt is None:
            return await self._postpone(charge)
        outcome: ChargeOutcome
        try:
            if now_ms >= charge.created_at + int(1000 * self.pace.confirmation_seconds) and charge.confirmation_url:
                outcome = await self._cancel(charge, attempt)
            else:
                outcome = await self._provider.look_up(attempt, sent_at_ms=charge.created_at)
        except TollgateError as error:
            outcome = _unknown(charge, error)
        return await self._record(charge, outcome)

    async def _cancel(self, charge: Charge, attempt: ChargeAttempt) -> ChargeOutcome:
        try:
            return await self._provider.cancel(charge.provider_charge_id)
        except ChargeNotFound:
            return await self._provider.look_up(attempt, sent_at_ms=charge.created_at)

    async def _attempt(self, charge: Charge) -> ChargeAttempt | None:
        """The very attempt that was or is to be sent: made of nothing that changes. None: another provider's."""
        method = await self._methods.get(charge.payment_method_id)
        if method.provider != self._provider.name:
            log.error("charge_of_another_provider", charge_key=charge.charge_key, provider=method.provider)
            return None
        return ChargeAttempt(
            idempotency_key=charge.charge_key,
            amount_micros=charge.amount_micros,
            currency=self._currency,
            method=PaymentMethodReference(method.customer_ref, method.method_ref),
            description=f"{_DESCRIPTIONS[charge.purpose]} {charge.office_id}",
            metadata={
                "office_id": charge.office_id,
                "purpose": charge.purpose.value,
                "subject_id": charge.subject_id,
                "charge_key": charge.charge_key,
            },
            off_session=charge.purpose is ChargePurpose.REFILL,
        )

    async def _record(self, charge: Charge, outcome: ChargeOutcome) -> Charge:
        if isinstance(outcome, Unknown):
            metrics.CHARGES.labels(charge.purpose.value, "UNKNOWN").inc()
            log.warning("charge_unknown", charge_key=charge.charge_key, detail=outcome.message)
            return await self._postpone(charge)
        verdict = _verdict(outcome)
        try:
            decision = await self._charges.decide(charge.charge_key, verdict, now_ms=self._clock.now_ms())
        except Internal as error:
            metrics.CHARGES_CONTRADICTED.inc()
            notes = "; ".join(getattr(error, "__notes__", ()))
            log.error("charge_contradicted", charge_key=charge.charge_key, detail=notes)
            raise
        decided = decision.charge
        if not decided.is_decided:
            return await self._postpone(decided)
        metrics.CHARGES.labels(decided.purpose.value, decided.status.value).inc()
        # Never the amount: that of a confirmation is the question to its owner.
        log.info(
            "charge_decided",
            charge_key=decided.charge_key,
            purpose=decided.purpose.value,
            status=decided.status.value,
            code=decided.decline_code,
            detail=outcome.message if isinstance(outcome, NotCharged) else "",
        )
        return decided if decision.successor is None else await self._send(decision.successor)

    async def _postpone(self, charge: Charge, pause_ms: int | None = None) -> Charge:
        pause_ms = self.pace.pause_ms(charge.look_ups) if pause_ms is None else pause_ms
        return await self._charges.postpone(charge.charge_key, next_look_at=self._clock.now_ms() + pause_ms)


def _verdict(outcome: Succeeded | Declined | ActionRequired | NotCharged) -> Verdict:
    match outcome:
        case Succeeded():
            return Verdict(ChargeStatus.SUCCEEDED, outcome.charge_id)
        case Declined():
            return Verdict(
                ChargeStatus.DECLINED, outcome.charge_id or "", outcome.code, outcome.message, outcome.can_retry
            )
        case ActionRequired():
            return Verdict(ChargeStatus.ACTION_REQUIRED, outcome.charge_id, confirmation_url=outcome.confirmation_url)
        case NotCharged():
            # The provider's words are for an operator here: they go to the log, and not to whoever pays.
            return Verdict(ChargeStatus.NOT_CHARGED, decline_code=outcome.code, can_retry=outcome.can_retry)


def _unknown(charge: Charge, error: TollgateError) -> Unknown:
    notes = "; ".join(getattr(error, "__notes__", ()))
    cause = f"; {error.__cause__!r}" if error.__cause__ is not None else ""
    log.warning("provider_failed", charge_key=charge.charge_key, reason=error.reason, detail=f"{notes}{cause}")
    return Unknown(error.message)
