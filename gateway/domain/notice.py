"""What people are told without asking."""

from enum import StrEnum


class NoticeKind(StrEnum):
    """What a notice tells of."""

    LOW_FUNDS = "LOW_FUNDS"
    MESSAGES_BLOCKED = "MESSAGES_BLOCKED"
    REFILL_DONE = "REFILL_DONE"
    REFILL_FAILED = "REFILL_FAILED"
    REFILL_OFF = "REFILL_OFF"
    REFILL_CAPPED = "REFILL_CAPPED"
    CONFIRMATION_NEEDED = "CONFIRMATION_NEEDED"
    RECEIPT = "RECEIPT"
    CHARGEBACK = "CHARGEBACK"
