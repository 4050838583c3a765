"""Fraud guards: how much charged calling abroad an office may do in an hour before a person has to look at it.

A stolen SIP account dials premium-rate and foreign numbers, at night, for as long as somebody pays. A guard counts
what such calls were debited, by the hour and by the country called. One that reaches its limit trips: for some hours
no new call of its kind is granted, and no automatic refill pays for more, unless an operator lifts it before. Calls
that cost nothing, domestic ones at ordinary rates and emergencies are never counted and never stopped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.domain.numbers import NumberInfo, NumberType

HOUR_MS: Final = 3_600_000
"""Hours are those of UTC: a limit holds from one full hour to the next, everywhere."""

EVERYWHERE: Final = ""
"""The country of a guard that holds for every guarded destination."""

BY_DEFAULT: Final = -1
"""An office's limit that is the installation's."""

NO_LIMIT: Final = 0
MAX_GUARDED_CALLS: Final = 1_000_000

DEFAULT_COUNTRY_SPEND_MICROS: Final = 25_000_000
DEFAULT_OFFICE_SPEND_MICROS: Final = 50_000_000
DEFAULT_HOURS: Final = 12
"""A night: who can tell whether it was fraud is there again in the morning."""

_CREDIT_LIMIT_SHARE: Final = 10
_COUNTRY_SHARE: Final = 2


class GuardKind(StrEnum):
    """Which limit was reached."""

    COUNTRY_SPEND = "COUNTRY_SPEND"
    COUNTRY_CALLS = "COUNTRY_CALLS"
    OFFICE_SPEND = "OFFICE_SPEND"
    OFFICE_CALLS = "OFFICE_CALLS"


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard that has tripped.

    Attributes:
        kind: Its limit.
        country: ISO 3166-1 of the numbers that may not be called, "001" for those of no country, or EVERYWHERE.
        limit: Micros or calls in an hour.
        reached: What it was when it tripped, at least the limit.
        tripped_at: Unix milliseconds.
        ends_at: Unix milliseconds; it holds before, if it is not lifted.
    """

    kind: GuardKind
    country: str
    limit: int
    reached: int
    tripped_at: int
    ends_at: int


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What an office may do in an hour; 0 is no limit, and BY_DEFAULT the installation's."""

    country_spend_micros: int = BY_DEFAULT
    office_spend_micros: int = BY_DEFAULT
    country_calls: int = BY_DEFAULT
    office_calls: int = BY_DEFAULT


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls that were debited, and how much, in an hour."""

    calls: int = 0
    spend_micros: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(self.calls + other.calls, self.spend_micros + other.spend_micros)


NOTHING: Final = Tally()


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The limits of offices that have none of their own, and how long a guard holds.

    Attributes:
        country_spend_micros: In an hour to one country; 0: no limit.
        office_spend_micros: In an hour to all of them; 0: no limit.
        country_calls: Debited calls in an hour to one country; 0: no limit.
        office_calls: To all of them; 0: no limit.
        hours: From when it trips.
    """

    country_spend_micros: int = DEFAULT_COUNTRY_SPEND_MICROS
    office_spend_micros: int = DEFAULT_OFFICE_SPEND_MICROS
    country_calls: int = NO_LIMIT
    office_calls: int = NO_LIMIT
    hours: int = DEFAULT_HOURS

    def ends_at(self, tripped_at: int) -> int:
        """When a guard that trips now is over, in Unix milliseconds."""
        return tripped_at + self.hours * HOUR_MS

    def limits(self, own: GuardLimits, *, refill_micros: int, credit_limit_micros: int) -> GuardLimits:
        """The limits in force for an office: its own, else the installation's in relation to its funds.

        Who refills by $500 or has a credit limit of $5,000 calls more than who refills by $50. So the default spend of
        an hour is what one refill adds, or a tenth of the credit limit, where that is more than the setting; to one
        country it is half of that.

        Args:
            own: As the office is set.
            refill_micros: What one automatic refill adds; 0: it is off.
            credit_limit_micros: The office's.
        """
        office_spend = country_spend = NO_LIMIT
        funds = max(refill_micros, credit_limit_micros // _CREDIT_LIMIT_SHARE)
        if self.office_spend_micros:
            office_spend = max(self.office_spend_micros, funds)
        if self.country_spend_micros:
            country_spend = max(self.country_spend_micros, funds // _COUNTRY_SHARE)
        return GuardLimits(
            _given(own.country_spend_micros, country_spend),
            _given(own.office_spend_micros, office_spend),
            _given(own.country_calls, self.country_calls),
            _given(own.office_calls, self.office_calls),
        )


DEFAULT_POLICY: Final = GuardPolicy()


def _given(own: int, default: int) -> int:
    return default if own == BY_DEFAULT else own


def guarded_destination(called: NumberInfo) -> str | None:
    """The country that an outbound call to a number counts for; None: such calls are not guarded.

    Guarded are foreign numbers, those of no country, and premium-rate numbers at home, which alone stand under the
    office's own country.
    """
    if called.is_domestic and called.kind is not NumberType.PREMIUM_RATE:
        return None
    return called.region


def is_held(guards: Iterable[tuple[str, int]], destination: str, now_ms: int) -> bool:
    """Whether one of some guards (country, and when it ends) stops a call to a destination now."""
    return any(now_ms < ends_at and country in (EVERYWHERE, destination) for country, ends_at in guards)


def tripped_by_office(limits: GuardLimits, hour: Tally) -> tuple[GuardKind, int, int] | None:
    """Which limit the hour of an office has reached, the limit, and what it has come to; None: none."""
    return _tripped(
        (GuardKind.OFFICE_SPEND, limits.office_spend_micros, hour.spend_micros),
        (GuardKind.OFFICE_CALLS, limits.office_calls, hour.calls),
    )


def tripped_by_country(limits: GuardLimits, hour: Tally) -> tuple[GuardKind, int, int] | None:
    """The same for what an office has called of one country."""
    return _tripped(
        (GuardKind.COUNTRY_SPEND, limits.country_spend_micros, hour.spend_micros),
        (GuardKind.COUNTRY_CALLS, limits.country_calls, hour.calls),
    )


def _tripped(*measured: tuple[GuardKind, int, int]) -> tuple[GuardKind, int, int] | None:
    return next((each for each in measured if 0 < each[1] <= each[2]), None)
