"""The rules of the fraud guards: which calls count, what the limits are, and what a guard stops."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.rating import RatedCall, under_guards
from gateway.domain.fraud_guard import (
    BY_DEFAULT,
    EVERYWHERE,
    GuardKind,
    GuardLimits,
    GuardPolicy,
    Tally,
    guarded_destination,
    is_held,
    tripped_by_country,
    tripped_by_office,
)
from gateway.domain.numbers import classify
from gateway.domain.office import OfficeChanges, OfficeSettings
from gateway.domain.vocabulary import Category, Direction
from gateway.errors import InvalidArgument
from gateway.settings import load_settings
from gateway.store.codes import Code
from gateway.store.keys import office_keys
from gateway.store.offices import CachedOffice
from tests.support.ledger import settings

NOW = 1_700_000_000_000
LATER = NOW + 1


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        ("+442079460958", "US", "GB"),
        ("+442079460958", "GB", None),
        ("+18765230123", "US", "JM"),  # the same calling code, and another country
        ("+12125550142", "US", None),
        ("+19002345678", "US", "US"),  # premium-rate at home
        ("+18005550199", "US", None),
        ("+882345678901", "US", "001"),  # of no country
        ("+80012345678", "US", "001"),  # free for nobody here
        ("+448001234567", "US", "GB"),  # toll-free there, charged from here
    ],
)
def test_what_is_guarded(number: str, country: str, expected: str | None) -> None:
    assert guarded_destination(classify(number, country)) == expected


def test_the_defaults_are_those_of_the_settings() -> None:
    given = load_settings()
    assert GuardPolicy() == GuardPolicy(
        given.fraud_country_spend_micros,
        given.fraud_office_spend_micros,
        given.fraud_country_calls,
        given.fraud_office_calls,
        given.fraud_guard_hours,
    )


@pytest.mark.parametrize(
    ("own", "refill", "credit_limit", "expected"),
    [
        (GuardLimits(), 0, 0, GuardLimits(25, 50, 3, 4)),
        (GuardLimits(), 50, 499, GuardLimits(25, 50, 3, 4)),
        (GuardLimits(), 500, 0, GuardLimits(250, 500, 3, 4)),  # what one refill adds
        (GuardLimits(), 0, 10_000, GuardLimits(500, 1_000, 3, 4)),  # a tenth of the credit limit
        (GuardLimits(0, 0, 0, 0), 500, 10_000, GuardLimits(0, 0, 0, 0)),  # no limit is the office's own
        (GuardLimits(7, 8, 9, 10), 500, 10_000, GuardLimits(7, 8, 9, 10)),
        (GuardLimits(office_calls=9), 0, 0, GuardLimits(25, 50, 3, 9)),
    ],
)
def test_the_limits_in_force(own: GuardLimits, refill: int, credit_limit: int, expected: GuardLimits) -> None:
    policy = GuardPolicy(25, 50, 3, 4)
    assert policy.limits(own, refill_micros=refill, credit_limit_micros=credit_limit) == expected


def test_an_installation_without_limits_has_none_however_large_an_office_is() -> None:
    limits = GuardPolicy(0, 0, 0, 0).limits(GuardLimits(), refill_micros=500, credit_limit_micros=10_000)
    assert limits == GuardLimits(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("hour", "by_country", "by_office"),
    [
        (Tally(2, 24), None, None),
        (Tally(2, 25), (GuardKind.COUNTRY_SPEND, 25, 25), None),
        (Tally(3, 24), (GuardKind.COUNTRY_CALLS, 3, 3), None),
        (Tally(3, 60), (GuardKind.COUNTRY_SPEND, 25, 60), (GuardKind.OFFICE_SPEND, 50, 60)),
        (Tally(4, 24), (GuardKind.COUNTRY_CALLS, 3, 4), (GuardKind.OFFICE_CALLS, 4, 4)),
        (Tally(1, -30), None, None),
    ],
)
def test_a_guard_trips_at_its_limit(hour: Tally, by_country: object, by_office: object) -> None:
    limits = GuardLimits(25, 50, 3, 4)
    assert (tripped_by_country(limits, hour), tripped_by_office(limits, hour)) == (by_country, by_office)


def test_without_a_limit_nothing_trips() -> None:
    assert tripped_by_office(GuardLimits(0, 0, 0, 0), Tally(10**9, 10**15)) is None


@pytest.mark.parametrize(
    ("guards", "holds"),
    [
        ((), False),
        ((("GB", LATER),), True),
        ((("GB", NOW),), False),
        ((("FR", LATER),), False),
        ((("FR", LATER), ("GB", LATER)), True),
        (((EVERYWHERE, LATER),), True),
        (((EVERYWHERE, NOW),), False),
    ],
)
def test_what_a_guard_holds(guards: tuple[tuple[str, int], ...], holds: bool) -> None:
    assert is_held(guards, "GB", NOW) is holds


@pytest.mark.parametrize(
    ("number", "direction", "verdict"),
    [
        ("+442079460958", Direction.OUTBOUND, Code.FRAUD_GUARD),
        ("+19002345678", Direction.OUTBOUND, Code.FRAUD_GUARD),
        ("+12125550142", Direction.OUTBOUND, Code.FUNDED),  # a Sales licence pays for it, and it is at home
        ("+18005550199", Direction.INBOUND, Code.FUNDED),
        ("+442079460958", Direction.INBOUND, Code.FUNDED),
    ],
)
def test_an_office_under_guard(number: str, direction: Direction, verdict: Code) -> None:
    guards = ((EVERYWHERE, LATER),)
    office = CachedOffice("o", office_keys("o"), 1, "US", "", "UTC", "c", is_suspended=False, guards=guards)
    rated = RatedCall(Code.FUNDED, Category.INTERNATIONAL, classify(number, "US"), None)
    assert under_guards(rated, office, direction, NOW) == rated._replace(verdict=verdict)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fraud_country_spend_micros", -2),
        ("fraud_country_spend_micros", 10**15 + 1),
        ("fraud_office_spend_micros", -2),
        ("fraud_office_spend_micros", 10**15 + 1),
        ("fraud_country_calls", -2),
        ("fraud_country_calls", 1_000_001),
        ("fraud_office_calls", -2),
        ("fraud_office_calls", 1_000_001),
    ],
)
def test_a_limit_out_of_range_is_named(field: str, value: int) -> None:
    given: dict[str, Any] = {field: value}
    with pytest.raises(InvalidArgument, match=rf"{field}: must be -1 \(the installation's\), 0 \(no limit\) or 1 to "):
        replace(settings(), **given).validate("USD")
    for good in (BY_DEFAULT, 0, 1):
        given[field] = good
        replace(settings(), **given).validate("USD")


def test_a_change_of_limits_is_the_operators() -> None:
    changes = OfficeChanges(fraud_office_calls=5)
    assert changes.fields == {"fraud_office_calls"}
    changed: OfficeSettings = changes.applied_to(settings())
    assert changed.fraud_limits == GuardLimits(office_calls=5)
