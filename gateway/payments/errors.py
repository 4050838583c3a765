"""What can go wrong with a payment provider, as kinds of the one tree in gateway/errors.py.

What the card's bank says is no error but an outcome (provider.py).
"""

from gateway.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, TollgateError, Unavailable


class ProviderUnavailable(Unavailable):
    """The payment provider did not answer; a repeat with the same key is safe. Its own words are the cause."""

    reason = "PAYMENT_PROVIDER_UNAVAILABLE"

    def __init__(self, message: str = "The payment provider did not answer: try again with the same key.") -> None:
        super().__init__(message)


class ProviderUnusable(FailedPrecondition):
    """The payment provider refuses us until somebody changes a setting; the message says which."""

    reason = "PAYMENT_PROVIDER_UNUSABLE"


class ProviderKeyReused(Internal):
    """A provider key came again with other content, which is a bug of the gateway; nothing was charged by it.

    The particulars are a note of the exception: the log shows them, and the caller does not see them.
    """

    reason = "PAYMENT_KEY_REUSED"

    def __init__(self, idempotency_key: str) -> None:
        super().__init__("A payment was asked for twice with different content; nothing was charged by the second.")
        self.add_note(f"provider key {idempotency_key!r}")


class PaymentTokenInvalid(InvalidArgument):
    """The provider does not know the token, or will not use it again."""

    reason = "PAYMENT_TOKEN_INVALID"

    def __init__(self, message: str) -> None:
        super().__init__("token", message)


class CardNumberRefused(PaymentTokenInvalid):
    """Somebody sent a card number where a token belongs. It is repeated nowhere."""

    reason = "CARD_NUMBER_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "this looks like a card number, which must never be sent here; it was not kept. Let the provider's form in "
            "the browser make a token of the card, and send that"
        )


class CardEntryInvalid(InvalidArgument):
    """What a browser brought back is no card that its owner entered on the provider's page."""

    reason = "CARD_ENTRY_INVALID"

    def __init__(self, message: str = "is none of this owner's: begin to add the card anew") -> None:
        super().__init__("entry", message)


class CardEntryUnfinished(CardEntryInvalid):
    """No card was entered there, or not yet."""

    def __init__(self) -> None:
        super().__init__("no card was entered: do so on the page that it was begun with, or begin anew")


class ChargeNotFound(NotFound):
    """The provider has no such charge."""

    reason = "CHARGE_NOT_FOUND"

    def __init__(self, charge_id: str) -> None:
        super().__init__(f"The payment provider has no charge {charge_id!r}.", field="charge_id")


class WebhookRefused(TollgateError):
    """A webhook that the provider did not send, or not now; nothing was done. The provider sends a true one again."""

    code = "INVALID_ARGUMENT"
    reason = "WEBHOOK_REFUSED"


class WebhookSignatureInvalid(WebhookRefused):
    """The signature is missing, has no known form, or is not made with our secret."""

    reason = "WEBHOOK_SIGNATURE_INVALID"


class WebhookStale(WebhookRefused):
    """The signature is right and its time is not: somebody plays back an old webhook, or a clock is wrong."""

    reason = "WEBHOOK_STALE"


class WebhookMalformed(WebhookRefused):
    """The signature is right, and the body is no event of the provider."""

    reason = "WEBHOOK_MALFORMED"
