"""Telling a card number from a token, so that none is ever kept, passed on or repeated."""

import unicodedata
from itertools import groupby
from typing import Final

_SHORTEST: Final = 12
_LONGEST: Final = 19


def has_card_number(text: str) -> bool:
    """Whether there is something in the text that looks like a card number: 12 to 19 digits with a right check digit.

    They may be grouped by whatever is no letter, and stand beside an expiry date or in other text. Digits of every
    script count, since they are what a person typed.
    """
    return any(_is_card_number(digits) for digits in _joined_groups(text))


def _joined_groups(text: str) -> list[str]:
    """Every sequence of neighbouring groups of digits, no letter between them, that is as long as a card number."""
    found: list[str] = []
    open_sequences: list[str] = []
    for kind, letters in groupby(text, _kind):
        if kind == "letter":
            open_sequences = []
        elif kind == "digit":
            digits = "".join(str(unicodedata.digit(letter)) for letter in letters)
            joined = (before + digits for before in [*open_sequences, ""])
            # Bounded: a sequence has at least one digit a group.
            open_sequences = [sequence for sequence in joined if len(sequence) <= _LONGEST]
            found += [sequence for sequence in open_sequences if len(sequence) >= _SHORTEST]
    return found


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "digit"
    return "letter" if letter.isalpha() else "separator"


def _is_card_number(digits: str) -> bool:
    """Luhn's check: from the right, every second digit counts twice, and 10 divides the sum of all digits."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0
