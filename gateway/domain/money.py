"""Amounts of money as whole micros: 1 unit of the installation's currency is 1,000,000 micros.

An amount is a plain `int` from where it is read to where it is printed; nothing in between is a float. The bound
exists because the store's scripts count in doubles, which are exact to 2^53 (about 9 * 10^15) only.
"""

import re
from typing import Final

MICROS_PER_UNIT: Final = 1_000_000

MAX_AMOUNT_MICROS: Final = 10**15
"""No balance, limit or price goes beyond this, in either direction."""

_DECIMAL_PLACES: Final = 6
_DECIMAL: Final = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_MAX_INPUT_LENGTH: Final = 32


class AmountError(ValueError):
    """A text is not an amount of money; the message says why, in words for the person who wrote it."""


def parse_amount(text: str) -> int:
    """Read a decimal amount such as "12", "-0.5" or "0.012500" exactly.

    Spaces around it are ignored. Refused are thousands separators, exponents, currency signs, a missing digit on
    either side of the point and, whether or not they are zeros, more than six decimals: whoever writes a seventh
    expects it to count.

    Returns:
        Micros, from -10^15 to 10^15.

    Raises:
        AmountError: The text is not such a decimal, or it is out of range.
    """
    text = text.strip()
    if not text:
        raise AmountError("an amount is missing")
    if len(text) > _MAX_INPUT_LENGTH or (match := _DECIMAL.fullmatch(text)) is None:
        raise AmountError(f"{shorten(text)} is not a decimal amount such as 0.012")
    sign, units, decimals = match[1], match[2], match[3] or ""
    if len(decimals) > _DECIMAL_PLACES:
        raise AmountError(f"{text} has {len(decimals)} decimals, at most {_DECIMAL_PLACES} are possible")
    micros = int(units) * MICROS_PER_UNIT + int(decimals.ljust(_DECIMAL_PLACES, "0"))
    if micros > MAX_AMOUNT_MICROS:
        raise AmountError(f"{text} is beyond {MAX_AMOUNT_MICROS // MICROS_PER_UNIT:,} units")
    return -micros if sign == "-" else micros


def format_amount(micros: int, *, decimals: int = 2) -> str:
    """Write micros as a decimal that `parse_amount` reads back to the same amount.

    Args:
        micros: Any amount.
        decimals: How many decimals to show at least, 0 to 6; further ones appear only where they are not zero, so
            that 12,340,000 is "12.34" and 12,345,678 is "12.345678".
    """
    units, rest = divmod(abs(micros), MICROS_PER_UNIT)
    fraction = f"{rest:0{_DECIMAL_PLACES}d}"
    shown = fraction[:decimals] + fraction[decimals:].rstrip("0")
    sign = "-" if micros < 0 else ""
    return f"{sign}{units}.{shown}" if shown else f"{sign}{units}"


def shorten(text: str, *, length: int = 40) -> str:
    """Quote foreign text for an error message: visible, on one line, and not longer than `length` characters."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")
