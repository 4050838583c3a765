"""What whoever pays is told, as kinds of the one tree in gateway/errors.py."""

from gateway.domain.payment import ChargeStatus
from gateway.errors import FailedPrecondition, Unavailable
from gateway.ledger.charges import Charge


class CardDeclined(FailedPrecondition):
    """The card's bank said no. Nothing was charged and nothing will be."""

    reason = "CARD_DECLINED"

    def __init__(self, code: str, words: str, *, can_retry: bool, again: str) -> None:
        """Say why, and what would help.

        Args:
            code: The provider's, for programs.
            words: The provider's, for the card's owner.
            can_retry: Whether the same card may be accepted later.
            again: How to ask anew, e.g. with another key.
        """
        cure = "Try again in a while, or use another card" if can_retry else "Use another card"
        said = f"{words.rstrip('. ')} ({code})" if words else code
        super().__init__(
            f"payment_method_id: the card was declined: {said}. Nothing was charged. {cure}{again}.",
            field="payment_method_id",
            metadata={"decline_code": code, "can_retry": str(can_retry).lower()},
        )


class CardNotCharged(FailedPrecondition):
    """Not the card's bank: the attempt failed, or nobody confirmed it in time. Nothing was charged or will be."""

    reason = "CARD_NOT_CHARGED"

    def __init__(self, code: str, *, can_retry: bool, again: str) -> None:
        cure = "Try again" if can_retry else "Use another card, or ask an operator"
        super().__init__(
            f"payment_method_id: the card was not charged ({code}), and will not be. {cure}{again}.",
            field="payment_method_id",
            metadata={"decline_code": code, "can_retry": str(can_retry).lower()},
        )


class ConfirmationRequired(FailedPrecondition):
    """The bank wants to hear from the card's owner, at the link in the metadata."""

    reason = "CONFIRMATION_REQUIRED"

    def __init__(self, confirmation_url: str) -> None:
        super().__init__(
            f"The card's bank wants its owner to confirm this payment: open {confirmation_url}, then repeat the "
            "request with the same idempotency_key to see how it ended.",
            metadata={"confirmation_url": confirmation_url},
        )


class ChargeUndecided(Unavailable):
    """It is not known yet what became of a charge; a repeat tells, and charges nothing more."""

    reason = "CHARGE_UNDECIDED"

    def __init__(self) -> None:
        super().__init__(
            "The payment provider has not said yet whether the card was charged: repeat the request unchanged after a "
            "moment. The card is charged once, and the credit comes by itself if it was."
        )


def failure_of(charge: Charge, *, again: str = "") -> CardDeclined | CardNotCharged:
    """How whoever pays is told of a charge that failed.

    Args:
        charge: DECLINED or NOT_CHARGED.
        again: How to ask anew, e.g. ", with a new idempotency_key".
    """
    if charge.status is ChargeStatus.DECLINED:
        return CardDeclined(charge.decline_code, charge.message, can_retry=charge.can_retry, again=again)
    return CardNotCharged(charge.decline_code, can_retry=charge.can_retry, again=again)
