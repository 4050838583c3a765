"""What a PaymentIntent, or a refused card, says as an outcome of the protocol. Pure: nothing is asked of Stripe here.

A charge is a PaymentIntent, and its charge_id the intent's id. An intent succeeds at most once, whatever is sent to it,
and never again once it is canceled: that is what the whole provider is built on.
"""

from typing import Final

from stripe import PaymentIntent, SetupIntent

from gateway.payments.provider import ActionRequired, ChargeOutcome, Declined, NotCharged, Succeeded, Unknown
from gateway.payments.stripe_failures import FailureKind, PaymentError, StripeFailure

AUTHENTICATION_REQUIRED: Final = "authentication_required"
"""Of a charge in its owner's absence: the bank wants to hear from them."""

CANCELED: Final = "canceled"
LONGEST_MESSAGE: Final = 300

_NOT_AUTHENTICATED: Final = frozenset(
    {"payment_intent_authentication_failure", "setup_intent_authentication_failure", "authentication_not_handled"}
)

_MAY_WORK_LATER: Final = frozenset(
    {
        "approve_with_id",
        "card_velocity_exceeded",
        "insufficient_funds",
        "issuer_not_available",
        "reenter_transaction",
        "try_again_later",
        "withdrawal_count_limit_exceeded",
    }
)
"""Reasons that pass by themselves (https://docs.stripe.com/declines/codes)."""

_NOT_TO_BE_TOLD: Final = frozenset(
    {"fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "restricted_card", "stolen_card"}
)
"""Reasons that would help whoever holds a card that is not theirs: Stripe wants them told as a plain refusal."""

_NOT_THE_CARD: Final = "processing_error"
"""Neither card nor bank said no: something between us and them failed, and the charge with it."""


def refusal(error: PaymentError, charge_id: str | None = None) -> Declined | NotCharged:
    """Tell why a card was not charged, or not added."""
    code = _reason(error)
    if code == _NOT_THE_CARD:
        return NotCharged(code, "The payment provider could not process the charge.", can_retry=True)
    if code == AUTHENTICATION_REQUIRED:
        # Its owner was never asked: whoever tries again gets the link for them.
        return NotCharged(code, "The bank wants the card's owner to confirm, who was not asked yet.", can_retry=True)
    message = error.message if error.message and error.message.isprintable() else "The card was declined."
    return Declined(code, message[:LONGEST_MESSAGE], _may_work_later(error, code), charge_id)


def refusal_of(intent: PaymentIntent) -> Declined | NotCharged | None:
    """Why the last try to charge by an intent failed; None if none has."""
    error = intent.last_payment_error
    return refusal(PaymentError.of(error), intent.id) if error is not None else None


def ended_outcome(refused: Declined | NotCharged | None) -> Declined | NotCharged:
    """What a canceled intent comes to: the card's bank had said no, or nobody had."""
    if isinstance(refused, Declined):
        return refused
    return NotCharged(CANCELED, "The charge was ended before it took money.", can_retry=True)


def present_outcome(intent: PaymentIntent) -> ChargeOutcome | None:
    """What an intent says now; None if it has not charged and still could, without a link for the card's owner."""
    match intent.status:
        case "succeeded":
            return Succeeded(intent.id)
        case "canceled":
            return ended_outcome(refusal_of(intent))
        case "processing":
            return Unknown("Stripe is still processing the charge.")
        case "requires_action":
            url = confirmation_url(intent)
            return ActionRequired(intent.id, url) if url else None
    return None


def confirmation_url(intent: PaymentIntent | SetupIntent) -> str | None:
    """Where the card's owner confirms: the page at Stripe that leads on to the bank's, and back to our return page.

    Stripe gives it (`next_action.redirect_to_url.url`) to whoever confirms with a return_url. None if the intent wants
    something else, such as a script in the browser, for which there is no link.
    """
    action = intent.next_action
    redirect = getattr(action, "redirect_to_url", None) if action is not None else None
    return getattr(redirect, "url", None) or None


def not_charged(failure: StripeFailure) -> NotCharged:
    """Tell of a request that certainly did nothing."""
    match failure.kind:
        case FailureKind.NOT_SENT:
            return NotCharged(failure.code, "Stripe could not be reached.", can_retry=True)
        case FailureKind.RATE_LIMITED:
            return NotCharged(failure.code, "Stripe turned the request away: too many at once.", can_retry=True)
        case FailureKind.UNUSABLE:
            return NotCharged(
                failure.code, "Stripe does not take the API key for this: check TOLLGATE_STRIPE_API_KEY.", False
            )
    about = f" ({failure.param})" if failure.param else ""
    return NotCharged(failure.code, f"Stripe refused the request: {failure.code}{about}.", can_retry=False)


def _reason(error: PaymentError) -> str:
    """The most telling code that may be told."""
    code, decline_code = error.code.lower() or "card_declined", error.decline_code.lower()
    if AUTHENTICATION_REQUIRED in (code, decline_code):
        return AUTHENTICATION_REQUIRED
    if code in _NOT_AUTHENTICATED:
        return "authentication_failed"
    if decline_code in _NOT_TO_BE_TOLD or code in _NOT_TO_BE_TOLD:
        return "card_declined"
    specific = code == "card_declined" and decline_code not in ("", "generic_decline")
    return decline_code if specific else code


def _may_work_later(error: PaymentError, code: str) -> bool:
    """The bank's own advice, where it gave one, else the reason."""
    if error.advice_code:
        return error.advice_code == "try_again_later"
    return code in _MAY_WORK_LATER
