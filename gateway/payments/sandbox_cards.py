"""The sandbox's test cards: what a token stands for, and how its card behaves. docs/reference/sandbox.md lists them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.payments.provider import Card, Declined


class OnAdding(Enum):
    """What happens when the card is added."""

    KEPT = auto()
    DECLINED = auto()
    OWNER_ASKED = auto()
    """The bank wants to hear from the card's owner first."""


class OnCharge(Enum):
    """What happens when the card is charged."""

    SUCCEEDS = auto()
    DECLINED = auto()
    OWNER_ASKED = auto()
    PROCESSING_ERROR = auto()
    """The provider says at once that it could not do it; the card was not charged."""
    REQUEST_LOST = auto()
    """No answer, and the provider never heard of it."""
    REPLY_LOST = auto()
    """No answer, and the card was charged."""
    DISPUTED_LATER = auto()
    """Succeeds, and is charged back a while later."""


@dataclass(frozen=True, slots=True)
class SandboxCard:
    """A card of the sandbox.

    Attributes:
        card: What may be shown of it.
        description: What it does, in a line for whoever chooses it.
        on_adding: See there.
        on_charge: See there.
        decline: How it is declined, when added or charged.
        charges_first: How many charges succeed before `on_charge` holds.
        unknown_look_ups: How many times `look_up` says that it cannot be said yet.
    """

    card: Card
    description: str
    on_adding: OnAdding = OnAdding.KEPT
    on_charge: OnCharge = OnCharge.SUCCEEDS
    decline: Declined | None = None
    charges_first: int = 0
    unknown_look_ups: int = 0


CARD_DECLINED: Final = Declined("card_declined", "The card was declined.", can_retry=False)
INSUFFICIENT_FUNDS: Final = Declined("insufficient_funds", "The card has insufficient funds.", can_retry=True)
EXPIRED_CARD: Final = Declined("expired_card", "The card has expired.", can_retry=False)
NOT_AUTHENTICATED: Final = Declined(
    "authentication_failed", "The payment was not confirmed by the card's owner.", can_retry=False
)


def _card(number: str, brand: str = "visa", last_four: str | None = None, expiry_year: int = 2040) -> Card:
    """A card whose number is a name instead of digits, so that nobody takes it for one that can be charged."""
    digest = hashlib.sha256(f"sandbox card {number}".encode()).hexdigest()
    return Card(brand, last_four or f"{int(digest[:8], 16) % 10_000:04d}", 12, expiry_year, f"sandbox_{digest[:16]}")


_VISA: Final = _card("visa", last_four="4242")

_CARDS: Final = {
    "tok_visa": SandboxCard(_VISA, "Every charge succeeds."),
    "tok_visa_again": SandboxCard(_VISA, "The very same card, entered anew."),
    "tok_mastercard": SandboxCard(_card("mastercard", "mastercard", "4444"), "Another card; every charge succeeds."),
    "tok_declined": SandboxCard(
        _card("declined"), "Every charge is declined for good.", on_charge=OnCharge.DECLINED, decline=CARD_DECLINED
    ),
    "tok_insufficient_funds": SandboxCard(
        _card("insufficient funds"),
        "Every charge is declined for now: insufficient funds.",
        on_charge=OnCharge.DECLINED,
        decline=INSUFFICIENT_FUNDS,
    ),
    "tok_expired": SandboxCard(
        _card("expired", expiry_year=2020),
        "Has expired, and can pay nothing.",
        on_charge=OnCharge.DECLINED,
        decline=EXPIRED_CARD,
    ),
    "tok_processing_error": SandboxCard(
        _card("processing error"),
        "Every charge fails, and is worth another attempt.",
        on_charge=OnCharge.PROCESSING_ERROR,
    ),
    "tok_request_lost": SandboxCard(
        _card("request lost"), "A charge gets no answer, and was not made.", on_charge=OnCharge.REQUEST_LOST
    ),
    "tok_reply_lost": SandboxCard(
        _card("reply lost"), "A charge gets no answer, and was made.", on_charge=OnCharge.REPLY_LOST
    ),
    "tok_authentication_required": SandboxCard(
        _card("authentication required"), "The bank asks its owner at every charge.", on_charge=OnCharge.OWNER_ASKED
    ),
    "tok_action_required": SandboxCard(
        _card("action required"), "The bank asks its owner once, before it is added.", on_adding=OnAdding.OWNER_ASKED
    ),
    "tok_refused": SandboxCard(
        _card("refused"), "The bank lets nobody add it.", on_adding=OnAdding.DECLINED, decline=CARD_DECLINED
    ),
    "tok_disputed": SandboxCard(
        _card("disputed"),
        "Every charge succeeds, and is charged back 10 s later.",
        on_charge=OnCharge.DISPUTED_LATER,
    ),
}

_NUMBERED: Final = re.compile(r"(tok_visa|tok_declined_after|tok_unknown)_([1-9][0-9]{0,3})", re.ASCII)


def find_card(token: str) -> SandboxCard | None:
    """The card that a token stands for; None if there is no such token.

    Three kinds are numbered, from 1 to 9999: `tok_visa_<n>` are as many different cards that succeed;
    `tok_declined_after_<n>` succeeds n times and is declined from then on; of `tok_unknown_<n>` the reply is lost and
    n look-ups cannot say what became of the charge.
    """
    if match := _NUMBERED.fullmatch(token):
        kind, count, card = match[1], int(match[2]), _card(token)
        if kind == "tok_declined_after":
            description = f"{count} charges succeed, then every one is declined."
            return SandboxCard(
                card, description, on_charge=OnCharge.DECLINED, decline=CARD_DECLINED, charges_first=count
            )
        if kind == "tok_unknown":
            description = f"A charge gets no answer, and {count} look-ups cannot say whether it was made."
            return SandboxCard(card, description, on_charge=OnCharge.REPLY_LOST, unknown_look_ups=count)
        return SandboxCard(card, _CARDS["tok_visa"].description)
    return _CARDS.get(token)


def named_cards() -> Mapping[str, SandboxCard]:
    """Every card whose token is not numbered, by its token."""
    return _CARDS
