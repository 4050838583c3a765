"""Cards that are added: tokens of Stripe's browser form that become PaymentMethods of a customer."""

from typing import Final

from stripe import PaymentMethod, SetupIntent

from gateway.errors import InvalidArgument
from gateway.payments.errors import PaymentTokenInvalid
from gateway.payments.provider import (
    Card,
    Declined,
    NewPaymentMethod,
    NotCharged,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentMethodOutcome,
    PaymentMethodReference,
)
from gateway.payments.stripe_api import StripeApi
from gateway.payments.stripe_failures import FailureKind, PaymentError, StripeFailure
from gateway.payments.stripe_outcomes import confirmation_url, refusal

METHOD_PREFIX: Final = "pm_"
SETUP_PREFIX: Final = "seti_"

_UNKNOWN: Final = "Stripe does not know it, or it was used before: let the form in the browser make a new one"
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
                raise InvalidArgument(
                    "customer_id", "Stripe has no such customer: add the card without one"
                ) from failure
            if failure.kind is FailureKind.REFUSED:
                raise PaymentTokenInvalid(_UNKNOWN) from failure
            raise
        raise PaymentTokenInvalid(f"must be a PaymentMethod ({METHOD_PREFIX}...) or a SetupIntent ({SETUP_PREFIX}...)")

    async def _set_up(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Add a card that nobody has agreed with the bank about: a SetupIntent does."""
        customer_id = await self._customer(request)
        setup = await self._api.set_up(
            customer_id, request.token, return_url=self._return_url, key=f"{request.idempotency_key}/set-up"
        )
        return await self._outcome(setup, customer_id, request)

    async def _take_over(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Add the card of a SetupIntent: ours, whose link its owner has followed, or one that the form confirmed."""
        setup = await self._api.retrieve_setup_intent(request.token)
        customer_id = _id(setup.customer)
        # Who knows another's SetupIntent must not come by the card in it.
        if customer_id is not None and customer_id != request.customer_id:
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

    async def _customer(self, request: NewPaymentMethod) -> str:
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
