"""Cards charged by Stripe: a charge is a PaymentIntent, made unconfirmed first, then confirmed.

Why no card is charged twice, whatever is lost, late or done by two processes at once:

1. An intent takes money only when it is confirmed, at most once, and never after it was canceled (Stripe's promise).
2. `charge` makes the intent under a key derived from the attempt's, which is written in its metadata too, and confirms
   it under another. So the key names one intent, for whoever asks: within a day by Stripe's memory of keys, and for
   ever by listing the customer's intents.
3. `look_up` finds the intent, or makes it under the same key where there is none: a charge whose request is still on
   its way gets that very intent. If it has not taken money, it is canceled; only a canceled one is `NotCharged`.
4. Stripe forgets keys after a day, and a machine may be frozen for longer. So `charge` looks whether its key has an
   intent already before it makes one, and does not confirm one that was made more than its time-out after it looked: by
   Stripe's clock, since that of a machine that was frozen may stand still.

See docs/decisions/0010-payment-providers.md.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stripe import PaymentIntent, Refund

from gateway.payments.checks import (
    check_card_entry,
    check_charge_attempt,
    check_entry,
    check_idempotency_key,
    check_new_payment_method,
)
from gateway.payments.errors import ChargeNotFound, ProviderKeyReused, ProviderUnavailable, ProviderUnusable
from gateway.payments.provider import (
    RETURN_PATH,
    ActionRequired,
    CardEntry,
    ChargeAttempt,
    ChargeOutcome,
    NewPaymentMethod,
    NotCharged,
    PaymentEvent,
    PaymentMethodOutcome,
    Refunded,
    RefundOutcome,
    RefundRefused,
    Succeeded,
    Unknown,
)
from gateway.payments.stripe_amounts import to_stripe_amount
from gateway.payments.stripe_api import KEY_METADATA, Listed, StripeApi, metadata_of
from gateway.payments.stripe_cards import StripeCards
from gateway.payments.stripe_failures import FailureKind, StripeFailure
from gateway.payments.stripe_outcomes import (
    AUTHENTICATION_REQUIRED,
    ended_outcome,
    not_charged,
    present_outcome,
    refusal,
    refusal_of,
)
from gateway.payments.stripe_webhooks import read_event
from gateway.payments.webhook_signatures import verify_webhook

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""For a whole operation: a bank may take its time with a charge, and an office's admin waits for it."""

KEY_REMEMBERED_MS: Final = 7 * 24 * 3600 * 1000
"""How far back `charge` looks for an intent of its own key: how long a process may be frozen before it charges."""

CLOCK_TOLERANCE_MS: Final = 24 * 3600 * 1000
"""How far the clock that wrote down `sent_at_ms` may be ahead of Stripe's. Within it, Stripe remembers keys anyhow."""

_INTENT_ID: Final = re.compile(r"pi_[A-Za-z0-9]{1,250}")

_BEGUN_BEFORE: Final = Unknown("The charge was begun before, and is not over: look it up.")
_NOT_LISTED: Final = Unknown("Stripe does not list the charge yet; if this stays so, compare the clocks.")


class StripeProvider:
    """Charges cards by Stripe. Keeps the protocol of provider.py; one event loop, many tasks."""

    def __init__(
        self,
        api_key: str,
        webhook_secrets: Sequence[str],
        *,
        public_url: str,
        clock_ms: Callable[[], int],
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        base_url: str | None = None,
    ) -> None:
        """Prepare the provider; nothing is sent yet.

        Args:
            api_key: Secret (`sk_...`) or restricted (`rk_...`) with the right to write customers, PaymentMethods,
                SetupIntents, Checkout Sessions, PaymentIntents and refunds.
            webhook_secrets: Of the endpoint (`whsec_...`); two while one is being changed for the other.
            public_url: Of the gateway's HTTP server, as browsers see it; owners of cards come back to it.
            clock_ms: The present in Unix milliseconds; days and not seconds depend on it.
            timeout_seconds: For each operation as a whole.
            base_url: Of a stand-in for Stripe, for tests.
        """
        self._api = StripeApi(api_key, timeout_seconds=timeout_seconds, base_url=base_url)
        self._webhook_secrets = tuple(webhook_secrets)
        self._return_url = public_url.rstrip("/") + RETURN_PATH
        self._timeout_seconds = timeout_seconds
        self._clock_ms = clock_ms
        self._cards = StripeCards(self._api, return_url=self._return_url)

    @property
    def name(self) -> str:
        """What a purchase records beside its charge."""
        return "stripe"

    async def check(self) -> None:
        """See the protocol."""
        async with self._answering():
            await self._api.probe()

    async def add_payment_method(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """See the protocol."""
        check_new_payment_method(request)
        async with self._answering():
            return await self._cards.add(request)

    async def begin_card_entry(self, request: CardEntry) -> str:
        """See the protocol."""
        check_card_entry(request)
        async with self._answering():
            return await self._cards.begin_entry(request)

    async def finish_card_entry(self, entry: str, *, owner_id: str) -> str:
        """See the protocol."""
        check_entry(entry)
        async with self._answering():
            return await self._cards.finish_entry(entry, owner_id)

    async def charge(self, attempt: ChargeAttempt) -> ChargeOutcome:
        """See the protocol."""
        check_charge_attempt(attempt)
        amount = to_stripe_amount(attempt.amount_micros, attempt.currency)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._charge(attempt, amount)
        except (TimeoutError, StripeFailure) as error:
            return _unknown(error)

    async def look_up(self, attempt: ChargeAttempt, *, sent_at_ms: int) -> ChargeOutcome:
        """See the protocol."""
        check_charge_attempt(attempt)
        amount = to_stripe_amount(attempt.amount_micros, attempt.currency)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._look_up(attempt, amount, since_ms=sent_at_ms - CLOCK_TOLERANCE_MS)
        except (TimeoutError, StripeFailure) as error:
            return _unknown(error)

    async def cancel(self, charge_id: str) -> ChargeOutcome:
        """See the protocol."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                intent = await self._own_intent(charge_id)
                outcome = present_outcome(intent)
                if outcome is None or isinstance(outcome, ActionRequired):
                    return await self._end(intent)
                return outcome
        except (TimeoutError, StripeFailure) as error:
            return _unknown(error)

    async def refund(self, charge_id: str, *, idempotency_key: str) -> RefundOutcome:
        """See the protocol."""
        check_idempotency_key(idempotency_key)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._refund((await self._own_intent(charge_id)).id, idempotency_key)
        except (TimeoutError, StripeFailure) as error:
            return _unknown(error)

    def parse_webhook(self, payload: bytes, signature: str, *, now_ms: int) -> PaymentEvent:
        """See the protocol."""
        verify_webhook(payload, signature, self._webhook_secrets, now_ms=now_ms)
        return read_event(payload)

    async def close(self) -> None:
        """See the protocol."""
        await self._api.close()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """The time-out, and what a request that did not succeed means to a caller who waits for more than an outcome.

        Raises:
            ProviderUnusable: Stripe refuses us until somebody changes a setting.
            ProviderUnavailable: It did not answer.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except (TimeoutError, StripeFailure) as error:
            if isinstance(error, StripeFailure) and error.kind is FailureKind.UNUSABLE:
                raise ProviderUnusable(
                    "Stripe does not take the API key, or the key lacks a right: put a secret key in "
                    "TOLLGATE_STRIPE_API_KEY, or a restricted one that may write customers, PaymentMethods, "
                    "SetupIntents, Checkout Sessions, PaymentIntents and refunds."
                ) from error
            raise ProviderUnavailable from error

    async def _charge(self, attempt: ChargeAttempt, amount: int) -> ChargeOutcome:
        try:
            earlier = await self._intents(attempt, amount, since_ms=self._clock_ms() - KEY_REMEMBERED_MS)
            if earlier.intents:
                _check_words(attempt, earlier.intents)
                # A repeat, which the protocol allows and nobody needs: it tells what is, and touches nothing.
                return _weightiest([present_outcome(intent) or _BEGUN_BEFORE for intent in earlier.intents])
            intent = await self._create(attempt, amount)
        except StripeFailure as failure:
            if failure.kind is FailureKind.UNANSWERED:
                raise
            return not_charged(failure)
        if intent.created - earlier.asked_at > self._timeout_seconds:
            return Unknown("The charge was held up before its card was charged: look it up.")
        if not attempt.off_session:
            return await self._confirm_on_session(intent.id, attempt)
        return await self._confirm_off_session(intent.id, attempt)

    async def _confirm_off_session(self, intent_id: str, attempt: ChargeAttempt) -> ChargeOutcome:
        try:
            intent = await self._api.confirm_off_session(
                intent_id, return_url=self._return_url, key=f"{attempt.idempotency_key}/confirm"
            )
        except StripeFailure as failure:
            card = failure.card
            if card is not None and AUTHENTICATION_REQUIRED in (card.code, card.decline_code):
                # The bank's no is to the owner's absence: the same intent, confirmed anew, has a link for them.
                return await self._confirm_on_session(intent_id, attempt)
            return await self._unconfirmed(intent_id, failure)
        return await self._settle(intent)

    async def _confirm_on_session(self, intent_id: str, attempt: ChargeAttempt) -> ChargeOutcome:
        try:
            intent = await self._api.confirm_on_session(
                intent_id,
                attempt.method.method_id,
                return_url=self._return_url,
                key=f"{attempt.idempotency_key}/confirm-on-session",
            )
        except StripeFailure as failure:
            return await self._unconfirmed(intent_id, failure)
        return await self._settle(intent)

    async def _unconfirmed(self, intent_id: str, failure: StripeFailure) -> ChargeOutcome:
        """What a confirmation that failed comes to.

        Raises:
            StripeFailure: It cannot be said.
        """
        if failure.card is not None:
            return refusal(failure.card, intent_id)
        if failure.kind is FailureKind.UNANSWERED:
            raise failure
        if failure.kind is FailureKind.REFUSED:
            # Was somebody there before us: a look-up that canceled the intent, or another confirmation?
            outcome = await self._settle(await self._api.retrieve_intent(intent_id))
            if failure.code == "payment_intent_unexpected_state" or not isinstance(outcome, NotCharged):
                return outcome
        return not_charged(failure)

    async def _look_up(self, attempt: ChargeAttempt, amount: int, *, since_ms: int) -> ChargeOutcome:
        # First, so that another account's API key is an unknown customer, and not taken for "never sent".
        intents = (await self._intents(attempt, amount, since_ms=since_ms)).intents
        if not intents:
            try:
                await self._create(attempt, amount)
            except StripeFailure as failure:
                return _used_up(failure)
            # Anew, and not by the answer: that of a repeated key tells how the intent was at first, and we may have
            # been frozen for longer than Stripe remembers keys, with a charge made in between.
            intents = (await self._intents(attempt, amount, since_ms=since_ms)).intents
        return _weightiest([await self._settle(intent) for intent in intents]) if intents else _NOT_LISTED

    async def _settle(self, intent: PaymentIntent) -> ChargeOutcome:
        """The outcome of an intent, which is ended if only a late request could still confirm it."""
        return present_outcome(intent) or await self._end(intent)

    async def _end(self, intent: PaymentIntent) -> ChargeOutcome:
        """Cancel an intent, unless it took money meanwhile.

        Raises:
            StripeFailure: Stripe did not answer.
        """
        refused = refusal_of(intent)
        try:
            ended = await self._api.cancel_intent(intent.id)
        except StripeFailure as failure:
            if failure.kind is not FailureKind.REFUSED:
                raise
            ended = await self._api.retrieve_intent(intent.id)
        if ended.status == "canceled":
            # Stripe may clear the error when it cancels: what it was before counts, too.
            return ended_outcome(refused or refusal_of(ended))
        return present_outcome(ended) or Unknown(f"Stripe does not end the charge, which is {ended.status}.")

    async def _intents(self, attempt: ChargeAttempt, amount: int, *, since_ms: int) -> Listed:
        """The intents of an attempt's key: one at most, but for a key that came again after Stripe had forgotten it.

        Raises:
            ProviderKeyReused: One of them is of another amount.
            StripeFailure: Stripe did not answer, or does not know the customer.
        """
        customer_id, key = attempt.method.customer_id, attempt.idempotency_key
        listed = await self._api.intents_of_key(customer_id, key, since_ms=since_ms)
        if any((intent.amount, intent.currency) != (amount, attempt.currency.lower()) for intent in listed.intents):
            raise ProviderKeyReused(key)
        return listed

    async def _create(self, attempt: ChargeAttempt, amount: int) -> PaymentIntent:
        return await self._api.create_intent(
            amount=amount,
            currency=attempt.currency,
            customer_id=attempt.method.customer_id,
            method_id=attempt.method.method_id,
            description=attempt.description,
            metadata=_metadata(attempt),
            key=f"{attempt.idempotency_key}/create",
        )

    async def _own_intent(self, charge_id: str) -> PaymentIntent:
        """Read an intent, if it is one that this provider made: others of the same account are none of our business.

        Raises:
            ChargeNotFound: There is none.
            StripeFailure: Stripe did not answer.
        """
        if not _INTENT_ID.fullmatch(charge_id):
            raise ChargeNotFound(charge_id)
        try:
            intent = await self._api.retrieve_intent(charge_id)
        except StripeFailure as failure:
            if failure.code == "not_found":
                raise ChargeNotFound(charge_id) from failure
            raise
        if KEY_METADATA not in metadata_of(intent):
            raise ChargeNotFound(charge_id)
        return intent

    async def _refund(self, intent_id: str, key: str) -> RefundOutcome:
        try:
            refund = await self._api.refund(intent_id, key=f"{key}/refund")
        except StripeFailure as failure:
            # A failure inside Stripe is its answer to the key for a day; the refund may have been made all the same.
            if failure.code == "charge_already_refunded" or failure.replayed:
                made = await self._api.refunds_of(intent_id)
                if made:
                    return _refunded(made[0])
            if failure.kind is FailureKind.REFUSED:
                return RefundRefused(failure.code, f"Stripe does not give the charge back: {failure.code}.")
            raise
        return _refunded(refund)


def _refunded(refund: Refund) -> Refunded | RefundRefused:
    if refund.status in ("failed", "canceled"):
        return RefundRefused(f"refund_{refund.status}", "The card's bank did not take the money back.")
    return Refunded(refund.id)


def _metadata(attempt: ChargeAttempt) -> dict[str, str]:
    """What an intent of the attempt carries."""
    return {**attempt.metadata, KEY_METADATA: attempt.idempotency_key}


def _check_words(attempt: ChargeAttempt, intents: Sequence[PaymentIntent]) -> None:
    """Hold a repeat against what was sent first, as Stripe does with a key that it remembers.

    Not for a look-up: somebody may have edited a description in Stripe's dashboard.
    """
    for intent in intents:
        if (intent.description, metadata_of(intent)) != (attempt.description, _metadata(attempt)):
            raise ProviderKeyReused(attempt.idempotency_key)


def _unknown(error: TimeoutError | StripeFailure) -> Unknown:
    why = error.code if isinstance(error, StripeFailure) else "timed_out"
    return Unknown(f"Stripe did not say what became of it: {why}.")


def _used_up(failure: StripeFailure) -> ChargeOutcome:
    """What a look-up says when Stripe knows no intent of the key and would not make one either."""
    if failure.kind is FailureKind.REFUSED:
        # The customer is known, so it is the right account; a request still on its way is refused just the same.
        return not_charged(failure)
    if failure.kind is FailureKind.UNANSWERED and failure.replayed:
        # The key's first request failed inside Stripe, which gives every later one that same answer.
        return NotCharged("provider_failed", "Stripe failed before it made the charge.", can_retry=True)
    raise failure


def _weightiest(outcomes: Sequence[ChargeOutcome]) -> ChargeOutcome:
    """The outcome that counts, of several intents of one key: money that was taken, then money that may be."""
    order = (Succeeded, Unknown, ActionRequired)
    return min(outcomes, key=lambda outcome: next((i for i, kind in enumerate(order) if isinstance(outcome, kind)), 9))
