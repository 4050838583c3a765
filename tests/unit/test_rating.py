"""From number to category and verdict, for every example number of the metadata and for what is no number."""

import importlib.resources
from functools import cache

import phonenumbers
import pytest

from gateway.api.rating import Rater, fingerprint, verdict_without_office
from gateway.domain.deck import Deck, parse_deck
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Service
from gateway.store.codes import Code
from gateway.store.keys import office_keys
from gateway.store.offices import CachedOffice
from tests.unit.test_numbers import examples

COUNTRIES = ("US", "JM", "GB", "DE")
LOCAL = {"US": "+12125550142", "JM": "+18765230123", "GB": "+442079460958", "DE": "+4930123456"}
TOLL_FREE = {"US": "+18005550199", "JM": "+18005550199", "GB": "+448001234567", "DE": "+498001234567"}


@cache
def default_deck() -> Deck:
    return parse_deck(importlib.resources.files("gateway").joinpath("data", "default_rates.csv").read_bytes(), 1)


def office_in(country: str) -> CachedOffice:
    return CachedOffice("o", office_keys("o"), 1, country, "", "UTC", "c", is_suspended=False)


def is_domestic(number: str, country: str) -> bool:
    """What the library itself says."""
    return phonenumbers.is_valid_number_for_region(phonenumbers.parse(number), country)


def is_toll_free(number: str) -> bool:
    return phonenumbers.number_type(phonenumbers.parse(number)) == phonenumbers.PhoneNumberType.TOLL_FREE


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_example_as_called_number(country: str) -> None:
    rater, office = Rater(default_deck()), office_in(country)
    for called in examples():
        rated = rater.rate_call(office, Direction.OUTBOUND, License.STANDARD, Service.VOICE, LOCAL[country], called)
        expected = Category.INTERNATIONAL
        if is_domestic(called, country):
            expected = Category.TOLL_FREE if is_toll_free(called) else Category.LOCAL
        assert rated.category is expected, called
        assert rated.verdict in (Code.FREE, Code.FUNDED), called
        if expected is Category.TOLL_FREE:
            assert rated.verdict is Code.FREE, called


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_example_as_calling_number(country: str) -> None:
    rater, office = Rater(default_deck()), office_in(country)
    for calling in examples():
        there = Category.LOCAL if is_domestic(calling, country) else Category.INTERNATIONAL
        for called, category in ((LOCAL[country], there), (TOLL_FREE[country], Category.TOLL_FREE)):
            rated = rater.rate_call(office, Direction.INBOUND, License.STANDARD, Service.VOICE, calling, called)
            assert rated.category is category, calling
            assert rated.verdict in (Code.FREE, Code.FUNDED), calling


@pytest.mark.parametrize(
    ("called", "blocked", "verdict"),
    [
        ("+442079460958", ("+44",), Code.DESTINATION_BLOCKED),
        ("011 44 20 7946 0958", ("+4420",), Code.DESTINATION_BLOCKED),
        ("+442079460958", ("+33", "+882"), Code.FUNDED),
        ("+44", ("+44",), Code.INVALID_NUMBER),
        ("", (), Code.INVALID_NUMBER),
        ("anonymous", (), Code.INVALID_NUMBER),
        ("+12125550142'; --", (), Code.INVALID_NUMBER),
        ("9" * 64, (), Code.INVALID_NUMBER),
    ],
)
def test_what_is_blocked_or_no_number(called: str, blocked: tuple[str, ...], verdict: Code) -> None:
    rater, office = Rater(default_deck(), blocked), office_in("US")
    call = rater.rate_call(office, Direction.OUTBOUND, License.STANDARD, Service.VOICE, "", called)
    assert call.verdict is verdict
    assert rater.rate_message(office, MessageKind.SMS, called).verdict is verdict


def test_without_an_office_only_a_plus_can_be_wrong() -> None:
    assert verdict_without_office("+44") is Code.INVALID_NUMBER
    assert verdict_without_office("+442079460958") is Code.UNKNOWN_OFFICE
    assert verdict_without_office("12") is Code.UNKNOWN_OFFICE


def test_fingerprints_tell_fields_apart() -> None:
    assert fingerprint(1, "a", "b") == fingerprint(1, "a", "b")
    assert len(fingerprint(1)) == 8
    assert (
        len({fingerprint(1, "a", "b"), fingerprint(1, "ab", ""), fingerprint(1, "", "ab"), fingerprint(11, "a")}) == 4
    )
