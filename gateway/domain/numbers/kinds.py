"""What a number is: its kind, its region, and the words a tariff deck has for it."""

from enum import StrEnum
from typing import Final, NamedTuple

from gateway.domain.vocabulary import Direction

UNKNOWN_REGION: Final = "ZZ"
"""The region of a text that is no number at all (CLDR's code for it)."""

NON_GEOGRAPHIC_REGION: Final = "001"
"""The region of numbers that belong to no country, such as +800 and +870 ("World" in UN M.49)."""


class NumberType(StrEnum):
    """The values of a deck's number_type column, and UNKNOWN.

    LOCAL says where a number is, seen from the caller; the others say what it is. A number has one kind (never
    LOCAL) and may match several types.
    """

    LOCAL = "LOCAL"
    TOLL_FREE = "TOLL_FREE"
    PREMIUM_RATE = "PREMIUM_RATE"
    SHARED_COST = "SHARED_COST"
    VOIP = "VOIP"
    PERSONAL_NUMBER = "PERSONAL_NUMBER"
    PAGER = "PAGER"
    UAN = "UAN"
    VOICEMAIL = "VOICEMAIL"
    MOBILE = "MOBILE"
    FIXED_LINE = "FIXED_LINE"
    FIXED_LINE_OR_MOBILE = "FIXED_LINE_OR_MOBILE"
    UNKNOWN = "UNKNOWN"


class NumberInfo(NamedTuple):
    """A number as seen from one country.

    Attributes:
        e164: The number with plus.
        region: The ISO 3166-1 country the number belongs to; "001" for none, "ZZ" if it is no number.
        kind: What the numbering plan uses the number for. UNKNOWN: well-formed, but of no range that the metadata
            knows; a newly opened range looks like this. Never LOCAL.
        is_domestic: Whether the number is in the numbering plan of the country it was looked at from. Two countries
            that share a calling code are two countries: +1 876 is not domestic to the US. Numbers that several
            countries share (+1 800) are domestic to each of them.
    """

    e164: str
    region: str
    kind: NumberType
    is_domestic: bool

    def types(self, direction: Direction) -> tuple[NumberType, ...]:
        """Return the number_type values of deck rows that apply to this number in a call of that direction."""
        return number_types(self.kind, self.is_domestic, direction)


def number_types(kind: NumberType, is_domestic: bool, direction: Direction) -> tuple[NumberType, ...]:
    """Return the number_type values of deck rows that apply to a number, the most telling first.

    LOCAL, TOLL_FREE and PREMIUM_RATE exclude each other, so that a row for one never gives away, nor charges for,
    another:

    - LOCAL is every domestic number but toll-free and premium-rate ones, whatever else it is.
    - TOLL_FREE on an outbound call is a toll-free number of the caller's own country; a foreign one is not free to
      call and matches no type at all. On an inbound call it is any toll-free number, because there the office is
      called, and pays, whatever the country of the number.
    """
    match kind:
        case NumberType.TOLL_FREE:
            return (kind,) if is_domestic or direction is Direction.INBOUND else ()
        case NumberType.PREMIUM_RATE:
            return (kind,)
        case NumberType.UNKNOWN:
            types = []
        case NumberType.FIXED_LINE_OR_MOBILE:
            # Where the plan does not tell them apart (all of North America), a mobile costs no more to reach.
            types = [kind, NumberType.FIXED_LINE]
        case _:
            types = [kind]
    return (*types, NumberType.LOCAL) if is_domestic else tuple(types)
