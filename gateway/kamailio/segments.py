"""How many segments a text takes as SMS (3GPP TS 23.038 and 23.040)."""

from typing import Final

import smsutil

MAX_SEGMENTS: Final = 255


def count_segments(text: str) -> int:
    """Segments of a text: GSM 7-bit if that has all its characters, else UCS-2; an empty one takes one.

    Args:
        text: At most some 100,000 characters; what needs more than 255 segments cannot be sent.
    """
    return max(1, len(smsutil.split(text).parts))
