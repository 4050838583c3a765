"""How many segments a message is sent in: what an SMS costs is its price times these.

A segment carries 140 octets (3GPP TS 23.040): 160 characters of the GSM 7-bit default alphabet, where a character of
its extension table counts as two (3GPP TS 23.038), or 70 UTF-16 code units of any other text. A longer message gives 6
octets of each segment to the header that joins them, which leaves 153 or 67; neither a character of the extension table
nor a surrogate pair is divided between two segments.
"""

import math
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import gsm0338  # registers the codec "gsm03.38"

SEGMENT_OCTETS: Final = 140

JOINING_OCTETS: Final = 5
"""The information element that numbers a segment of a longer message; the header's own length is one octet more."""

GSM_CODEC: Final = gsm0338.Codec.NAME

_ESCAPE: Final = 0x1B

Alphabet: TypeAlias = Literal["7bit", "8bit", "ucs2"]
"""How the payload of a segment is coded: TP-DCS, or Kannel's `coding` 0, 1 and 2."""


def count_segments(text: str) -> int:
    """Count the segments of a text that goes in the 7-bit alphabet if that has all of its characters, else in UCS-2.

    The empty message is one segment.
    """
    try:
        septets = text.encode(GSM_CODEC)
    except UnicodeEncodeError:
        return _count(_utf16_widths(text), *_rooms("ucs2", 0))
    return count_septets(septets)


def count_septets(septets: bytes, header_octets: int = 0) -> int:
    """Count the segments of a text in the GSM alphabet, one septet an octet, as SMPP carries it.

    Args:
        septets: The text; an escape and what follows it stay together.
        header_octets: What a user data header of the sender's takes of each segment, its length octet included.

    Raises:
        ValueError: The header leaves no room.
    """
    return _count(_septet_widths(septets), *_rooms("7bit", header_octets))


def count_octets(octets: int, header_octets: int = 0) -> int:
    """Count the segments of so many octets that may be divided anywhere: data, or UCS-2 as most switches divide it.

    Args:
        octets: Length of the payload without any header.
        header_octets: As in `count_septets`.

    Raises:
        ValueError: The header leaves no room.
    """
    single, joined = _rooms("8bit", header_octets)
    return 1 if octets <= single else math.ceil(octets / joined)


def _rooms(alphabet: Alphabet, header_octets: int) -> tuple[int, int]:
    """What fits into a segment that is alone, and into one of several: septets, octets or UTF-16 code units."""
    single = SEGMENT_OCTETS - header_octets
    joined = SEGMENT_OCTETS - (header_octets or 1) - JOINING_OCTETS
    if joined < 2:
        raise ValueError(f"a user data header of {header_octets} octets leaves no room for a text")
    match alphabet:
        case "7bit":
            return single * 8 // 7, joined * 8 // 7
        case "8bit":
            return single, joined
        case "ucs2":
            return single // 2, joined // 2


def _count(widths: Iterable[int], single: int, joined: int) -> int:
    """Fill segments with characters of these widths, none of which may be divided."""
    total, segments, filled = 0, 1, 0
    for width in widths:
        total += width
        filled += width
        if filled > joined:
            segments, filled = segments + 1, width
    return 1 if total <= single else segments


def _septet_widths(septets: bytes) -> Iterable[int]:
    position = 0
    while position < len(septets):
        width = 2 if septets[position] == _ESCAPE and position + 1 < len(septets) else 1
        yield width
        position += width


def _utf16_widths(text: str) -> Iterable[int]:
    return (2 if ord(character) > 0xFFFF else 1 for character in text)
