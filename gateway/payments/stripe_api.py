"""Stripe's API as far as the gateway uses it: one method a request, each failure a StripeFailure.

The SDK repeats nothing by itself (`max_network_retries=0`): when a request may be repeated is for the gateway to say.
The HTTP client beneath repeats a GET, once, whose kept connection turns out to be closed, and never a POST.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import aiohttp
import stripe
import structlog
from stripe import AIOHTTPClient, ListObject, PaymentIntent, PaymentMethod, Refund, SetupIntent, StripeClient
from stripe.checkout import Session

from gateway.payments.errors import ProviderKeyReused
from gateway.payments.stripe_failures import FailureKind, StripeFailure, failure_of

log = structlog.get_logger(__name__)

API_VERSION: Final = "2026-10-28.endive"
"""What we were tested with. A newer SDK would else speak a newer one, and Stripe drops parameters between them."""

KEY_METADATA: Final = "tollgate_key"
"""Under which an intent carries the provider key of its attempt."""

OWNER_METADATA: Final = "tollgate_owner"
"""Under which a customer carries whose cards it has, for people who look there; a card's entry, and the SetupIntent
of it, by whom it may be finished."""

PAGE_SIZE: Final = 100
MAX_PAGES: Final = 50
"""Of a customer's intents: nobody makes 5,000 in the window that is asked for, and the loop has to end."""

CONNECT_SECONDS: Final = 10.0
"""How long name look-up, TCP and TLS may take together."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Listed:
    """Intents, as they were when Stripe was asked."""

    intents: list[PaymentIntent]
    asked_at: int
    """By Stripe's clock, as the `created` of an intent is: Unix seconds."""


class StripeApi:
    """A connection pool to Stripe, opened by the first request. Safe for many tasks of one event loop."""

    def __init__(self, api_key: str, *, timeout_seconds: float, base_url: str | None = None) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            api_key: Secret (`sk_...`) or restricted (`rk_...`).
            timeout_seconds: For one request.
            base_url: Of a stand-in for Stripe; its own address when None.
        """
        # Else the SDK writes an id of this machine into the home directory and sends it along.
        stripe.enable_telemetry = False
        connect = min(CONNECT_SECONDS, timeout_seconds)
        self._http = AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=connect))
        self._client = StripeClient(
            api_key,
            stripe_version=API_VERSION,
            http_client=self._http,
            max_network_retries=0,
            base_addresses={"api": base_url} if base_url else {},
        )

    async def probe(self) -> None:
        """Ask for something that look_up needs the right to, too."""
        await _answer(self._client.v1.payment_intents.list_async({"limit": 1}))

    async def create_intent(
        self,
        *,
        amount: int,
        currency: str,
        customer_id: str,
        method_id: str,
        description: str,
        metadata: Mapping[str, str],
        key: str,
    ) -> PaymentIntent:
        """Make an intent that charges nothing until it is confirmed."""
        return await _answer(
            self._client.v1.payment_intents.create_async(
                {
                    "amount": amount,
                    "currency": currency.lower(),
                    "customer": customer_id,
                    "payment_method": method_id,
                    "allowed_payment_method_types": ["card"],
                    "description": description,
                    "metadata": dict(metadata),
                },
                {"idempotency_key": key},
            ),
            key,
        )

    async def confirm_off_session(self, intent_id: str, *, return_url: str, key: str) -> PaymentIntent:
        """Charge the card in its owner's absence: the one request that takes money without further ado."""
        return await _answer(
            self._client.v1.payment_intents.confirm_async(
                intent_id, {"off_session": True, "return_url": return_url}, {"idempotency_key": key}
            ),
            key,
        )

    async def confirm_on_session(self, intent_id: str, method_id: str, *, return_url: str, key: str) -> PaymentIntent:
        """Charge the card, or learn where its owner has to go first.

        The method is named again, since an intent forgets it when its bank refuses.
        """
        return await _answer(
            self._client.v1.payment_intents.confirm_async(
                intent_id, {"payment_method": method_id, "return_url": return_url}, {"idempotency_key": key}
            ),
            key,
        )

    async def retrieve_intent(self, intent_id: str) -> PaymentIntent:
        """Read an intent as it is now."""
        return await _answer(self._client.v1.payment_intents.retrieve_async(intent_id))

    async def cancel_intent(self, intent_id: str) -> PaymentIntent:
        """End an intent that has taken no money; it never will.

        Without a key of ours: it can be repeated anyhow, and the stored answer of an earlier try would be no news.
        """
        return await _answer(self._client.v1.payment_intents.cancel_async(intent_id))

    async def intents_of_key(self, customer_id: str, idempotency_key: str, *, since_ms: int) -> "Listed":
        """The customer's intents that were made under a provider key, newest first.

        By listing and not by Stripe's search, which knows of an intent only some time after it was made.

        Args:
            customer_id: Whose.
            idempotency_key: In their metadata.
            since_ms: Made then or later; Unix milliseconds.
        """
        listed: Listed | None = None
        after = ""
        for _ in range(MAX_PAGES):
            page = await _answer(
                self._client.v1.payment_intents.list_async(
                    {
                        "customer": customer_id,
                        "created": {"gte": max(since_ms // 1000, 0)},
                        "limit": PAGE_SIZE,
                        **({"starting_after": after} if after else {}),
                    }
                )
            )
            listed = listed or Listed([], _answered_at(page))
            listed.intents.extend(each for each in page.data if metadata_of(each).get(KEY_METADATA) == idempotency_key)
            if not page.has_more or not page.data:
                return listed
            after = page.data[-1].id
        raise StripeFailure(FailureKind.UNANSWERED, "too_many_intents")

    async def refund(self, intent_id: str, *, key: str) -> Refund:
        """Give back what is left of a charge."""
        return await _answer(
            self._client.v1.refunds.create_async({"payment_intent": intent_id}, {"idempotency_key": key}), key
        )

    async def refunds_of(self, intent_id: str) -> list[Refund]:
        """The refunds of a charge, newest first."""
        page = await _answer(self._client.v1.refunds.list_async({"payment_intent": intent_id, "limit": PAGE_SIZE}))
        return list(page.data)

    async def create_customer(self, owner_id: str, *, key: str) -> str:
        """Make a customer and return its id."""
        customer = await _answer(
            self._client.v1.customers.create_async({"metadata": {OWNER_METADATA: owner_id}}, {"idempotency_key": key}),
            key,
        )
        return customer.id

    async def open_checkout(
        self, customer_id: str, owner_id: str, *, success_url: str, cancel_url: str, key: str
    ) -> Session:
        """Have a card entered on Stripe's page and kept under a customer.

        The types are told, and so no currency has to be: nothing is charged.
        """
        owner = {OWNER_METADATA: owner_id}
        return await _answer(
            self._client.v1.checkout.sessions.create_async(
                {
                    "mode": "setup",
                    "customer": customer_id,
                    "allowed_payment_method_types": ["card"],
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                    "metadata": owner,
                    "setup_intent_data": {"metadata": owner},
                },
                {"idempotency_key": key},
            ),
            key,
        )

    async def retrieve_checkout(self, session_id: str) -> Session:
        """Read a session of Stripe's page as it is now."""
        return await _answer(self._client.v1.checkout.sessions.retrieve_async(session_id))

    async def set_up(self, customer_id: str, method_id: str, *, return_url: str, key: str) -> SetupIntent:
        """Keep a card under a customer, its bank having agreed to charges in its owner's absence."""
        return await _answer(
            self._client.v1.setup_intents.create_async(
                {
                    "customer": customer_id,
                    "payment_method": method_id,
                    "allowed_payment_method_types": ["card"],
                    "usage": "off_session",
                    "confirm": True,
                    "return_url": return_url,
                },
                {"idempotency_key": key},
            ),
            key,
        )

    async def retrieve_setup_intent(self, setup_intent_id: str) -> SetupIntent:
        """Read a SetupIntent as it is now."""
        return await _answer(self._client.v1.setup_intents.retrieve_async(setup_intent_id))

    async def retrieve_method(self, method_id: str) -> PaymentMethod:
        """Read a PaymentMethod."""
        return await _answer(self._client.v1.payment_methods.retrieve_async(method_id))

    async def attach_method(self, method_id: str, customer_id: str, *, key: str) -> PaymentMethod:
        """Keep a card, which was set up without a customer, under one."""
        return await _answer(
            self._client.v1.payment_methods.attach_async(
                method_id, {"customer": customer_id}, {"idempotency_key": key}
            ),
            key,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call] # the SDK's types end here


def metadata_of(answer: PaymentIntent | SetupIntent | Session) -> dict[str, str]:
    """The metadata of what Stripe has: a PaymentIntent without KEY_METADATA is not ours."""
    return answer.metadata.to_dict() if answer.metadata else {}


def _answered_at(answer: ListObject[PaymentIntent]) -> int:
    """When Stripe gave an answer, by its clock, in Unix seconds."""
    response = answer.last_response
    date = response.headers.get("Date") if response is not None else None
    try:
        return int(parsedate_to_datetime(date or "").timestamp())
    except ValueError as error:
        raise StripeFailure(FailureKind.UNANSWERED, "not_stripe") from error


async def _answer(request: Awaitable[_Answer], key: str = "") -> _Answer:
    """Wait for an answer and turn whatever goes wrong into a StripeFailure.

    Raises:
        StripeFailure: The request did not succeed.
        ProviderKeyReused: The key was used for other content.
    """
    try:
        answer = await request
    except stripe.IdempotencyError as error:
        raise ProviderKeyReused(key) from error
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
        # The body is read outside of what the SDK guards: the HTTP client's own exceptions get through.
        failure = failure_of(error)
        # A bank that says no is everyday life.
        tell = log.info if failure.kind is FailureKind.CARD else log.warning
        tell(
            "stripe_request_failed",
            kind=failure.kind.name,
            code=failure.code,
            param=failure.param,
            # What Stripe's people ask for, and what its dashboard finds.
            request_id=getattr(error, "request_id", None),
            http_status=getattr(error, "http_status", None),
        )
        raise failure from error
    if not hasattr(answer, "object"):
        # Not Stripe: something on the way to it answered in its place.
        raise StripeFailure(FailureKind.UNANSWERED, "not_stripe")
    return answer
