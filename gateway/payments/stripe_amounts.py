"""Amounts as Stripe counts them: minor units, with exceptions of its own (docs.stripe.com/currencies).

- ISK and UGX have no decimals, and Stripe still wants them in hundredths, always a multiple of 100.
- MGA has two decimals by ISO 4217, and Stripe counts it in whole units.
- With three decimals (KWD, BHD, ...) the last digit must be 0, since the card networks drop it.
"""

from typing import Final

from gateway.domain.minor_units import minor_unit_micros
from gateway.errors import InvalidArgument

_UNIT_MICROS: Final = {"ISK": 10_000, "UGX": 10_000, "MGA": 1_000_000}
"""Stripe's unit, where it is not ISO's minor unit."""

_SMALLEST_STEP_MICROS: Final = 10_000
"""No step that a card is charged in is smaller: see the third exception."""


def to_stripe_amount(amount_micros: int, currency: str, field: str = "amount_micros") -> int:
    """Turn micros into the number that Stripe takes, exactly: 50,000,000 micros of USD are 5000, of JPY 50.

    Args:
        amount_micros: Above zero.
        currency: ISO 4217, capital letters.
        field: What an error calls the amount.

    Raises:
        InvalidArgument: Stripe cannot charge that amount to the micro, or nobody is charged in that currency.
    """
    unit = _unit_micros(currency)
    step = max(unit, minor_unit_micros(currency), _SMALLEST_STEP_MICROS)
    if amount_micros % step:
        raise InvalidArgument(field, f"must be a multiple of {step} micros: so Stripe charges {currency}")
    return amount_micros // unit


def from_stripe_amount(amount: int, currency: str) -> int:
    """Turn Stripe's number into micros.

    Raises:
        InvalidArgument: Nobody is charged in that currency.
    """
    return amount * _unit_micros(currency)


def _unit_micros(currency: str) -> int:
    return _UNIT_MICROS.get(currency) or minor_unit_micros(currency)
