"""The shapes of ids, names and amounts that are the same wherever they occur."""

import re

from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import InvalidArgument

MAX_NAME_LENGTH = 200

_is_office_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_MAX_ID_LENGTH = 128


def validate_office_id(value: str, field: str = "office_id") -> None:
    """Hold an office_id against its pattern.

    Raises:
        InvalidArgument: It does not match.
    """
    if not _is_office_id(value):
        raise InvalidArgument(field, "must be 1 to 64 characters out of A-Z a-z 0-9 . _ -")


def validate_id(value: str, field: str) -> None:
    """Hold any id but an office's against the pattern of ids.

    Raises:
        InvalidArgument: It does not match.
    """
    if not (0 < len(value) <= _MAX_ID_LENGTH and value.isascii() and value.isprintable()):
        raise InvalidArgument(field, "must be 1 to 128 printable ASCII characters")


def validate_text(value: str, field: str, *, longest: int = MAX_NAME_LENGTH, may_be_empty: bool = False) -> None:
    """Hold a text for people (a name, a reason, a description) against what can be stored and shown.

    Raises:
        InvalidArgument: It is empty, too long, or has characters that do not print.
    """
    if not value and may_be_empty:
        return
    if not value.strip() or len(value) > longest or not value.isprintable():
        shortest = 0 if may_be_empty else 1
        raise InvalidArgument(field, f"must be {shortest} to {longest} printable characters on one line")


def validate_amount(value: int, field: str, *, lowest: int = 0) -> None:
    """Hold an amount in micros against the range of amounts.

    Raises:
        InvalidArgument: It is out of range.
    """
    if not lowest <= value <= MAX_AMOUNT_MICROS:
        raise InvalidArgument(field, f"must be {lowest} to {MAX_AMOUNT_MICROS} micros")
