"""Amounts as Stripe counts them: exact, with its special cases, and back again."""

import pytest

from gateway.errors import InvalidArgument
from gateway.payments.stripe_amounts import from_stripe_amount, to_stripe_amount


@pytest.mark.parametrize(
    ("amount_micros", "currency", "amount"),
    [
        (50_000_000, "USD", 5_000),
        (10_000, "USD", 1),
        (12_340_000, "EUR", 1_234),
        (5_000_000_000, "JPY", 5_000),
        (1_000_000, "KRW", 1),
        (50_000_000, "ISK", 5_000),
        (50_000_000, "UGX", 5_000),
        (50_000_000, "MGA", 50),
        (12_340_000, "KWD", 12_340),
        (10_000, "BHD", 10),
        (50_000_000, "HUF", 5_000),
        (50_000_000, "TWD", 5_000),
    ],
)
def test_what_stripe_takes(amount_micros: int, currency: str, amount: int) -> None:
    assert to_stripe_amount(amount_micros, currency) == amount
    assert from_stripe_amount(amount, currency) == amount_micros


@pytest.mark.parametrize(
    ("amount_micros", "currency", "field"),
    [
        (1, "USD", "amount_micros"),
        (50_005_000, "USD", "amount_micros"),
        (50_000, "JPY", "amount_micros"),
        (50_010_000, "ISK", "amount_micros"),
        (500_000, "UGX", "amount_micros"),
        (50_010_000, "MGA", "amount_micros"),
        (12_341_000, "KWD", "amount_micros"),
        (1_000, "TND", "amount_micros"),
        (50_000_000, "XXX", "currency"),
        (50_000_000, "usd", "currency"),
        (50_000_000, "", "currency"),
    ],
)
def test_what_stripe_does_not_take(amount_micros: int, currency: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        to_stripe_amount(amount_micros, currency)
    assert caught.value.field == field
