"""Emergency numbers: asked first of every call, before anything that could fail.

Nothing here raises, waits or allocates much, whatever the text. A false yes costs a free call to three digits that
lead nowhere else; a false no may cost a life. So every doubt is decided for yes.
"""

import re
from functools import cache
from typing import Final

from phonenumbers.phonemetadata import PhoneMetadata
from phonenumbers.shortnumberinfo import SUPPORTED_SHORT_REGIONS

ALWAYS_EMERGENCY: Final = frozenset({"911", "112", "999", "000"})
"""Emergency numbers in every country; those of which visitors know them by heart."""

_LONGEST: Final = 6
_MAX_RAW_LENGTH: Final = 32
_SEPARATORS: Final = str.maketrans("", "", " -")
_ALL_COUNTRIES: Final = ""


def is_emergency(dialled: str, country: str | None) -> bool:
    """Whether a number as dialled is an emergency number; never raises.

    Spaces, dashes and one leading plus are ignored: some switches put a plus before whatever they are given, and "+"
    with three digits is no other number. Digits after the emergency number make it another number.

    Args:
        dialled: The called number before any normalising, of any content and length.
        country: The caller's ISO country. None, or one whose emergency numbers are not known, means the emergency
            numbers of all countries.
    """
    if dialled in ALWAYS_EMERGENCY:
        return True
    if len(dialled) > _MAX_RAW_LENGTH:
        return False
    if len(dialled) > _LONGEST + 1 and dialled[1:].isdigit():
        # Most calls: nothing to leave out but, at most, the plus.
        return False
    number = dialled.translate(_SEPARATORS).removeprefix("+")
    if len(number) > _LONGEST:
        return False
    if number in ALWAYS_EMERGENCY:
        return True
    patterns = compile_emergency_numbers()
    pattern = patterns.get(country or _ALL_COUNTRIES) or patterns[_ALL_COUNTRIES]
    return pattern.fullmatch(number) is not None


@cache
def compile_emergency_numbers() -> dict[str, re.Pattern[str]]:
    """Compile the numbers of each country and, under "", of all; some 0.1 s, so do it before the first call."""
    sources = {
        country: source
        for country in sorted(SUPPORTED_SHORT_REGIONS)
        if (metadata := PhoneMetadata.short_metadata_for_region(country)) is not None
        and metadata.emergency is not None
        and (source := metadata.emergency.national_number_pattern) is not None
    }
    patterns = {country: re.compile(source, re.ASCII) for country, source in sources.items()}
    patterns[_ALL_COUNTRIES] = re.compile("|".join(dict.fromkeys(sources.values())), re.ASCII)
    return patterns
