"""Write gateway/data/default_rates.csv, the deck that a new installation starts with.

Two kinds of rows: the promises to the owners of balances (what is free, what Contact Center and Sales licences pay,
toll-free numbers of the US and Canada), and for everything else round sample prices, marked SAMPLE, so that every
number of every country has a rate until a billing engineer puts real ones in their place. Every rate bills whole
minutes.

    python tools/make_default_deck.py            # writes the file
    python tools/make_default_deck.py --check    # fails if the file is not what would be written
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.geodata.locale import LOCALE_DATA

from gateway.domain.deck import COLUMNS
from gateway.domain.numbers import COUNTRIES, NON_GEOGRAPHIC_REGION, NumberType, classify

TARGET: Final = Path(__file__).parent.parent / "gateway" / "data" / "default_rates.csv"

SAMPLE: Final = "SAMPLE"

NAMES_THE_LIBRARY_LACKS: Final = {"AC": "Ascension Island", "TA": "Tristan da Cunha", "XK": "Kosovo"}

NANP: Final = "1"
NANP_MAINLAND: Final = frozenset({"US", "CA"})

# Per minute to fixed lines and to mobiles, by the world zone that the first digit of a calling code stands for.
ZONE_PRICES: Final = {
    "1": ("0.15", "0.20"),  # the islands; the US and Canada have a price of their own
    "2": ("0.25", "0.35"),  # Africa
    "3": ("0.03", "0.12"),  # Europe
    "4": ("0.03", "0.12"),
    "5": ("0.08", "0.15"),  # Latin America
    "6": ("0.10", "0.15"),  # South-East Asia and Oceania
    "7": ("0.08", "0.12"),  # Russia and Kazakhstan
    "8": ("0.08", "0.12"),  # East Asia
    "9": ("0.12", "0.20"),  # West and South Asia
}
MAINLAND_PRICES: Final = ("0.02", "0.02")
NON_GEOGRAPHIC_PRICES: Final = {
    "800": ("0.05", "International Freephone"),
    "808": ("0.10", "International Shared Cost"),
    "870": ("6.00", "Inmarsat satellite"),
    "878": ("0.50", "Universal Personal Telecommunications"),
    "881": ("6.00", "Global satellite systems"),
    "882": ("4.00", "International networks"),
    "883": ("0.50", "International networks"),
    "888": ("0.50", "Telecommunications for disaster relief"),
    "979": ("3.00", "International Premium Rate"),
}
PREMIUM_PRICE_ABROAD: Final = "2.00"
PREMIUM_PRICE_AT_HOME: Final = "1.00"
ELSEWHERE_PRICE: Final = "0.60"

# Neighbours who call each other much: dearer or cheaper than the zone, in both directions.
CORRIDORS: Final = (
    ("US", "CA", "0.01"),
    ("US", "MX", "0.02"),
    ("US", "GB", "0.02"),
    ("US", "PH", "0.09"),
    ("US", "IN", "0.03"),
    ("GB", "IE", "0.02"),
    ("GB", "AU", "0.03"),
    ("DE", "AT", "0.02"),
    ("DE", "CH", "0.02"),
    ("DE", "PL", "0.02"),
    ("FR", "BE", "0.02"),
    ("FR", "DE", "0.02"),
    ("ES", "PT", "0.02"),
    ("AU", "NZ", "0.02"),
    ("SG", "MY", "0.03"),
)


def main() -> None:
    """Write the deck, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if the file is not what would be written")
    text = deck_text()
    if not parser.parse_args().check:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET} is stale: run python tools/make_default_deck.py")


def deck_text() -> str:
    """Return the whole deck as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows())
    return text.getvalue()


Row = dict[str, str]


def _rows() -> Iterator[Row]:
    prefixes = _prefixes_by_country()
    yield from _promises()
    yield from _samples_for_all()
    for country in sorted(prefixes):
        yield from _from_country(country, prefixes[country])
    yield from _to_destinations(prefixes)
    for one, other, price in CORRIDORS:
        yield _corridor(one, other, price, prefixes)
        yield _corridor(other, one, price, prefixes)


def _promises() -> Iterator[Row]:
    """Yield what the owners of balances were promised with a price, except what needs the prefixes of a country."""
    yield _call("INBOUND", price="0", description="Inbound calls are free")
    for country, name in (("US", "United States"), ("CA", "Canada")):
        yield _call(
            "INBOUND",
            origin=country,
            number_type="TOLL_FREE",
            price="0.02",
            description=f"Inbound to a toll-free number: {name}",
        )
    for license_ in ("CONTACT_CENTER", "SALES"):
        name = _license_name(license_)
        yield _call(
            "INBOUND",
            origin="US",
            license=license_,
            number_type="LOCAL",
            price="0.01",
            description=f"Inbound local calls in the US: {name} licence",
        )
    yield _call(
        "INBOUND",
        origin="US",
        license="SALES",
        number_type="TOLL_FREE",
        price="0.02",
        description="Inbound to a toll-free number in the US: Sales licence",
    )


def _samples_for_all() -> Iterator[Row]:
    """Yield the samples that are the same from every country; rows that name an origin go before them."""
    yield _call("INBOUND", number_type="TOLL_FREE", price="0.04", description=f"{SAMPLE} Inbound to a toll-free number")
    for license_ in ("CONTACT_CENTER", "SALES"):
        name = _license_name(license_)
        description = f"{SAMPLE} Inbound local calls: {name} licence"
        yield _call("INBOUND", license=license_, number_type="LOCAL", price="0.01", description=description)
    yield _fax("INBOUND", price="0", description="Inbound faxes are free")
    for number_type, price, what in (
        ("", "0.20", "abroad"),
        ("LOCAL", "0.05", "in the country"),
        ("TOLL_FREE", "0.05", "to toll-free numbers"),
        ("PREMIUM_RATE", "2.00", "to premium-rate numbers"),
    ):
        yield _fax("OUTBOUND", number_type=number_type, price=price, description=f"{SAMPLE} Outbound faxes {what}")
    for origin, service, home_price, price in (
        ("US", "SMS", "0.0085", "0.05"),
        ("US", "MMS", "0.02", "0.10"),
        ("", "SMS", "0.04", "0.08"),
        ("", "MMS", "0.12", "0.25"),
    ):
        name = f"{SAMPLE} {origin} {service}" if origin else f"{SAMPLE} {service}"
        for number_type in ("LOCAL", "TOLL_FREE"):
            yield _message(service, origin=origin, number_type=number_type, price=home_price, description=name)
        yield _message(service, origin=origin, price=price, description=f"{name} to other countries")


def _from_country(country: str, prefixes: list[str]) -> Iterator[Row]:
    """Yield what callers of a country pay at home, and for destinations that have no row.

    Each row for home has the country's prefix, since the longest prefix wins: one without would lose against the rows
    for calling the country from abroad.
    """
    name = _name(country)
    mark = "" if country == "US" else f"{SAMPLE} "
    for prefix in prefixes:
        home = {"origin": country, "prefix": prefix}
        yield _call("OUTBOUND", **home, number_type="LOCAL", price="0", description=f"Local calls: {name}")
        for license_ in ("CONTACT_CENTER", "SALES"):
            description = f"{mark}Local calls: {name}, {_license_name(license_)} licence"
            yield _call(
                "OUTBOUND", **home, license=license_, number_type="LOCAL", price="0.02", description=description
            )
    home = {"origin": country, "prefix": prefixes[0]}
    yield _call("OUTBOUND", **home, number_type="TOLL_FREE", price="0", description=f"Toll-free calls: {name}")
    yield _call(
        "OUTBOUND",
        **home,
        number_type="PREMIUM_RATE",
        price=PREMIUM_PRICE_AT_HOME,
        description=f"{SAMPLE} Premium-rate calls: {name}",
    )
    description = f"{SAMPLE} Other destinations from {name}"
    yield _call("OUTBOUND", origin=country, price=ELSEWHERE_PRICE, description=description)


def _to_destinations(prefixes: dict[str, list[str]]) -> Iterator[Row]:
    """Yield what it costs to call each country from any other."""
    mainland = f"{SAMPLE} United States and Canada"
    yield from _to_prefix(NANP, mainland, MAINLAND_PRICES)
    for calling_code, regions in sorted((str(code), regions) for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()):
        if regions == (NON_GEOGRAPHIC_REGION,):
            price, name = NON_GEOGRAPHIC_PRICES[calling_code]
            yield _call("OUTBOUND", prefix=calling_code, price=price, description=f"{SAMPLE} {name}")
        elif calling_code != NANP:
            names = " and ".join(_name(region) for region in regions)
            yield from _to_prefix(calling_code, f"{SAMPLE} {names}", ZONE_PRICES[calling_code[0]])
    for country, own in sorted(prefixes.items()):
        for prefix in own:
            if prefix.startswith(NANP) and prefix != NANP:
                yield from _to_prefix(prefix, f"{SAMPLE} {_name(country)}", ZONE_PRICES[NANP], with_premium=False)


def _to_prefix(prefix: str, name: str, prices: tuple[str, str], *, with_premium: bool = True) -> Iterator[Row]:
    fixed, mobile = prices
    yield _call("OUTBOUND", prefix=prefix, price=fixed, description=name)
    if mobile != fixed:
        yield _call("OUTBOUND", prefix=prefix, number_type="MOBILE", price=mobile, description=f"{name}, mobile")
    if with_premium:
        description = f"{name}, premium rate"
        yield _call(
            "OUTBOUND",
            prefix=prefix,
            number_type="PREMIUM_RATE",
            price=PREMIUM_PRICE_ABROAD,
            description=description,
        )


def _corridor(origin: str, destination: str, price: str, prefixes: dict[str, list[str]]) -> Row:
    description = f"{SAMPLE} {_name(destination)} from {_name(origin)}"
    return _call("OUTBOUND", origin=origin, prefix=prefixes[destination][0], price=price, description=description)


def _prefixes_by_country() -> dict[str, list[str]]:
    """Return for each country the prefixes that its numbers begin with and that rows are written for.

    The calling code first. The islands of the North American plan also have their area codes, since these are priced
    apart from the mainland: the row of +1 876 would win against one for calls inside Jamaica with prefix 1.
    """
    prefixes = {
        country: [str(code)]
        for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()
        for country in regions
        if country in COUNTRIES
    }
    for area_code in range(200, 1_000):
        number = classify(f"+{NANP}{area_code}2345678", "US")
        is_island = number.region not in NANP_MAINLAND
        if is_island and number.kind not in (NumberType.TOLL_FREE, NumberType.PREMIUM_RATE):
            prefixes[number.region].append(f"{NANP}{area_code}")
    return prefixes


def _call(direction: str, **cells: str) -> Row:
    return _timed("VOICE", direction, cells)


def _fax(direction: str, **cells: str) -> Row:
    return _timed("FAX", direction, cells)


def _timed(service: str, direction: str, cells: Row) -> Row:
    billing = {"from_second": "0", "per_seconds": "60", "increment_seconds": "60", "connect_fee": "0"}
    return {"service": service, "direction": direction, **billing, "tick_seconds": "60", **cells}


def _message(service: str, **cells: str) -> Row:
    return {"service": service, "direction": "OUTBOUND", **cells}


def _name(country: str) -> str:
    if country in NAMES_THE_LIBRARY_LACKS:
        return NAMES_THE_LIBRARY_LACKS[country]
    name = LOCALE_DATA[country]["en"]
    # "*aa" stands for "as in the language aa".
    return LOCALE_DATA[country][name[1:]] if name.startswith("*") else name


def _license_name(license_: str) -> str:
    return license_.replace("_", " ").title()


if __name__ == "__main__":
    main()
