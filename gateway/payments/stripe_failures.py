"""What a failed request to Stripe means: whether it did anything, and what to tell.

The one question that matters with money is whether the request may have been carried out. Whoever answers yes and is
wrong loses a retry; whoever answers no and is wrong charges a card twice. So everything is UNANSWERED that is not
certain: https://docs.stripe.com/error-low-level.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import aiohttp
import stripe

IDEMPOTENT_REPLAYED: Final = "Idempotent-Replayed"
"""The header by which Stripe says that an answer is the one that it gave to the key's first request."""

_NEVER_SENT: Final = (
    # Name, TCP, TLS and the wait for a free connection: all of them are over before a byte of the request goes out.
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class FailureKind(Enum):
    """How far a request got that did not succeed."""

    NOT_SENT = auto()
    """Stripe was not reached; nothing happened."""
    RATE_LIMITED = auto()
    """Stripe turned the request away before it did anything; it makes sense again in a while."""
    UNUSABLE = auto()
    """Stripe does not take our credentials for this; nothing happened."""
    REFUSED = auto()
    """The request is wrong, or not possible in the present state; nothing happened."""
    CARD = auto()
    """The card was refused, or its bank wants to hear from its owner; nothing was charged."""
    UNANSWERED = auto()
    """Anything may have happened, or be happening yet."""


@dataclass(frozen=True, slots=True)
class PaymentError:
    """Stripe's words about a card that was not charged or not added."""

    code: str
    decline_code: str = ""
    """The bank's reason, where it gave one."""
    advice_code: str = ""
    """The bank's advice whether to try again, where it gave one."""
    message: str = ""
    """For the card's owner."""

    @classmethod
    def of(cls, error: object) -> "PaymentError":
        """Read an error of the SDK: that of an answer, or the last one of an intent. Any part may be missing."""
        return cls(*(str(getattr(error, name, None) or "") for name in cls.__slots__))


class StripeFailure(Exception):
    """A request to Stripe that did not succeed. Stays inside payments/; the SDK's exception is its cause.

    Attributes:
        kind: How far it got.
        code: Stripe's, in lower case, or our own: fit for programs.
        param: The parameter that Stripe finds fault with; empty if it names none.
        replayed: The answer is that of an earlier request with the same key.
        card: Set with kind CARD.
    """

    def __init__(
        self,
        kind: FailureKind,
        code: str,
        *,
        param: str = "",
        replayed: bool = False,
        card: PaymentError | None = None,
    ) -> None:
        super().__init__(f"{kind.name}: {code}")
        self.kind = kind
        self.code = code
        self.param = param
        self.replayed = replayed
        self.card = card


def failure_of(error: Exception) -> StripeFailure:
    """Tell what an exception of the SDK, or of the HTTP client beneath it, means."""
    replayed = isinstance(error, stripe.StripeError) and _was_replayed(error)
    match error:
        case stripe.APIConnectionError() if isinstance(error.__cause__, _NEVER_SENT):
            return StripeFailure(FailureKind.NOT_SENT, "unreachable")
        case stripe.RateLimitError():
            return StripeFailure(FailureKind.RATE_LIMITED, "rate_limited")
        case stripe.AuthenticationError() | stripe.PermissionError():
            return StripeFailure(FailureKind.UNUSABLE, "provider_unusable")
        case stripe.CardError():
            card = PaymentError.of(error.error)
            return StripeFailure(FailureKind.CARD, card.code or "card_declined", replayed=replayed, card=card)
        case stripe.InvalidRequestError() if error.http_status in (400, 404):
            code = "not_found" if error.code == "resource_missing" else (error.code or "refused").lower()
            return StripeFailure(FailureKind.REFUSED, code, param=error.param or "", replayed=replayed)
    return StripeFailure(FailureKind.UNANSWERED, "unanswered", replayed=replayed)


def _was_replayed(error: stripe.StripeError) -> bool:
    # The names of HTTP headers have no case, and the client that brought them may have changed it.
    return any(
        name.lower() == IDEMPOTENT_REPLAYED.lower() and value == "true" for name, value in (error.headers or {}).items()
    )
