"""What Stripe's words about a refused card come to."""

from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp.client_reqrep import ConnectionKey

from gateway.payments.provider import Declined, NotCharged
from gateway.payments.stripe_failures import FailureKind, PaymentError, failure_of
from gateway.payments.stripe_outcomes import LONGEST_MESSAGE, ended_outcome, refusal


@pytest.mark.parametrize(
    ("error", "code", "can_retry"),
    [
        (PaymentError("card_declined"), "card_declined", False),
        (PaymentError("card_declined", "generic_decline"), "card_declined", False),
        (PaymentError("card_declined", "do_not_honor"), "do_not_honor", False),
        (PaymentError("card_declined", "do_not_honor", "try_again_later"), "do_not_honor", True),
        (PaymentError("card_declined", "insufficient_funds"), "insufficient_funds", True),
        (PaymentError("card_declined", "insufficient_funds", "do_not_try_again"), "insufficient_funds", False),
        (PaymentError("card_declined", "issuer_not_available"), "issuer_not_available", True),
        (PaymentError("expired_card", "expired_card"), "expired_card", False),
        (PaymentError("incorrect_cvc"), "incorrect_cvc", False),
        (PaymentError("CARD_DECLINED", "Insufficient_Funds"), "insufficient_funds", True),
        (PaymentError(""), "card_declined", False),
        # What would help a thief is not told.
        (PaymentError("card_declined", "stolen_card"), "card_declined", False),
        (PaymentError("card_declined", "lost_card", "try_again_later"), "card_declined", True),
        (PaymentError("card_declined", "fraudulent"), "card_declined", False),
        (PaymentError("payment_intent_authentication_failure"), "authentication_failed", False),
        (PaymentError("setup_intent_authentication_failure"), "authentication_failed", False),
    ],
)
def test_a_refused_card(error: PaymentError, code: str, can_retry: bool) -> None:
    declined = refusal(error, "pi_1")
    assert isinstance(declined, Declined)
    assert (declined.code, declined.can_retry, declined.charge_id) == (code, can_retry, "pi_1")
    assert ended_outcome(declined) == declined


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PaymentError("processing_error"), "processing_error"),
        (PaymentError("card_declined", "processing_error"), "processing_error"),
        (PaymentError("authentication_required"), "authentication_required"),
        (PaymentError("card_declined", "authentication_required"), "authentication_required"),
    ],
)
def test_what_is_not_the_cards_fault(error: PaymentError, code: str) -> None:
    outcome = refusal(error)
    assert isinstance(outcome, NotCharged)
    assert (outcome.code, outcome.can_retry) == (code, True)
    assert ended_outcome(outcome).code == "canceled"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Your card has expired.", "Your card has expired."),
        ("", "The card was declined."),
        ("two\nlines", "The card was declined."),
        ("long " * 100, ("long " * 100)[:LONGEST_MESSAGE]),
    ],
)
def test_the_words_for_a_cards_owner(message: str, shown: str) -> None:
    assert refusal(PaymentError("expired_card", message=message)) == Declined("expired_card", shown, False)


def sdk_error(kind: Any, *arguments: Any, **named: Any) -> Exception:
    """An error of the SDK, some of whose constructors have no types."""
    error = kind(*arguments, **named)
    assert isinstance(error, stripe.StripeError)
    return error


def connection_error(cause: Exception) -> Exception:
    """As the SDK raises it."""
    error = sdk_error(stripe.APIConnectionError, "Unexpected error communicating with Stripe")
    error.__cause__ = cause
    return error


REFUSED = aiohttp.ClientConnectorError(
    ConnectionKey("127.0.0.1", 1, False, True, None, None, None), ConnectionRefusedError(111, "refused")
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (connection_error(REFUSED), FailureKind.NOT_SENT),
        (connection_error(aiohttp.ConnectionTimeoutError()), FailureKind.NOT_SENT),
        (stripe.RateLimitError("slow down", http_status=429), FailureKind.RATE_LIMITED),
        (stripe.AuthenticationError("who?", http_status=401), FailureKind.UNUSABLE),
        (stripe.PermissionError("no", http_status=403), FailureKind.UNUSABLE),
        (sdk_error(stripe.InvalidRequestError, "no", None, http_status=400), FailureKind.REFUSED),
        (
            sdk_error(stripe.InvalidRequestError, "no", "id", code="resource_missing", http_status=404),
            FailureKind.REFUSED,
        ),
        (sdk_error(stripe.CardError, "no", None, "card_declined", http_status=402), FailureKind.CARD),
        # Whatever may have been carried out, and whatever nobody has thought of.
        (connection_error(aiohttp.ServerDisconnectedError()), FailureKind.UNANSWERED),
        (connection_error(aiohttp.ClientOSError(104, "reset")), FailureKind.UNANSWERED),
        (connection_error(aiohttp.ServerTimeoutError()), FailureKind.UNANSWERED),
        (connection_error(TimeoutError()), FailureKind.UNANSWERED),
        (connection_error(aiohttp.SocketTimeoutError()), FailureKind.UNANSWERED),
        (aiohttp.ClientPayloadError("cut off"), FailureKind.UNANSWERED),
        (TimeoutError(), FailureKind.UNANSWERED),
        (stripe.APIError("conflict", http_status=409), FailureKind.UNANSWERED),
        (stripe.APIError("broken", http_status=500), FailureKind.UNANSWERED),
        (stripe.APIError("<html>", http_status=502), FailureKind.UNANSWERED),
        (stripe.APIError("<html>", http_status=404), FailureKind.UNANSWERED),
        (stripe.StripeError("something new"), FailureKind.UNANSWERED),
    ],
)
def test_how_far_a_request_got(error: Exception, kind: FailureKind) -> None:
    assert failure_of(error).kind is kind
