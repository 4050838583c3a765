"""Cards that are added: entered on Stripe's page or in its browser form, and then PaymentMethods of a customer."""

import re
from typing import Final

from stripe import PaymentMethod, SetupIntent

from gateway.errors import InvalidArgument
from gateway.payments.errors import CardEntryInvalid, CardEntryUnfinished, PaymentTokenInvalid, ProviderUnusable
from gateway.payments.provider import (
    Card,
    CardEntry,
    Declined,
    NewPaymentMethod,
    NotCharged,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentMethodOutcome,
    PaymentMethodReference,
)
from gateway.payments.return_urls import with_entry
from gateway.payments.stripe_api import OWNER_METADATA, StripeApi, metadata_of
from gateway.payments.stripe_failures import FailureKind, PaymentError, StripeFailure
from gateway.payments.stripe_outcomes import confirmation_url, refusal

METHOD_PREFIX: Final = "pm_"
SETUP_PREFIX: Final = "seti_"

SESSION_TEMPLATE: Final = "{CHECKOUT_SESSION_ID}"
"""Stripe puts the session's id in its place when it sends the browser back."""

_SESSION_ID: Final = re.compile(r"cs_[A-Za-z0-9_]{1,250}")

_UNKNOWN: Final = "Stripe does not know it, or it was used before: let the form in the browser make a new one"
_NO_CUSTOMER: Final = "Stripe has no such customer: add the card without one"
_NOT_ITS_CUSTOMER: Final = "it belongs to another customer: let the form in the browser make a new one"


class StripeCards:
    """Adds cards; each request to Stripe has a key of its own, derived from that of the whole."""

    def __init__(self, api: StripeApi, *, return_url: str) -> None:
        self._api = api
        self._return_url = return_url

    async def add(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Keep a card under its owner's customer; the request is checked already.

        Raises:
            PaymentTokenInvalid: Stripe does not know the token, or it is no card, or somebody else's.
            InvalidArgument: Stripe does not know the customer.
            StripeFailure: Stripe did not answer, or does not take our credentials.
        """
        try:
            if request.token.startswith(METHOD_PREFIX):
                return await self._set_up(request)
            if request.token.startswith(SETUP_PREFIX):
                return await self._take_over(request)
        except StripeFailure as failure:
            if failure.card is not None:
                return _declined(failure.card)
            if failure.kind is FailureKind.REFUSED and failure.param == "customer":
                raise InvalidArgument("customer_id", _NO_CUSTOMER) from failure
            if failure.kind is FailureKind.REFUSED:
                raise PaymentTokenInvalid(_UNKNOWN) from failure
            raise
        raise PaymentTokenInvalid(f"must be a PaymentMethod ({METHOD_PREFIX}...) or a SetupIntent ({SETUP_PREFIX}...)")

    async def begin_entry(self, request: CardEntry) -> str:
        """Open Stripe's page for a card; the request is checked already.

        Raises:
            InvalidArgument: Stripe does not know the customer.
            ProviderUnusable: Stripe lets no card be entered.
            StripeFailure: Stripe did not answer, or does not take our credentials.
        """
        try:
            session = await self._api.open_checkout(
                await self._customer(request),
                request.owner_id,
                success_url=with_entry(request.return_url, SESSION_TEMPLATE),
                cancel_url=request.cancel_url,
                key=f"{request.idempotency_key}/enter",
            )
        except StripeFailure as failure:
            if failure.kind is FailureKind.REFUSED and failure.param == "customer":
                raise InvalidArgument("customer_id", _NO_CUSTOMER) from failure
            if failure.kind is FailureKind.REFUSED:
                raise ProviderUnusable(
                    f"Stripe does not open its page for a card ({failure.code}): see in its dashboard that cards are "
                    "turned on among the payment methods."
                ) from failure
            raise
        if session.url is None:
            raise StripeFailure(FailureKind.UNANSWERED, "no_url")
        return session.url

    async def finish_entry(self, entry: str, owner_id: str) -> str:
        """The SetupIntent of a card that was entered on Stripe's page.

        Raises:
            CardEntryInvalid: It is no session of this owner's, or not complete.
            StripeFailure: Stripe did not answer, or does not take our credentials.
        """
        if not _SESSION_ID.fullmatch(entry):
            raise CardEntryInvalid
        try:
            session = await self._api.retrieve_checkout(entry)
        except StripeFailure as failure:
            if failure.kind is FailureKind.REFUSED:
                raise CardEntryInvalid from failure
            raise
        # Of another office, or of somebody else who uses the same account.
        if metadata_of(session).get(OWNER_METADATA) != owner_id:
            raise CardEntryInvalid
        setup_id = _id(session.setup_intent)
        if session.status != "complete" or setup_id is None:
            raise CardEntryUnfinished
        return setup_id

    async def _set_up(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Add a card that nobody has agreed with the bank about: a SetupIntent does."""
        customer_id = await self._customer(request)
        setup = await self._api.set_up(
            customer_id, request.token, return_url=self._return_url, key=f"{request.idempotency_key}/set-up"
        )
        return await self._outcome(setup, customer_id, request)

    async def _take_over(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Add the card of a SetupIntent: ours, whose owner has followed its link or entered it, or one of the form."""
        setup = await self._api.retrieve_setup_intent(request.token)
        customer_id = _id(setup.customer)
        # Who knows another's SetupIntent must not come by the card in it. Its metadata is written by secret keys only:
        # one that names the owner was made for them, with the customer that the owner's first card is kept under.
        is_its_owners = metadata_of(setup).get(OWNER_METADATA) == request.owner_id
        if customer_id is not None and customer_id != request.customer_id and not is_its_owners:
            raise PaymentTokenInvalid(_NOT_ITS_CUSTOMER)
        return await self._outcome(setup, customer_id or await self._customer(request), request)

    async def _outcome(self, setup: SetupIntent, customer_id: str, request: NewPaymentMethod) -> PaymentMethodOutcome:
        match setup.status:
            case "succeeded":
                return await self._added(_id(setup.payment_method) or "", customer_id, request)
            case "requires_action" if url := confirmation_url(setup):
                return PaymentMethodActionRequired(setup.id, customer_id, url)
            case "requires_payment_method" if setup.last_setup_error is not None:
                return _declined(PaymentError.of(setup.last_setup_error))
        raise PaymentTokenInvalid(f"its SetupIntent is {setup.status}: finish it in the form in the browser first")

    async def _added(self, method_id: str, customer_id: str, request: NewPaymentMethod) -> PaymentMethodAdded:
        method = await self._api.retrieve_method(method_id)
        if method.customer is None:
            method = await self._api.attach_method(method_id, customer_id, key=f"{request.idempotency_key}/attach")
        if _id(method.customer) != customer_id:
            raise PaymentTokenInvalid(_NOT_ITS_CUSTOMER)
        return PaymentMethodAdded(PaymentMethodReference(customer_id, method.id), _card(method))

    async def _customer(self, request: NewPaymentMethod | CardEntry) -> str:
        if request.customer_id is not None:
            return request.customer_id
        return await self._api.create_customer(request.owner_id, key=f"{request.idempotency_key}/customer")


def _card(method: PaymentMethod) -> Card:
    card = getattr(method, "card", None)
    if method.type != "card" or card is None or not card.fingerprint:
        raise PaymentTokenInvalid("it is no card: only cards can be charged")
    return Card(
        brand=card.brand.lower(),
        last_four=card.last4,
        expiry_month=card.exp_month,
        expiry_year=card.exp_year,
        fingerprint=card.fingerprint,
    )


def _declined(error: PaymentError) -> Declined:
    refused = refusal(error)
    if isinstance(refused, NotCharged):
        # Nothing was to be charged: to whoever adds a card, its bank just did not say yes.
        return Declined(refused.code, "The card could not be checked with its bank.", refused.can_retry)
    return refused


def _id(reference: object) -> str | None:
    """The id of what Stripe names by its id, or gives whole; None where there is nothing."""
    return reference if isinstance(reference, str) else getattr(reference, "id", None)
