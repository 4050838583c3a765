"""What the client raises. A "no" about a call is not here: that is an answer (`decision`), not an error."""

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}

_CURES: Final = {
    "INVALID_ARGUMENT": "Correct the field; the same request will be refused again.",
    "NOT_FOUND": "Before the call's end: authorize it again with the same id, or hang up. After it: nothing is billed.",
    "ALREADY_EXISTS": "Give each call and message an id of its own; a repeat must be the same request.",
    "FAILED_PRECONDITION": "Change the state that the message names, then ask again.",
    "UNAUTHENTICATED": "Use a token that is in force; `tollgate token create` makes one.",
    "PERMISSION_DENIED": "Use the token of the switch whose call this is, with this office in its scope.",
    "UNIMPLEMENTED": "The target does not speak gateway.v1; check its address and version.",
}
_ASK_OPERATOR: Final = "Ask the operator of the gateway; its log has the details."


class ClientError(Exception):
    """The root: whoever catches this catches everything that the client raises on purpose."""


class GatewayUnavailable(ClientError):
    """No answer within the deadline.

    Safe to repeat with the same id, and that is the cure: if it had happened, the repeat says so and changes nothing.
    A switch that gives up on an authorization instead ends the call with `duration_seconds=0`.

    Attributes:
        ambiguous: True: it was sent, and may or may not have happened. False: it did not happen.
    """

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class ClientBusy(GatewayUnavailable):
    """The client's own bound is reached, so nothing was sent: the gateway is away or too slow for what is asked."""


class ClientClosed(GatewayUnavailable):
    """The client was closed, or not yet entered (`async with Client(...) as client`)."""


class OperationFailed(ClientError):
    """The gateway answered that it will not do this; nothing was changed, and repeating it does not help.

    Attributes:
        code: The gRPC code by name, e.g. INVALID_ARGUMENT.
        reason: ErrorInfo's: UPPER_SNAKE and stable, to switch on; empty if it was no gateway that answered.
        field: The field at fault; empty if it is none's.
        message: What is wrong, in the gateway's words.
        cure: What would help.
    """

    def __init__(self, code: str, message: str, *, reason: str = "", field: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field

    @property
    def cure(self) -> str:
        """What would help."""
        return _CURES.get(self.code, _ASK_OPERATOR)


class InvalidArgument(OperationFailed):
    """A field is wrong: `field` names it."""


class NotFound(OperationFailed):
    """The call or message is not known."""


class AlreadyExists(OperationFailed):
    """The id belongs to another request, or the call was ended with another duration."""


class PermissionDenied(OperationFailed):
    """The token may not do this."""


class Unauthenticated(OperationFailed):
    """The token is not in force."""


_CLASSES: Final[dict[str, type[OperationFailed]]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
}


def failure(code: str, message: str, *, reason: str = "", field: str = "") -> OperationFailed:
    """The exception of a gRPC code."""
    return _CLASSES.get(code, OperationFailed)(code, message, reason=reason, field=field)


def failure_of(status: Status) -> OperationFailed:
    """The exception of an operation's error."""
    reason, field = error_info(status.details)
    return failure(_CODES.get(status.code, "UNKNOWN"), status.message, reason=reason, field=field)


def error_info(details: Sequence[AnyMessage]) -> tuple[str, str]:
    """Reason and field of an error's details; empty where they are not said."""
    info = ErrorInfo()
    for detail in details:
        if detail.Unpack(info):
            return info.reason, info.metadata.get("field", "")
    return "", ""
