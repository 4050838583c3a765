"""The steps of a purchase and of a refill, in their order: where the tests have a gateway die."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from gateway.ledger import auto_refills, purchases
from tests.support.back import BackUnderTest

Where: TypeAlias = Callable[[BackUnderTest], tuple[object, str]]
"""Finds what does a step, and the name of its method."""

PURCHASE: Final[Mapping[str, Where]] = {
    "the purchase and its charge are written down": lambda back: (back.back.billing.purchases, "begin"),
    "the card is charged": lambda back: (back.back.provider, "charge"),
    "the outcome is recorded": lambda back: (back.back.billing.charges, "decide"),
    "the credit is numbered, within that": lambda back: (purchases, "number_credit"),
    "the credit is sent to the store": lambda back: (back.store, "apply_credit"),
    "SQL hears that the store has it": lambda back: (back.back.credits, "mark_applied"),
}
"""By card."""

REFILL: Final[Mapping[str, Where]] = {
    "the trigger is journaled": lambda back: (back.journaler._journal, "take"),
    "the intent is written down": lambda back: (back.back.billing.refills, "begin"),
    "the store is told of the claim": lambda back: (back.store, "claim_refill"),
    "the charge is written down": lambda back: (back.back.billing.refills, "charge"),
    "the card is charged": lambda back: (back.back.provider, "charge"),
    "the outcome is recorded": lambda back: (back.back.billing.charges, "decide"),
    "the credit is numbered, within that": lambda back: (auto_refills, "number_credit"),
    "the credit is sent to the store": lambda back: (back.store, "apply_credit"),
    "SQL hears that the store has it": lambda back: (back.back.credits, "mark_applied"),
}
"""By card, from the outbox on."""
