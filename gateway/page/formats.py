"""How amounts, instants, numbers and the words of the contract are written for people."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import phonenumbers
from babel import Locale
from babel.numbers import format_currency
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.domain.calendar import zone_of
from gateway.domain.fraud_guard import EVERYWHERE
from gateway.domain.money import MICROS_PER_UNIT, format_amount
from gateway.domain.numbers import NON_GEOGRAPHIC_REGION
from gateway.domain.vocabulary import CallState, Category, FinalReason, Reason, RefillState, Role
from gateway.v1 import credits_pb2 as pb

_LOCALE: Final = "en"

CATEGORIES: Final[Mapping[int, str]] = {
    0: "Not rated",
    Category.EMERGENCY: "Emergency",
    Category.LOCAL: "Local",
    Category.INTERNATIONAL: "International",
    Category.TOLL_FREE: "Toll-free",
    Category.MESSAGE: "Messages",
    Category.FAX: "Fax",
}

REASONS: Final[Mapping[int, str]] = {
    0: "",
    Reason.EMERGENCY: "Emergency call",
    Reason.INVALID_NUMBER: "The number is not valid",
    Reason.UNKNOWN_OFFICE: "Unknown office",
    Reason.OFFICE_SUSPENDED: "The office is suspended",
    Reason.CALL_ENDED: "The call had ended",
    Reason.MESSAGE_REFUNDED: "The message was refunded",
    Reason.DESTINATION_BLOCKED: "The destination is blocked",
    Reason.FRAUD_GUARD: "Stopped by the fraud guard",
    Reason.NO_RATE: "There is no rate for it",
    Reason.FREE: "Free",
    Reason.PRICE_LIMIT: "Dearer than the office allows",
    Reason.TOO_MANY_CALLS: "Too many calls at a time",
    Reason.SPEND_LIMIT: "Daily spend limit reached",
    Reason.INSUFFICIENT_FUNDS: "Blocked: not enough funds",
    Reason.FUNDED: "Paid from credits",
}

CALL_STATES: Final[Mapping[int, str]] = {
    0: "",
    CallState.RINGING: "Ringing",
    CallState.ANSWERED: "Talking",
    CallState.CUT: "Being cut",
    CallState.LAPSED: "No news of it",
    CallState.ENDED: "Ended",
}

FINAL_REASONS: Final[Mapping[int, str]] = {
    0: "",
    FinalReason.INSUFFICIENT_FUNDS: "funds run out",
    FinalReason.SPEND_LIMIT: "daily limit",
    FinalReason.MAX_DURATION: "longest duration",
    FinalReason.OPERATOR: "by an operator",
    FinalReason.ENDED: "ended",
}

REFILL_STATES: Final[Mapping[int, str]] = {
    0: "Unknown",
    RefillState.OFF: "Off",
    RefillState.ARMED: "On",
    RefillState.PENDING: "Refilling now",
    RefillState.WAITING: "Waiting to try again",
}

ROLES: Final[Mapping[int, str]] = {
    Role.OPERATOR: "Operator",
    Role.COMPANY_ADMIN: "Company admin",
    Role.OFFICE_ADMIN: "Office admin",
    Role.VIEWER: "Viewer",
    Role.SWITCH: "Switch",
}


def money(micros: int, currency: str) -> str:
    """An amount, exactly: $50.00, and $0.0125 where there is more than the currency's own decimals."""
    return format_currency(Decimal(micros) / MICROS_PER_UNIT, currency, locale=_LOCALE, decimal_quantization=False)


def moved(micros: int, currency: str) -> str:
    """An amount with its sign: what came in, or went out."""
    return f"+{money(micros, currency)}" if micros > 0 else money(micros, currency)


def duration(seconds: int) -> str:
    """A time of talk: 0:42, 12:05, 1:02:05."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(e164: str) -> str:
    """A number as people write it: +44 20 7946 0958; what is none stays as it came."""
    if not e164.startswith("+"):
        return e164
    try:
        parsed = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return e164
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def stopped(country: str, home: str) -> str:
    """Which calls a fraud guard stops in an office of a country: to United Kingdom."""
    if country == EVERYWHERE:
        return "abroad and to premium-rate numbers"
    if country == home:
        return "to premium-rate numbers"
    if country == NON_GEOGRAPHIC_REGION:
        return "to satellites and other numbers of no country"
    return f"to {Locale(_LOCALE).territories.get(country, country)}"


def instant(at: Timestamp, time_zone: str) -> str:
    """A moment in the office's own time: 26 Nov 2026, 14:03."""
    return _local(at, time_zone).strftime("%-d %b %Y, %H:%M")


def utc(at_ms: int) -> str:
    """A moment for operators, whose offices are everywhere: 2026-11-26 14:03:07 UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_time(at: Timestamp, time_zone: str) -> str:
    """The time of day in the office's own time: 14:03:07."""
    return _local(at, time_zone).strftime("%H:%M:%S")


def iso(at: Timestamp) -> str:
    """A moment for programs, as the attribute of a time element has it."""
    return at.ToDatetime(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def month_name(month: str) -> str:
    """YYYY-MM as people say it: November 2026."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).strftime("%B %Y")


def _local(at: Timestamp, time_zone: str) -> datetime:
    return at.ToDatetime(UTC).astimezone(zone_of(time_zone))


def is_low(office: pb.Office) -> bool:
    """Whether an office has less than what its automatic refill, were it on, would wait for."""
    return office.available_micros < office.refill.threshold_micros


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "money": money,
    "moved": moved,
    "decimal": format_amount,
    "duration": duration,
    "number": number,
    "stopped": stopped,
    "instant": instant,
    "clock_time": clock_time,
    "iso": iso,
    "utc": utc,
    "month_name": month_name,
    "is_low": is_low,
}

WORDS: Final[Mapping[str, Mapping[int, str]]] = {
    "categories": CATEGORIES,
    "reasons": REASONS,
    "call_states": CALL_STATES,
    "final_reasons": FINAL_REASONS,
    "refill_states": REFILL_STATES,
    "roles": ROLES,
}
