import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.minor_units import minor_unit_micros, to_micros, to_minor_units
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import InvalidArgument

CURRENCIES = {"JPY": 0, "KRW": 0, "XPF": 0, "USD": 2, "EUR": 2, "GBP": 2, "KWD": 3, "BHD": 3}


@pytest.mark.parametrize(
    ("micros", "currency", "minor_units"),
    [
        (0, "USD", 0),
        (10_000, "USD", 1),
        (50_000_000, "USD", 5_000),
        (-10_000, "USD", -1),
        (1_000_000, "JPY", 1),
        (50_000_000, "JPY", 50),
        (1_000, "KWD", 1),
        (1_234_000, "KWD", 1_234),
        (MAX_AMOUNT_MICROS, "USD", 10**11),
    ],
)
def test_an_amount_is_so_many_minor_units_of_its_currency(micros: int, currency: str, minor_units: int) -> None:
    assert to_minor_units(micros, currency) == minor_units
    assert to_micros(minor_units, currency) == micros


@pytest.mark.parametrize(
    ("micros", "currency", "step"),
    [
        (1, "USD", "0.01"),
        (9_999, "USD", "0.01"),
        (10_001, "USD", "0.01"),
        (-1, "USD", "0.01"),
        (1_500_000, "JPY", "steps of 1"),
        (10_000, "JPY", "steps of 1"),
        (100, "KWD", "0.001"),
    ],
)
def test_what_is_no_whole_minor_unit_is_refused_and_not_rounded(micros: int, currency: str, step: str) -> None:
    with pytest.raises(InvalidArgument, match=step) as caught:
        to_minor_units(micros, currency, "threshold_micros")
    assert caught.value.field == "threshold_micros"


@pytest.mark.parametrize(
    "currency", ["", "usd", "US", "USDX", "XXX", "XAU", "ZZZ", "DEM", "U$D", "\uff35\uff33\uff24", " USD", "BTC"]
)
def test_a_currency_that_nobody_is_charged_in_is_refused(currency: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        minor_unit_micros(currency)
    assert caught.value.field == "currency"


@given(st.integers(-(10**9), 10**9), st.sampled_from(sorted(CURRENCIES)))
def test_there_and_back_is_the_same_amount(minor_units: int, currency: str) -> None:
    assert to_micros(minor_units, currency) * 10 ** CURRENCIES[currency] == minor_units * 1_000_000
    assert to_minor_units(to_micros(minor_units, currency), currency) == minor_units
