"""Numbered credits: how money enters or leaves an office outside calls and messages."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.ids import validate_id, validate_office_id, validate_text
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import InvalidArgument

OWN_KEY_PREFIX = "tg:"
"""What the idempotency keys of the gateway's own credits begin with, and no client's may.

Otherwise a client could take the key of a refill to come, and the credit of a card already charged would be refused.
"""

MAX_REASON_LENGTH = 500


class CreditKind(StrEnum):
    """What made a credit."""

    ADJUSTMENT = "ADJUSTMENT"
    PURCHASE = "PURCHASE"
    REFILL = "REFILL"
    MESSAGE_REFUND = "MESSAGE_REFUND"
    CHARGEBACK = "CHARGEBACK"


class CreditStatus(StrEnum):
    """Where a credit stands: recorded, moved by the store, or refused by it for lack of funds (it moves 0)."""

    PENDING = "PENDING"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"


def transaction_id(office_id: str, number: int) -> str:
    """What people are told a credit is called: on a receipt, an invoice, in a list of transactions."""
    return f"{office_id}/{number}"


@dataclass(frozen=True, slots=True)
class CreditRequest:
    """A credit that is asked for. A positive amount enters the office, a negative one leaves it."""

    office_id: str
    amount_micros: int
    kind: CreditKind
    reason: str
    idempotency_key: str
    refill_id: str | None = None

    def validate(self) -> None:
        """Hold every value against its range.

        Raises:
            InvalidArgument: Names the first field that is wrong, and what it may be.
        """
        validate_office_id(self.office_id)
        if self.amount_micros == 0 or abs(self.amount_micros) > MAX_AMOUNT_MICROS:
            raise InvalidArgument("amount_micros", f"must be 1 to {MAX_AMOUNT_MICROS} micros, or the same below zero")
        validate_text(self.reason, "reason", longest=MAX_REASON_LENGTH)
        validate_id(self.idempotency_key, "idempotency_key")
        if self.kind is CreditKind.ADJUSTMENT and self.idempotency_key.startswith(OWN_KEY_PREFIX):
            raise InvalidArgument("idempotency_key", f"must not begin with {OWN_KEY_PREFIX!r}, which is the gateway's")
        if self.refill_id is not None:
            validate_id(self.refill_id, "refill_id")
            if self.amount_micros < 0:
                raise InvalidArgument("amount_micros", "must be above zero for a credit that closes a refill")

    @property
    def content_hash(self) -> str:
        """What a repeat under the same key must agree in, as SHA-256 in hex."""
        content = [self.amount_micros, self.kind.value, self.reason, self.refill_id]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()
