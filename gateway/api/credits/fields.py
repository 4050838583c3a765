"""Checks of the fields of Credits' requests, and values on their way between the contract and the domain."""

import re
from enum import IntEnum
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.domain.ids import validate_text
from gateway.errors import InvalidArgument
from gateway.ledger.paging import MAX_PAGE_SIZE, PageRequest

MAX_REASON_LENGTH: Final = 500
_MAX_PAGE_TOKEN_LENGTH: Final = 1_024
_LATEST_SECONDS: Final = 253_402_300_799  # The end of the year 9999, where Timestamp ends.
_TARIFF: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")

E = TypeVar("E", bound=IntEnum)


def read_page(page_size: int, page_token: str) -> PageRequest:
    """The page that is asked for.

    Raises:
        InvalidArgument: The size is out of its range, or the token cannot be one.
    """
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgument("page_size", f"is {page_size}, it must be 0 (for 100) to {MAX_PAGE_SIZE}")
    if len(page_token) > _MAX_PAGE_TOKEN_LENGTH:
        raise InvalidArgument("page_token", "is none of ours: pass next_page_token back unchanged")
    return PageRequest(page_size, page_token)


def read_enum(kind: type[E], value: int, field: str, default: E | None = None) -> E:
    """A value of one of the contract's enums; 0 is the default where there is one.

    Raises:
        InvalidArgument: It is unknown, or 0 without a default.
    """
    if value == 0 and default is not None:
        return default
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(member.name for member in kind)
        raise InvalidArgument(field, f"is {value}, it must be one of {names}") from None


def check_reason(value: str) -> None:
    """Hold a reason for the audit log, which need not be given, against its length.

    Raises:
        InvalidArgument: It is too long, or does not print.
    """
    validate_text(value, "reason", longest=MAX_REASON_LENGTH, may_be_empty=True)


def check_tariff(value: str) -> None:
    """Hold a tariff against the names that a deck may have.

    Raises:
        InvalidArgument: No deck could have such a tariff.
    """
    if not _TARIFF.fullmatch(value):
        raise InvalidArgument("tariff", "must be at most 64 characters out of A-Z a-z 0-9 . _ -, as in the rate deck")


def read_instant(value: Timestamp, field: str) -> int:
    """An instant in Unix milliseconds.

    Raises:
        InvalidArgument: It is before 1970, after 9999 or malformed.
    """
    if not (0 <= value.seconds <= _LATEST_SECONDS and 0 <= value.nanos < 1_000_000_000):
        raise InvalidArgument(field, "must be an instant from 1970 to 9999")
    return value.seconds * 1000 + value.nanos // 1_000_000


def instant(milliseconds: int) -> Timestamp:
    """Unix milliseconds as the contract has instants."""
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def enum_of(value: IntEnum | int | None) -> Any:
    """The same value in the contract's terms, whichever enum it is: the numbers are equal. None is 0, unspecified."""
    return int(value or 0)
