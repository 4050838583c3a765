"""Cards: added, asked for the amount of a small charge, and only then able to pay."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.billing.charging import Charging
from gateway.billing.errors import CardDeclined
from gateway.domain.minor_units import to_micros, to_minor_units
from gateway.domain.office import RefillSettings
from gateway.domain.vocabulary import PaymentTerms
from gateway.errors import FailedPrecondition, InvalidArgument
from gateway.ledger.errors import CardLocked, CardOfOtherProvider, PaymentMethodNotAllowed
from gateway.ledger.offices import Office
from gateway.ledger.payment_methods import WRONG_ANSWERS, AddedCard, PaymentMethod, PaymentMethods
from gateway.payments.card_numbers import has_card_number
from gateway.payments.errors import CardNumberRefused, PaymentTokenInvalid
from gateway.payments.provider import (
    CardEntry,
    Declined,
    NewPaymentMethod,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentProvider,
)
from gateway.store.clock import Clock

LEAST_MINOR_UNITS: Final = 50
MINOR_UNITS: Final = 150
"""The small charge is one of so many amounts from the least on: 0.50 to 1.99 in a currency of cents."""

MAX_TOKEN_LENGTH: Final = 255


class WrongAmount(FailedPrecondition):
    """The answer is wrong; it was counted."""

    reason = "CONFIRMATION_AMOUNT_WRONG"

    def __init__(self, left: int) -> None:
        super().__init__(
            f"amount_micros: this is not the amount of the small charge; {left} more wrong "
            f"answer{'s' if left > 1 else ''} will lock the card. Find the amount on the card's statement.",
            field="amount_micros",
            metadata={"answers_left": str(left)},
        )


@dataclass(frozen=True, slots=True)
class CardStanding:
    """A card, and where its owner has to agree to something first; empty: nowhere."""

    method: PaymentMethod
    confirmation_url: str = ""


class Cards:
    """What AddPaymentMethod and ConfirmPaymentMethod do, and how a browser enters a card.

    Args:
        methods: SQL's side.
        charging: Makes the small charge.
        provider: Keeps the cards.
        clock: The store's.
        currency: Of this installation.
        draw: A random number from 0 up to but not including its argument: the amount is nobody's to foresee.
    """

    def __init__(
        self,
        methods: PaymentMethods,
        charging: Charging,
        provider: PaymentProvider,
        clock: Clock,
        *,
        currency: str,
        draw: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._methods = methods
        self._charging = charging
        self._provider = provider
        self._clock = clock
        self._currency = currency
        self._draw = draw

    async def begin_entry(self, office_id: str, *, return_url: str, cancel_url: str) -> str:
        """Have a card entered on the provider's own page, which sees its number as nothing of ours does.

        Nothing is written down: what is never finished leaves no trace here.

        Args:
            office_id: Whose card it will be.
            return_url: Absolute, of our page that calls `finish_entry` with the parameter `entry` of its query.
            cancel_url: Absolute, of our page for those who would rather not.

        Returns:
            The URL that the browser is to go to.

        Raises:
            InvalidArgument: A URL is none.
            FailedPrecondition: There are too many cards, or the provider lets none be entered.
            Unavailable: The provider does not answer: repeat it.
        """
        basis = await self._methods.begin_entry(office_id)
        return await self._provider.begin_card_entry(
            CardEntry(
                owner_id=office_id,
                return_url=return_url,
                cancel_url=cancel_url,
                idempotency_key=basis.key,
                customer_id=basis.customer_ref or None,
            )
        )

    async def finish_entry(self, office_id: str, entry: str, *, actor: str) -> CardStanding:
        """Add the card that was entered on the provider's page; a repeat, e.g. a reload, tells where it stands.

        Raises:
            CardEntryInvalid: There is no such entry of this office, or no card was entered.
            TollgateError: As `add`.
        """
        token = await self._provider.finish_card_entry(entry, owner_id=office_id)
        return await self.add(office_id, token, actor=actor)

    async def resume(self, office_id: str, payment_method_id: str, *, actor: str) -> CardStanding:
        """Go on with a card that is not confirmed, as a repeat of `add` does, for those who have its token no more.

        Raises:
            PaymentMethodNotFound: The office has no such card.
            CardOfOtherProvider: It was begun with another provider than the one in use.
            TollgateError: As `add`.
        """
        method = await self._methods.of_office(office_id, payment_method_id)
        if method.provider != self._provider.name:
            raise CardOfOtherProvider(method.provider)
        return await self._go_on(method, actor)

    async def add(self, office_id: str, token: str, *, actor: str) -> CardStanding:
        """Keep a card with the provider and make the small charge, once per token; a repeat tells where it stands.

        A repeat also goes on after the owner has agreed at their bank, and makes another small charge where the last
        one failed or was given back without an answer.

        Raises:
            InvalidArgument: The token is none, was used up, or is of a removed card.
            CardNumberRefused: It looks like a card number; it is neither kept nor repeated.
            FailedPrecondition: The card was declined, is expired or locked, or there are too many.
            ChargeUndecided: It is not known yet whether the small charge was made: repeat it.
            Unavailable: It is done or not: repeat it.
        """
        # First of all: not even a hash of a card number may be kept.
        if has_card_number(token):
            raise _of_field(CardNumberRefused())
        if not token or len(token) > MAX_TOKEN_LENGTH or not (token.isascii() and token.isprintable()):
            raise InvalidArgument("provider_token", f"must be 1 to {MAX_TOKEN_LENGTH} printable ASCII characters")
        token_hash = hashlib.sha256(token.encode()).hexdigest()
        method = await self._methods.begin(office_id, token, token_hash, actor=actor, now_ms=self._clock.now_ms())
        return await self._go_on(method, actor)

    async def confirm(self, office_id: str, payment_method_id: str, amount_micros: int, *, actor: str) -> PaymentMethod:
        """Take the answer to the question for the small charge's amount; a card that is confirmed stays so.

        Raises:
            PaymentMethodNotFound: The office has no such card.
            CardLocked: This was the third wrong answer about the card, or it was locked before.
            WrongAmount: It is wrong, and was counted.
            FailedPrecondition: There is no small charge to tell the amount of, now.
        """
        answer = await self._methods.answer(
            office_id, payment_method_id, amount_micros, actor=actor, now_ms=self._clock.now_ms()
        )
        if answer.method.is_locked:
            raise CardLocked
        if not answer.is_right:
            raise WrongAmount(WRONG_ANSWERS - answer.method.wrong_answers)
        return answer.method

    async def check_refill(self, office: Office, refill: RefillSettings) -> None:
        """Hold a card, and the amount, against what an automatic refill needs; one that is off needs the card only.

        Raises:
            InvalidArgument: No card can be charged with such an amount.
            PaymentMethodNotFound: The office has no such card.
            CardUnusable: It is unconfirmed, locked, expired or of another provider.
            PaymentMethodNotAllowed: The office pays by invoice.
        """
        if not refill.enabled:
            await self._methods.of_office(office.office_id, refill.payment_method_id)
            return
        if office.settings.payment_terms is PaymentTerms.INVOICE:
            raise PaymentMethodNotAllowed
        to_minor_units(refill.amount_micros, self._currency)
        await self._methods.usable(office.office_id, refill.payment_method_id, now_ms=self._clock.now_ms())

    async def _go_on(self, method: PaymentMethod, actor: str) -> CardStanding:
        if method.confirmed_at is not None:
            return CardStanding(method)
        if method.added_at is None:
            outcome = await self._keep(method, actor)
            if isinstance(outcome, PaymentMethodActionRequired):
                waiting = await self._methods.await_owner(
                    method,
                    token=outcome.token,
                    customer_ref=outcome.customer_id,
                    confirmation_url=outcome.confirmation_url,
                )
                return CardStanding(waiting, waiting.confirmation_url)
            intended = await self._methods.complete(
                method,
                _added(outcome),
                small_amount_micros=self._small_amount(),
                actor=actor,
                now_ms=self._clock.now_ms(),
            )
        else:
            intended = await self._methods.small_charge(
                method,
                small_amount_micros=self._small_amount(),
                actor=actor,
                now_ms=self._clock.now_ms(),
            )
        charge = await self._charging.outcome(intended)
        kept = await self._methods.of_office(method.office_id, method.payment_method_id)
        return CardStanding(kept, charge.confirmation_url)

    async def _keep(self, method: PaymentMethod, actor: str) -> PaymentMethodAdded | PaymentMethodActionRequired:
        request = NewPaymentMethod(
            token=method.setup_token,
            owner_id=method.office_id,
            idempotency_key=await self._methods.setup_key(method),
            customer_id=method.customer_ref or None,
        )
        try:
            outcome = await self._provider.add_payment_method(request)
            if isinstance(outcome, Declined):
                raise CardDeclined(outcome.code, outcome.message, can_retry=outcome.can_retry, again="")
        except (InvalidArgument, CardDeclined) as error:
            await self._methods.forget(method, actor=actor, now_ms=self._clock.now_ms())
            raise _of_field(error) if isinstance(error, PaymentTokenInvalid) else error from None
        return outcome

    def _small_amount(self) -> int:
        return to_micros(LEAST_MINOR_UNITS + self._draw(MINOR_UNITS), self._currency)


def _added(outcome: PaymentMethodAdded) -> AddedCard:
    card = outcome.card
    return AddedCard(
        customer_ref=outcome.reference.customer_id,
        method_ref=outcome.reference.method_id,
        brand=card.brand,
        last_four=card.last_four,
        expiry_month=card.expiry_month,
        expiry_year=card.expiry_year,
        fingerprint=card.fingerprint,
    )


def _of_field(error: PaymentTokenInvalid) -> InvalidArgument:
    """The same error under the name that the field has in the contract."""
    _, what = error.violations[0]
    return InvalidArgument("provider_token", what, reason=error.reason)
