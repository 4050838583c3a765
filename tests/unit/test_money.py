from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.money import MAX_AMOUNT_MICROS, AmountError, format_amount, parse_amount


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.02", 20_000),
        ("12", 12_000_000),
        (" 12.345678 ", 12_345_678),
        ("0.000001", 1),
        ("-0.5", -500_000),
        ("+5.00", 5_000_000),
        ("007", 7_000_000),
        ("1000000000", MAX_AMOUNT_MICROS),
        ("-1000000000.000000", -MAX_AMOUNT_MICROS),
    ],
)
def test_reads_a_decimal_exactly(text: str, micros: int) -> None:
    assert parse_amount(text) == micros


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "missing"),
        ("  ", "missing"),
        ("abc", "not a decimal"),
        ("1,000", "not a decimal"),
        ("0,02", "not a decimal"),
        (".5", "not a decimal"),
        ("5.", "not a decimal"),
        ("1e3", "not a decimal"),
        ("$5", "not a decimal"),
        ("--5", "not a decimal"),
        ("1 000", "not a decimal"),
        ("nan", "not a decimal"),
        ("inf", "not a decimal"),
        ("٣", "not a decimal"),
        ("1_000", "not a decimal"),
        ("0.0000001", "7 decimals"),
        ("0.0200000", "7 decimals"),
        ("1000000000.000001", "beyond"),
        ("-1000000000.000001", "beyond"),
        ("9" * 1_000, "not a decimal"),
    ],
)
def test_refuses_what_is_not_an_amount(text: str, complaint: str) -> None:
    with pytest.raises(AmountError, match=complaint):
        parse_amount(text)


def test_a_complaint_quotes_no_more_than_a_line() -> None:
    with pytest.raises(AmountError) as caught:
        parse_amount("x\n" * 10_000)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00"),
        (12_345_678, "12.345678"),
        (12_340_000, "12.34"),
        (12_000_000, "12.00"),
        (8_500, "0.0085"),
        (1, "0.000001"),
        (-500_000, "-0.50"),
        (-1, "-0.000001"),
        (MAX_AMOUNT_MICROS, "1000000000.00"),
    ],
)
def test_shows_two_decimals_and_those_that_count(micros: int, text: str) -> None:
    assert format_amount(micros) == text


@pytest.mark.parametrize(("decimals", "text"), [(0, "12"), (1, "12.0"), (6, "12.000000")])
def test_shows_at_least_the_decimals_asked_for(decimals: int, text: str) -> None:
    assert format_amount(12_000_000, decimals=decimals) == text


@given(st.integers(-MAX_AMOUNT_MICROS, MAX_AMOUNT_MICROS), st.integers(0, 6))
def test_reads_back_what_it_wrote(micros: int, decimals: int) -> None:
    text = format_amount(micros, decimals=decimals)
    assert parse_amount(text) == micros
    assert Decimal(text) * 1_000_000 == micros
