"""Checks of a request's fields: each says which field is wrong and what it may be, before anything is touched."""

import re
from typing import Final, TypeVar

from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.vocabulary import Direction, License, MessageKind, Service
from gateway.errors import InvalidArgument
from gateway.v1 import authorization_pb2 as pb

MAX_SECONDS: Final = 86_400
MAX_SEGMENTS: Final = 255
MAX_NUMBER_LENGTH: Final = 64

_LABEL: Final = re.compile(r"[ -~]{0,128}").fullmatch

E = TypeVar("E", Direction, License, MessageKind, Service)

CallRequestMessage = pb.AuthorizeCallRequest | pb.QuoteCallRequest
MessageRequestMessage = pb.AuthorizeMessageRequest | pb.QuoteMessageRequest


def check_seconds(value: int, field: str) -> None:
    """Raise InvalidArgument unless it is 0 to 86,400."""
    if not 0 <= value <= MAX_SECONDS:
        raise InvalidArgument(field, f"is {value}, it must be 0 to {MAX_SECONDS} seconds")


def check_label(value: str, field: str) -> None:
    """Raise InvalidArgument unless it is at most 128 printable ASCII characters."""
    if not _LABEL(value):
        raise InvalidArgument(field, "must be at most 128 printable ASCII characters")


def check_call(request: CallRequestMessage, *, needs_id: bool) -> tuple[Direction, License, Service]:
    """Hold every field of a call's request against its range; return the enums with their defaults in place.

    Raises:
        InvalidArgument: Names the first field that is wrong.
    """
    validate_office_id(request.office_id)
    if needs_id or request.call_id:
        validate_id(request.call_id, "call_id")
    direction = _enum(Direction, request.direction, "direction", None)
    license_ = _enum(License, request.license, "license", License.STANDARD)
    service = _enum(Service, request.service, "service", Service.VOICE)
    check_seconds(request.requested_seconds, "requested_seconds")
    check_label(request.user_id, "user_id")
    check_label(request.department_id, "department_id")
    check_label(request.switch_id, "switch_id")
    _check_numbers(request.calling_number, request.called_number)
    return direction, license_, service


def check_message(request: MessageRequestMessage, *, needs_id: bool) -> MessageKind:
    """Hold every field of a message's request against its range; return the kind with its default in place.

    Raises:
        InvalidArgument: Names the first field that is wrong.
    """
    validate_office_id(request.office_id)
    if needs_id or request.message_id:
        validate_id(request.message_id, "message_id")
    kind = _enum(MessageKind, request.kind, "kind", MessageKind.SMS)
    if not 1 <= request.segments <= MAX_SEGMENTS:
        raise InvalidArgument("segments", f"is {request.segments}, it must be 1 to {MAX_SEGMENTS}")
    check_label(request.user_id, "user_id")
    check_label(request.department_id, "department_id")
    _check_numbers(request.calling_number, request.called_number)
    return kind


def _check_numbers(calling: str, called: str) -> None:
    if len(calling) > MAX_NUMBER_LENGTH or not calling.isprintable():
        raise InvalidArgument(
            "calling_number", f"must be at most {MAX_NUMBER_LENGTH} printable characters; empty if withheld"
        )
    if not 0 < len(called) <= MAX_NUMBER_LENGTH or not called.isprintable():
        raise InvalidArgument("called_number", f"must be 1 to {MAX_NUMBER_LENGTH} printable characters")


def _enum(kind: type[E], value: int, field: str, default: E | None) -> E:
    if value == 0 and default is not None:
        return default
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(member.name for member in kind)
        raise InvalidArgument(field, f"is {value}, it must be one of {names}") from None
