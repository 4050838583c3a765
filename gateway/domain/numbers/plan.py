"""A region's numbering plan, compiled once per process from the metadata of `phonenumbers`.

The library answers "what is this number?" in 20 to 280 us, most of it spent on looking up patterns and trying them
one by one in Python. Here a region's patterns become three regular expressions, after which the same answer takes a
few microseconds. A plan is compiled when it is first asked for (0.2 to 4 ms); `compile_plans` does all of them ahead.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, SUPPORTED_REGIONS
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from gateway.domain.numbers.kinds import NON_GEOGRAPHIC_REGION, NumberType

COUNTRIES: Final = frozenset(SUPPORTED_REGIONS)
"""The ISO 3166-1 alpha-2 codes of all countries and territories that have a numbering plan."""

CALLING_CODES: Final = {str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()}
"""The regions of each calling code, the main one first."""

_LONGEST_CALLING_CODE: Final = 3
# The length of a calling code by the first two digits of a number; those that are not here have three.
_LENGTHS: Final = {code: len(code) for code in CALLING_CODES if len(code) < _LONGEST_CALLING_CODE} | {
    code + second: 1 for code in CALLING_CODES if len(code) == 1 for second in "0123456789"
}

# In the library's order, which matters: the patterns overlap, and the first that matches names the kind.
_SPECIAL_KINDS: Final = (
    (NumberType.PREMIUM_RATE, "premium_rate"),
    (NumberType.TOLL_FREE, "toll_free"),
    (NumberType.SHARED_COST, "shared_cost"),
    (NumberType.VOIP, "voip"),
    (NumberType.PERSONAL_NUMBER, "personal_number"),
    (NumberType.PAGER, "pager"),
    (NumberType.UAN, "uan"),
    (NumberType.VOICEMAIL, "voicemail"),
)

_NEVER: Final = re.compile(r"(?!)")


class Plan:
    """The compiled plan of one region, or of one calling code that belongs to no region.

    Attributes:
        region: ISO 3166-1, or "001".
        calling_code: Its digits, such as "44".
    """

    __slots__ = (
        "_fixed_line",
        "_international_prefix",
        "_leading_digits",
        "_lengths",
        "_mobile",
        "_national_prefix",
        "_special",
        "_special_kinds",
        "_transform",
        "_well_formed",
        "calling_code",
        "region",
    )

    def __init__(self, metadata: PhoneMetadata) -> None:
        """Compile the metadata of one region."""
        general = metadata.general_desc
        if general is None:
            raise ValueError(f"the metadata of {metadata.id} has no general description")
        self.region = metadata.id
        self.calling_code = str(metadata.country_code)
        self._lengths = frozenset(general.possible_length)
        self._well_formed = re.compile(general.national_number_pattern or "(?!)", re.ASCII)
        specials = [
            (kind, pattern)
            for kind, field in _SPECIAL_KINDS
            if (pattern := _pattern(getattr(metadata, field), general)) is not None
        ]
        self._special_kinds = tuple(kind for kind, _ in specials)
        self._special = re.compile("|".join(f"({pattern})" for _, pattern in specials) or "(?!)", re.ASCII)
        self._fixed_line = _compile(metadata.fixed_line, general)
        # Compiling an equal pattern twice yields the same object, so this also covers where they are the same.
        self._mobile = _compile(metadata.mobile, general)
        self._leading_digits = re.compile(metadata.leading_digits) if metadata.leading_digits else None
        self._international_prefix = re.compile(metadata.international_prefix or "(?!)")
        self._national_prefix = re.compile(metadata.national_prefix_for_parsing or "(?!)")
        self._transform = metadata.national_prefix_transform_rule

    def is_well_formed(self, national: str) -> bool:
        """Whether a national significant number has the length and the form of the plan's numbers."""
        return len(national) in self._lengths and self._well_formed.fullmatch(national) is not None

    def kind(self, national: str) -> NumberType:
        """Return what the plan uses a national significant number for; UNKNOWN if it is in no range of the plan."""
        if not self.is_well_formed(national):
            return NumberType.UNKNOWN
        if (match := self._special.fullmatch(national)) is not None and match.lastindex is not None:
            return self._special_kinds[match.lastindex - 1]
        if self._fixed_line.fullmatch(national) is None:
            return NumberType.MOBILE if self._mobile.fullmatch(national) else NumberType.UNKNOWN
        if self._mobile is self._fixed_line or self._mobile.fullmatch(national):
            return NumberType.FIXED_LINE_OR_MOBILE
        return NumberType.FIXED_LINE

    def claims(self, national: str) -> bool | None:
        """Whether a number's first digits alone give it to this region; None if they cannot tell."""
        return None if self._leading_digits is None else self._leading_digits.match(national) is not None

    def after_international_prefix(self, digits: str) -> str | None:
        """Return what follows the prefix for calling abroad, None if the digits do not begin with it.

        No calling code begins with 0, so digits that go on with one were dialled for another purpose.
        """
        match = self._international_prefix.match(digits)
        if match is None or digits.startswith("0", match.end()):
            return None
        return digits[match.end() :]

    def significant(self, digits: str) -> str:
        """Return digits without the prefix for calling inside the country, if they have one.

        The prefix may be a trunk prefix, the code of a carrier, or stand for an area code that is left out locally.
        It stays if the number is well-formed with it and not without.
        """
        match = self._national_prefix.match(digits)
        if match is None:
            return digits
        rest = digits[match.end() :]
        if self._transform and match[match.re.groups] is not None:
            rest = match.expand(self._transform) + rest
        if self._well_formed.fullmatch(digits) and not self._well_formed.fullmatch(rest):
            return digits
        return rest if len(rest) in self._lengths or len(rest) > max(self._lengths) else digits

    def without_calling_code(self, digits: str) -> str | None:
        """Return the national number in digits that begin with the plan's calling code but without a plus.

        None if they do not, or if they make better sense as a number that just begins with the same digits.
        """
        if not digits.startswith(self.calling_code):
            return None
        rest = self.significant(digits[len(self.calling_code) :])
        too_long = len(digits) > max(self._lengths)
        better = not self._well_formed.fullmatch(digits) and self._well_formed.fullmatch(rest)
        return rest if better or too_long else None


def plan_of(region: str) -> Plan | None:
    """Return the plan of a country by its ISO code; None if there is none."""
    # Asked before the cache, so that it cannot be filled with names that somebody made up.
    return _compiled_plan(region) if region in COUNTRIES else None


@cache
def _compiled_plan(region: str) -> Plan | None:
    metadata = PhoneMetadata.metadata_for_region(region)
    return None if metadata is None else Plan(metadata)


@cache
def plans_of_calling_code(calling_code: str) -> tuple[Plan, ...]:
    """Return the plans that share a calling code (a key of `CALLING_CODES`), the main country's first."""
    regions = CALLING_CODES[calling_code]
    if regions == (NON_GEOGRAPHIC_REGION,):
        metadata = PhoneMetadata.metadata_for_nongeo_region(int(calling_code))
        return () if metadata is None else (Plan(metadata),)
    return tuple(plan for region in regions if (plan := plan_of(region)) is not None)


def split_calling_code(digits: str) -> tuple[str, str] | None:
    """Split the digits of an international number into calling code and the rest; None if no code begins them."""
    # No calling code is the beginning of another, so the first two digits tell how long the only one that can fit is.
    length = _LENGTHS.get(digits[:2], _LONGEST_CALLING_CODE)
    calling_code = digits[:length]
    return (calling_code, digits[length:]) if calling_code in CALLING_CODES else None


def compile_plans() -> Iterator[str]:
    """Compile every plan, yielding each region when it is done, so that an event loop can breathe between.

    All of it takes about a quarter of a second, a step at most some milliseconds.
    """
    for calling_code, regions in CALLING_CODES.items():
        for region in regions:
            plan_of(region)
            yield region
        plans_of_calling_code(calling_code)


def _compile(description: PhoneNumberDesc | None, general: PhoneNumberDesc) -> re.Pattern[str]:
    pattern = _pattern(description, general)
    return _NEVER if pattern is None else re.compile(pattern, re.ASCII)


def _pattern(description: PhoneNumberDesc | None, general: PhoneNumberDesc) -> str | None:
    """Return the regular expression of one kind, with its lengths where they are narrower than the region's."""
    if description is None or description.national_number_pattern is None:
        return None
    pattern = f"(?:{description.national_number_pattern})"
    if not description.possible_length or description.possible_length == general.possible_length:
        return pattern
    lengths = "|".join(f"[0-9]{{{length}}}" for length in description.possible_length)
    return rf"(?=(?:{lengths})\Z){pattern}"
