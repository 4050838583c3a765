"""The codes that scripts return: the mirror of scripts/lua/lib/codes.lua, held equal by a test."""

from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """What a script did. 1 to 15 are the reasons of a decision, with the numbers of `Reason`."""

    OK = 0
    EMERGENCY = 1
    INVALID_NUMBER = 2
    UNKNOWN_OFFICE = 3
    OFFICE_SUSPENDED = 4
    CALL_ENDED = 5
    MESSAGE_REFUNDED = 6
    DESTINATION_BLOCKED = 7
    FRAUD_GUARD = 15
    NO_RATE = 8
    FREE = 9
    PRICE_LIMIT = 10
    TOO_MANY_CALLS = 11
    SPEND_LIMIT = 12
    INSUFFICIENT_FUNDS = 13
    FUNDED = 14
    REPLAYED = 20
    ID_REUSED = 21
    OFFICE_CHANGED = 22
    NOT_FOUND = 23
    ENDED = 24
    FORBIDDEN = 25
    CUT = 26
    CUT_DUE = 27
    LAPSED = 28
    LAPSE_DUE = 29
    NOT_DUE = 30
    NOT_COVERED = 31
    OUT_OF_RANGE = 32
    OUT_OF_ORDER = 33
    STALE = 34
    NOT_PENDING = 35
    NOT_NEEDED = 36


CODES: Final = {int(code): code for code in Code}
"""Code by number, at a tenth of the time that `Code(number)` takes."""
