"""Amounts as card networks count them: whole minor units, of which a unit has 1, 100 or 1,000 (ISO 4217).

The gateway counts in micros of a unit, whatever the currency; a card is charged in cents, yen or fils. Nothing is ever
rounded here: what is no whole number of minor units cannot be charged.
"""

from typing import Final

from gateway.domain.money import MICROS_PER_UNIT, format_amount
from gateway.errors import InvalidArgument

# Every currency is listed, so that one that was mistyped, or is no more, is an error and not a wrong factor.
_CURRENCIES_BY_MICROS: Final = {
    1_000_000: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    10_000: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    1_000: "BHD IQD JOD KWD LYD OMR TND",
}
_MICROS: Final = {
    currency: micros for micros, currencies in _CURRENCIES_BY_MICROS.items() for currency in currencies.split()
}


def minor_unit_micros(currency: str) -> int:
    """How many micros the smallest amount is that a card can be charged with: 10,000 in USD, 1,000,000 in JPY.

    Args:
        currency: ISO 4217, capital letters.

    Raises:
        InvalidArgument: Nobody is charged in that currency.
    """
    micros = _MICROS.get(currency)
    if micros is None:
        raise InvalidArgument("currency", "must be an ISO 4217 code in capital letters that cards are charged in: USD")
    return micros


def to_minor_units(amount_micros: int, currency: str, field: str = "amount_micros") -> int:
    """Turn micros into minor units, exactly: 12,340,000 micros of USD are 1,234 cents.

    Args:
        amount_micros: Of either sign.
        currency: ISO 4217, capital letters.
        field: What an error calls the amount.

    Raises:
        InvalidArgument: The amount is no whole number of minor units, or nobody is charged in that currency.
    """
    unit = minor_unit_micros(currency)
    minor_units, rest = divmod(amount_micros, unit)
    if rest:
        smallest = format_amount(unit, decimals=0)
        raise InvalidArgument(
            field, f"must be a multiple of {unit} micros: {currency} is charged in steps of {smallest}"
        )
    return minor_units


def to_micros(minor_units: int, currency: str) -> int:
    """Turn minor units, as a provider names them, into micros: 1,234 cents of USD are 12,340,000 micros.

    Raises:
        InvalidArgument: Nobody is charged in that currency.
    """
    return minor_units * minor_unit_micros(currency)


def format_charge(amount_micros: int, currency: str) -> str:
    """An amount as it is on a receipt, with the decimals of its currency: 12.30 USD, 50 JPY.

    Raises:
        InvalidArgument: Nobody is charged in that currency.
    """
    return _formatted(amount_micros, currency, minor_unit_micros(currency))


def format_money(amount_micros: int, currency: str) -> str:
    """An amount as people write it, with the decimals of its currency; two where nobody is charged in that."""
    return _formatted(amount_micros, currency, _MICROS.get(currency, _MICROS["USD"]))


def _formatted(amount_micros: int, currency: str, unit_micros: int) -> str:
    decimals = len(str(MICROS_PER_UNIT // unit_micros)) - 1
    return f"{format_amount(amount_micros, decimals=decimals)} {currency}"
