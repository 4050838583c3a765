"""What people read: subject, words, and the one action that mends it, written from the facts of a notice.

A text is for the people of an office: amounts in its currency, times in its time zone. A fact that is missing leaves
out the words that need it, since a notice that says little is better than one that is never sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.calendar import time_zones
from gateway.domain.minor_units import format_money
from gateway.domain.notice import Delivery, NoticeKind, NoticeOffice


@dataclass(frozen=True)
class Text:
    """A notice in words.

    Attributes:
        subject: One line.
        says: What happened, a paragraph each.
        details: Names and values, as a receipt lists them.
        action: The one thing to do about it; empty: nothing.
        link: Where to do it; empty: no link.
    """

    subject: str
    says: tuple[str, ...]
    details: tuple[tuple[str, str], ...] = ()
    action: str = ""
    link: str = ""


class _Facts:
    """The facts of one notice, in words for its office; an empty text stands for a fact that is missing."""

    def __init__(self, facts: Mapping[str, object], office: NoticeOffice) -> None:
        self._facts = facts
        self._office = office

    def text(self, name: str) -> str:
        value = self._facts.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self._facts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def is_true(self, name: str) -> bool:
        return self._facts.get(name) is True

    def money(self, name: str) -> str:
        micros = self.number(name)
        return "" if micros is None else format_money(micros, self._office.currency)

    def instant(self, name: str) -> str:
        milliseconds = self.number(name)
        return "" if milliseconds is None else local_time(milliseconds, self._office.time_zone)

    def card(self) -> str:
        brand, last_four = self.text("card_brand"), self.text("card_last_four")
        return f"{brand or 'card'} ending in {last_four}" if last_four else brand

    def paid(self) -> str:
        month = self.text("invoice_month")
        return f"on the invoice of {month}" if month else self.card()


def local_time(at_ms: int, time_zone: str) -> str:
    """An instant to the minute, as the clocks of a time zone show it, and where that is."""
    known = time_zone in time_zones()
    zone = ZoneInfo(time_zone) if known else UTC
    return f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m-%d %H:%M} ({time_zone if known else 'UTC'})"


def write(delivery: Delivery) -> Text:
    """The words for a notice."""
    office = delivery.office
    return _TEXTS[delivery.notice.kind](office.name, _Facts(delivery.notice.facts, office))


def as_plain(text: Text) -> str:
    """The words as plain text, its lines unbroken."""
    width = max((len(name) for name, _ in text.details), default=0) + 3
    details = "\n".join(f"{name + ':':<{width}}{value}" for name, value in text.details)
    return "\n\n".join(part for part in (*text.says, details, text.action, text.link) if part) + "\n"


def _low_funds(office: str, facts: _Facts) -> Text:
    available, threshold = facts.money("available_micros"), facts.money("threshold_micros")
    return Text(
        f"Calling credits of {office} are low",
        (
            f"The calling credits of {office} are running low"
            + _if(available, f": {available} is available")
            + _if(threshold, f", which is less than {threshold}")
            + ".",
        ),
        action="Automatic refill is on and adds credits now; nothing needs to be done."
        if facts.is_true("refill_enabled")
        else "Buy credits, or turn automatic refill on, so that no call or message is refused.",
    )


def _messages_blocked(office: str, facts: _Facts) -> Text:
    available = facts.money("available_micros")
    return Text(
        f"Messages of {office} are being blocked",
        (
            f"Outbound messages of {office} are being blocked, because its calling credits do not pay for them"
            + _if(available, f": {available} is available")
            + ".",
        ),
        action="Buy credits; messages go again as soon as they are there. Blocked ones are not sent by themselves.",
    )


def _refill_done(office: str, facts: _Facts) -> Text:
    amount = facts.money("amount_micros") or "Credit"
    return Text(
        f"Receipt: {amount} was added to {office}",
        (f"Automatic refill added {amount} to the calling credits of {office}.",),
        _receipt_details(facts, "refill_id"),
    )


def _receipt(office: str, facts: _Facts) -> Text:
    amount = facts.money("amount_micros") or "Credit"
    return Text(
        f"Receipt: {amount} of calling credits for {office}",
        (f"Thank you. {amount} was added to the calling credits of {office}.",),
        _receipt_details(facts, "transaction_id"),
    )


def _refill_failed(office: str, facts: _Facts) -> Text:
    again = facts.instant("next_attempt_at")
    return Text(
        f"Automatic refill of {office} failed",
        (_failure(office, facts), _if(again, f"It will be tried again at {again}.")),
        action=f"Check the {facts.card() or 'card'}, or choose another card for automatic refill.",
    )


def _refill_off(office: str, facts: _Facts) -> Text:
    return Text(
        f"Automatic refill of {office} is off now",
        (
            _failure(office, facts),
            "Because it failed several times in a row, automatic refill turned itself off. When the credits run out, "
            "calls and messages that cost something are refused.",
        ),
        action="Add a card that works, then turn automatic refill on again.",
    )


def _refill_capped(office: str, facts: _Facts) -> Text:
    cap, day, amount = facts.number("refills_a_day"), facts.text("day"), facts.money("amount_micros")
    return Text(
        f"Automatic refill of {office} waits until tomorrow",
        (
            f"{office} has had "
            + ("all the automatic refills of a day" if cap is None else f"{cap} automatic refills, the most of a day,")
            + _if(day, f" on {day}")
            + _if(amount, f", of {amount} each")
            + ". The next one comes the day after, if it is needed then.",
        ),
        action="Buy credits if they do not last until then, and look at the usage if that many refills surprise you.",
    )


def _confirmation_needed(office: str, facts: _Facts) -> Text:
    amount, card = facts.money("amount_micros"), facts.card()
    return Text(
        f"Confirm a card payment for {office}",
        (
            f"The bank wants the cardholder to confirm a payment{_if(amount, f' of {amount}')}"
            f"{_if(card, f' with the {card}')} for the calling credits of {office}. Nothing is charged or credited "
            "before that.",
        ),
        action="Open this link and follow the bank's instructions:",
        link=facts.text("confirmation_url"),
    )


def _chargeback(office: str, facts: _Facts) -> Text:
    amount, taken, owed = (facts.money(f"{name}_micros") for name in ("amount", "taken", "owed"))
    return Text(
        f"A payment of {office} was charged back",
        (
            f"The cardholder's bank took back a payment{_if(amount, f' of {amount}')} for the calling credits of "
            f"{office}. Automatic refill is off and the office is suspended.",
        ),
        _known(("Taken from credits", taken), ("Still owed", owed), ("Dispute", facts.text("chargeback_id"))),
        action="Speak to your provider to settle it.",
    )


def _fraud_guard(office: str, facts: _Facts) -> Text:
    guard, country, until = facts.text("guard"), facts.text("country"), facts.instant("ends_at")
    where = country or "foreign and premium-rate numbers"
    is_spend = guard.endswith("_SPEND")
    limit, reached = facts.number("limit"), facts.number("reached")
    return Text(
        f"Fraud guard: calls from {office} to {where} were stopped",
        (
            f"{office} called {where} for as much as its fraud guard allows in an hour. New calls of that kind are "
            "refused"
            + _if(until, f" until {until}")
            + ", and automatic refill waits. Calls that are up go on; free and emergency calls are not stopped.",
        ),
        _known(
            ("Country", country),
            ("Limit of an hour", facts.money("limit") if is_spend else _count(limit, "calls")),
            ("Reached", facts.money("reached") if is_spend else _count(reached, "calls")),
            ("At", facts.instant("tripped_at")),
        ),
        action="Look at the usage. If you do not know these calls, change the passwords of the office's telephones; if "
        "you do, ask your operator to lift the guard.",
    )


def _new_destination(office: str, facts: _Facts) -> Text:
    country, at = facts.text("country"), facts.instant("first_at")
    return Text(
        f"{office} called a new country{_if(country, f': {country}')}",
        (f"{office} paid for a call to {country or 'a country'} for the first time{_if(at, f', at {at}')}.",),
        action="Nothing was stopped. If you do not know this call, change the passwords of the office's telephones.",
    )


def _refill_braked(office: str, facts: _Facts) -> Text:
    amount, until = facts.money("amount_micros"), facts.instant("until")
    return Text(
        f"Automatic refill of {office} waits for its fraud guard",
        (
            f"Automatic refill{_if(amount, f' of {amount}')} for {office} is due, and a fraud guard of the office has "
            f"tripped. The card is not charged {_if(until, f'before {until}, ') or ''}unless the guard is lifted.",
        ),
        action="If the calls that tripped the guard are yours, ask your operator to lift it, or buy credits by hand.",
    )


def _count(number: int | None, of: str) -> str:
    return "" if number is None else f"{number} {of}"


def _failure(office: str, facts: _Facts) -> str:
    amount, card, cause = facts.money("amount_micros"), facts.card(), facts.text("cause")
    return (
        f"Automatic refill{_if(amount, f' of {amount}')} for {office} failed"
        f"{_if(card, f': the {card} was not charged')}.{_if(cause, f' The reason given: {cause}')}"
    )


def _receipt_details(facts: _Facts, transaction: str) -> tuple[tuple[str, str], ...]:
    return _known(
        ("Transaction", facts.text(transaction)),
        ("Date", facts.instant("paid_at")),
        ("Amount", facts.money("amount_micros")),
        ("Paid", facts.paid()),
        ("Balance after", facts.money("balance_micros")),
    )


def _known(*details: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in details if value)


def _if(fact: str, words: str) -> str:
    return words if fact else ""


_TEXTS: Final[Mapping[NoticeKind, Callable[[str, _Facts], Text]]] = {
    NoticeKind.LOW_FUNDS: _low_funds,
    NoticeKind.MESSAGES_BLOCKED: _messages_blocked,
    NoticeKind.REFILL_DONE: _refill_done,
    NoticeKind.REFILL_FAILED: _refill_failed,
    NoticeKind.REFILL_OFF: _refill_off,
    NoticeKind.REFILL_CAPPED: _refill_capped,
    NoticeKind.CONFIRMATION_NEEDED: _confirmation_needed,
    NoticeKind.RECEIPT: _receipt,
    NoticeKind.CHARGEBACK: _chargeback,
    NoticeKind.FRAUD_GUARD: _fraud_guard,
    NoticeKind.NEW_DESTINATION: _new_destination,
    NoticeKind.REFILL_BRAKED: _refill_braked,
}
