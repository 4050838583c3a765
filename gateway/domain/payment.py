"""What becomes of charges, purchases and refills."""

from enum import StrEnum


class ChargePurpose(StrEnum):
    """What a card is charged for."""

    PURCHASE = "PURCHASE"
    REFILL = "REFILL"
    CONFIRMATION = "CONFIRMATION"


class ChargeStatus(StrEnum):
    """Where a charge stands; INTENDED and ACTION_REQUIRED are yet to be decided, the others are final."""

    INTENDED = "INTENDED"
    ACTION_REQUIRED = "ACTION_REQUIRED"
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    """The card's bank said no."""
    NOT_CHARGED = "NOT_CHARGED"
    """Not the card: the provider refused the attempt or never got it, or nobody confirmed it in time."""


class PurchaseStatus(StrEnum):
    """Where a purchase stands. PAID and INVOICED have their credit's number; DECLINED moved nothing."""

    CHARGING = "CHARGING"
    PAID = "PAID"
    INVOICED = "INVOICED"
    DECLINED = "DECLINED"


class RefillStatus(StrEnum):
    """Where a refill stands: INTENDED is seen, CHARGING is claimed in the store, the others are over for now."""

    INTENDED = "INTENDED"
    CHARGING = "CHARGING"
    CREDITED = "CREDITED"
    NOT_NEEDED = "NOT_NEEDED"
    FAILED = "FAILED"
    CAPPED = "CAPPED"
    BRAKED = "BRAKED"
