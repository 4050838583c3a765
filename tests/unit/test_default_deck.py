"""The deck that ships: the promises to the owners of balances, and a rate for every number from everywhere."""

from functools import cache
from importlib.resources import files

import pytest

from gateway.domain.deck import CallQuery, Deck, MessageQuery, RateRow, parse_deck
from gateway.domain.numbers import COUNTRIES, classify, is_emergency
from gateway.domain.vocabulary import Direction, License, MessageKind, Service
from tests.unit.test_numbers import examples
from tools.make_default_deck import deck_text

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
STANDARD, CONTACT_CENTER, SALES = License.STANDARD, License.CONTACT_CENTER, License.SALES

SAN_FRANCISCO, TORONTO, JAMAICA, LONDON = "+14155550100", "+14165550100", "+18765230123", "+442079460000"
US_TOLL_FREE, US_PREMIUM, GB_TOLL_FREE, FREEPHONE = "+18005550100", "+19002345678", "+448001111111", "+80012345678"


@cache
def default_deck() -> Deck:
    return parse_deck(files("gateway").joinpath("data/default_rates.csv").read_bytes())


def lookup(
    called: str, origin: str, direction: Direction, license_: License, service: Service = Service.VOICE
) -> RateRow | None:
    return default_deck().lookup_call(CallQuery("", service, direction, license_, origin, classify(called, origin)))


def test_the_file_is_what_the_script_writes() -> None:
    assert files("gateway").joinpath("data/default_rates.csv").read_text("utf-8") == deck_text()


@pytest.mark.parametrize(
    ("origin", "direction", "license_", "called", "minute_micros"),
    [
        ("US", OUT, STANDARD, SAN_FRANCISCO, 0),
        ("US", OUT, STANDARD, US_TOLL_FREE, 0),
        ("CA", OUT, STANDARD, US_TOLL_FREE, 0),
        ("JM", OUT, STANDARD, US_TOLL_FREE, 0),
        ("JM", OUT, STANDARD, JAMAICA, 0),
        ("CA", OUT, STANDARD, TORONTO, 0),
        ("GB", OUT, STANDARD, LONDON, 0),
        ("GB", OUT, STANDARD, GB_TOLL_FREE, 0),
        ("US", OUT, CONTACT_CENTER, SAN_FRANCISCO, 20_000),
        ("US", OUT, SALES, SAN_FRANCISCO, 20_000),
        ("US", OUT, CONTACT_CENTER, US_TOLL_FREE, 0),
        ("US", OUT, SALES, US_TOLL_FREE, 0),
        ("US", IN, STANDARD, SAN_FRANCISCO, 0),
        ("GB", IN, STANDARD, LONDON, 0),
        ("US", IN, CONTACT_CENTER, SAN_FRANCISCO, 10_000),
        ("US", IN, SALES, SAN_FRANCISCO, 10_000),
        ("US", IN, STANDARD, US_TOLL_FREE, 20_000),
        ("US", IN, CONTACT_CENTER, US_TOLL_FREE, 20_000),
        ("US", IN, SALES, US_TOLL_FREE, 20_000),
        ("CA", IN, STANDARD, US_TOLL_FREE, 20_000),
        ("CA", IN, SALES, US_TOLL_FREE, 20_000),
    ],
)
def test_keeps_what_was_promised(
    origin: str, direction: Direction, license_: License, called: str, minute_micros: int
) -> None:
    row = lookup(called, origin, direction, license_)
    assert row is not None
    assert row.rate.price_micros(60) == row.rate.price_per_minute_micros == minute_micros
    assert "SAMPLE" not in row.description or origin not in ("US", "CA") or minute_micros == 0


@pytest.mark.parametrize(
    ("origin", "called"),
    [
        ("US", TORONTO),
        ("US", JAMAICA),
        ("US", LONDON),
        ("US", GB_TOLL_FREE),
        ("US", FREEPHONE),
        ("US", US_PREMIUM),
        ("US", "+17872345678"),
        ("GB", US_TOLL_FREE),
        ("GB", "+441481256789"),
        ("JM", SAN_FRANCISCO),
        ("JM", "+18685550100"),
        ("DE", "+870301234567"),
    ],
)
def test_charges_for_what_is_not_local(origin: str, called: str) -> None:
    row = lookup(called, origin, OUT, STANDARD)
    assert row is not None
    assert row.rate.price_micros(1) > 0
    assert "SAMPLE" in row.description


def test_prices_every_example_number_from_every_country() -> None:
    unpriced = [
        (origin, called)
        for called in examples()
        for origin in COUNTRIES
        if lookup(called, origin, OUT, STANDARD) is None
    ]
    assert not unpriced


@pytest.mark.parametrize("license_", [CONTACT_CENTER, SALES])
def test_prices_every_example_number_for_every_licence(license_: License) -> None:
    for called in examples():
        assert lookup(called, "US", OUT, license_) is not None
        assert lookup(called, "US", IN, license_) is not None


@pytest.mark.parametrize("called", examples()[::7])
def test_local_is_free_and_foreign_is_not(called: str) -> None:
    info = classify(called, "US")
    if info.region in COUNTRIES and not is_emergency(called, None):
        home = lookup(called, info.region, OUT, STANDARD)
        abroad = lookup(called, "SM" if info.region != "SM" else "US", OUT, STANDARD)
        assert home is not None
        assert home.rate.is_free == (info.kind != "PREMIUM_RATE")
        assert abroad is not None
        assert not abroad.rate.is_free


@pytest.mark.parametrize(
    ("origin", "direction", "called", "is_free"),
    [
        ("US", IN, SAN_FRANCISCO, True),
        ("US", OUT, SAN_FRANCISCO, False),
        ("US", OUT, US_TOLL_FREE, False),
        ("FR", OUT, LONDON, False),
    ],
)
def test_only_outbound_faxes_are_charged(origin: str, direction: Direction, called: str, is_free: bool) -> None:
    row = lookup(called, origin, direction, STANDARD, Service.FAX)
    assert row is not None
    assert row.rate.is_free is is_free


@pytest.mark.parametrize("kind", list(MessageKind))
@pytest.mark.parametrize("origin", ["US", "GB"])
@pytest.mark.parametrize("called", [SAN_FRANCISCO, LONDON, US_TOLL_FREE])
def test_messages_have_a_price(kind: MessageKind, origin: str, called: str) -> None:
    row = default_deck().lookup_message(MessageQuery("", kind, origin, classify(called, origin)))
    assert row is not None
    assert row.rate.price_micros > 0


def test_bills_whole_minutes() -> None:
    for row in default_deck().rows():
        if isinstance(row, RateRow):
            assert [(slot.per_seconds, slot.increment_seconds) for slot in row.rate.slots] == [(60, 60)]
            assert (row.rate.connect_fee_micros, row.rate.tick_seconds) == (0, 60)
