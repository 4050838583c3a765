"""What people are told without asking: the kinds of notices, what each tells, and what makes two of them the same.

A notice is made by the function of its kind. It tells facts, not words: amounts in micros, instants in Unix
milliseconds, ids; what people read is written from them when it is sent (gateway/notices/texts.py).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.domain.fraud_guard import Guard

MAX_KEY_LENGTH: Final = 192


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
    FRAUD_GUARD = "FRAUD_GUARD"
    NEW_DESTINATION = "NEW_DESTINATION"
    REFILL_BRAKED = "REFILL_BRAKED"


@dataclass(frozen=True)
class Notice:
    """One notice: what happened in which office. A key is told of once, however often it is recorded.

    Attributes:
        key: 1 to 192 printable ASCII characters; also the idempotency key of the webhook.
        office_id: Whose people are told.
        kind: What it tells of.
        facts: JSON values by name; what a text has no fact for it leaves out.
    """

    key: str
    office_id: str
    kind: NoticeKind
    facts: Mapping[str, object]


@dataclass(frozen=True)
class ByCard:
    """Paid by a card, of which no more is known here than this.

    Attributes:
        brand: As the provider has it, e.g. "visa".
        last_four: The last four digits.
    """

    brand: str
    last_four: str

    def facts(self) -> dict[str, object]:
        """What a notice tells of it."""
        return {"card_brand": self.brand, "card_last_four": self.last_four}


@dataclass(frozen=True)
class OnInvoice:
    """To be paid with the invoice of a month, YYYY-MM."""

    month: str

    def facts(self) -> dict[str, object]:
        """What a notice tells of it."""
        return {"invoice_month": self.month}


Payment = ByCard | OnInvoice


def low_funds(
    office_id: str, dip_id: str, *, available_micros: int, threshold_micros: int, refill_enabled: bool
) -> Notice:
    """The available funds fell below the threshold; `dip_id` is the outbox entry with which they did."""
    return _notice(
        NoticeKind.LOW_FUNDS,
        office_id,
        f"{office_id}:{dip_id}",
        available_micros=available_micros,
        threshold_micros=threshold_micros,
        refill_enabled=refill_enabled,
    )


def messages_blocked(office_id: str, dip_id: str, *, available_micros: int) -> Notice:
    """Messages are being blocked for lack of funds; `dip_id` is the outbox entry of the first of the dip."""
    return _notice(NoticeKind.MESSAGES_BLOCKED, office_id, f"{office_id}:{dip_id}", available_micros=available_micros)


def refill_done(
    office_id: str,
    refill_id: str,
    *,
    amount_micros: int,
    paid: Payment,
    paid_at: int,
    balance_micros: int | None = None,
) -> Notice:
    """A refill was paid and credited; it is the receipt too. The balance is that after it, where it is known."""
    return _notice(
        NoticeKind.REFILL_DONE,
        office_id,
        refill_id,
        refill_id=refill_id,
        amount_micros=amount_micros,
        paid_at=paid_at,
        balance_micros=balance_micros,
        **paid.facts(),
    )


def refill_failed(
    office_id: str,
    refill_id: str,
    attempt: int,
    *,
    amount_micros: int,
    card: ByCard,
    cause: str,
    next_attempt_at: int | None = None,
) -> Notice:
    """An attempt to charge the card failed, and another will follow. `cause` is the decline in words for people."""
    return _notice(
        NoticeKind.REFILL_FAILED,
        office_id,
        f"{refill_id}/{attempt}",
        refill_id=refill_id,
        attempt=attempt,
        amount_micros=amount_micros,
        cause=cause,
        next_attempt_at=next_attempt_at,
        **card.facts(),
    )


def refill_off(office_id: str, refill_id: str, *, amount_micros: int, card: ByCard, cause: str) -> Notice:
    """Automatic refill turned itself off, after the last attempt that it makes."""
    return _notice(
        NoticeKind.REFILL_OFF,
        office_id,
        refill_id,
        refill_id=refill_id,
        amount_micros=amount_micros,
        cause=cause,
        **card.facts(),
    )


def refill_capped(office_id: str, day: str, *, refills_a_day: int, amount_micros: int) -> Notice:
    """The office had its refills of the day, YYYY-MM-DD in its time zone: the next comes the day after."""
    return _notice(
        NoticeKind.REFILL_CAPPED,
        office_id,
        f"{office_id}:{day}",
        day=day,
        refills_a_day=refills_a_day,
        amount_micros=amount_micros,
    )


def confirmation_needed(
    office_id: str, charge_key: str, *, amount_micros: int, card: ByCard, confirmation_url: str
) -> Notice:
    """The bank wants the cardholder to confirm a charge, which waits for it."""
    return _notice(
        NoticeKind.CONFIRMATION_NEEDED,
        office_id,
        charge_key,
        amount_micros=amount_micros,
        confirmation_url=confirmation_url,
        **card.facts(),
    )


def receipt(
    office_id: str,
    transaction_id: str,
    *,
    amount_micros: int,
    paid: Payment,
    paid_at: int,
    balance_micros: int | None = None,
) -> Notice:
    """Credits were bought. The balance is that after it, where it is known."""
    return _notice(
        NoticeKind.RECEIPT,
        office_id,
        transaction_id,
        transaction_id=transaction_id,
        amount_micros=amount_micros,
        paid_at=paid_at,
        balance_micros=balance_micros,
        **paid.facts(),
    )


def chargeback(
    office_id: str, chargeback_id: str, *, amount_micros: int, taken_micros: int, owed_micros: int
) -> Notice:
    """A bank took a charge back: what could be taken from the office for it, and what the office owes."""
    return _notice(
        NoticeKind.CHARGEBACK,
        office_id,
        chargeback_id,
        chargeback_id=chargeback_id,
        amount_micros=amount_micros,
        taken_micros=taken_micros,
        owed_micros=owed_micros,
    )


def fraud_guard(office_id: str, guard: Guard) -> Notice:
    """A fraud guard has tripped: what it stops, what was reached and until when."""
    return _notice(
        NoticeKind.FRAUD_GUARD,
        office_id,
        f"{office_id}:{guard.country}:{guard.tripped_at}",
        guard=guard.kind.value,
        country=guard.country,
        limit=guard.limit,
        reached=guard.reached,
        tripped_at=guard.tripped_at,
        ends_at=guard.ends_at,
    )


def new_destination(office_id: str, country: str, *, first_at: int) -> Notice:
    """The office has paid for a call to a country that it had never called before."""
    return _notice(NoticeKind.NEW_DESTINATION, office_id, f"{office_id}:{country}", country=country, first_at=first_at)


def refill_braked(office_id: str, refill_id: str, *, amount_micros: int, until: int) -> Notice:
    """A refill waits, because a fraud guard of the office has tripped; `until` is when that is over."""
    return _notice(
        NoticeKind.REFILL_BRAKED,
        office_id,
        f"{refill_id}:{until}",
        refill_id=refill_id,
        amount_micros=amount_micros,
        until=until,
    )


def key_of(kind: NoticeKind, subject: str) -> str:
    """The key of a notice of this kind about this subject, which `Notices` lists by kind."""
    key = f"{kind}:{subject}"
    if len(key) > MAX_KEY_LENGTH:  # A provider's own ids may be as long as it likes.
        key = f"{kind}:{hashlib.sha256(subject.encode()).hexdigest()}"
    return key


def _notice(kind: NoticeKind, office_id: str, subject: str, **facts: object) -> Notice:
    told = {name: value for name, value in facts.items() if value is not None}
    return Notice(key_of(kind, subject), office_id, kind, told)


@dataclass(frozen=True)
class Channel:
    """A way that notices go.

    Attributes:
        name: 1 to 32 characters, the same for ever: deliveries are kept under it.
        is_addressed: Whether a notice goes to each recipient by itself; otherwise it goes once.
        operators: Recipients of every notice, of an addressed channel.
    """

    name: str
    is_addressed: bool = False
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoticeOffice:
    """What is said of the office that a notice is about; its id alone where the ledger does not know it."""

    office_id: str
    name: str
    company_id: str
    currency: str
    time_zone: str


@dataclass(frozen=True)
class Delivery:
    """A notice on one way to one recipient.

    Attributes:
        seq: The notice's number.
        channel: The way.
        recipient: An address, or empty.
        attempt: Which one this is, from 1 on.
        notice: What happened.
        office: Where.
        created_at: When, in Unix milliseconds.
    """

    seq: int
    channel: str
    recipient: str
    attempt: int
    notice: Notice
    office: NoticeOffice
    created_at: int
