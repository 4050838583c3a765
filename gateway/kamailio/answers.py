"""What a decision, or the lack of one, is in SIP."""

from dataclasses import dataclass
from typing import Any, Final

from gateway.client import (
    AlreadyExists,
    ClientError,
    GatewayUnavailable,
    InvalidArgument,
    PermissionDenied,
)
from gateway.v1 import authorization_pb2 as pb


@dataclass(frozen=True, slots=True)
class Answer:
    """What Kamailio is to do with a suspended request.

    Attributes:
        code: 200: let it go on. Else the response.
        text: The response's reason phrase.
        reason: Why, by its name in the contract; empty: not known.
        granted_seconds: Talk time that is granted for now.
        final: Whether more could not be paid now.
    """

    code: int
    text: str
    reason: str = ""
    granted_seconds: int = 0
    final: bool = False

    def fields(self) -> dict[str, Any]:
        """As Kamailio reads it."""
        return {
            "code": self.code,
            "text": self.text,
            "reason": self.reason,
            "granted": self.granted_seconds,
            "final": int(self.final),
        }


UNAVAILABLE: Final = Answer(503, "Service Unavailable")

MERGED: Final = Answer(482, "Request Merged", "CALL_ENDED")
"""The call_id is that of a call that is up or over: a request that came twice on two ways, or is played again."""

TOO_LONG: Final = Answer(413, "Message Too Large")
NOT_TEXT: Final = Answer(415, "Unsupported Media Type")

_NAMES: Final = {value: name for name, value in pb.Reason.items() if value}

_DENIALS: Final = {
    pb.INVALID_NUMBER: (404, "Invalid Number"),
    pb.UNKNOWN_OFFICE: (403, "Unknown Office"),
    pb.OFFICE_SUSPENDED: (403, "Office Suspended"),
    pb.CALL_ENDED: (482, "Request Merged"),
    pb.MESSAGE_REFUNDED: (482, "Request Merged"),
    pb.DESTINATION_BLOCKED: (403, "Destination Blocked"),
    pb.FRAUD_GUARD: (403, "Fraud Guard"),
    pb.NO_RATE: (404, "No Rate"),
    pb.PRICE_LIMIT: (403, "Price Limit"),
    pb.TOO_MANY_CALLS: (486, "Too Many Calls"),
    pb.SPEND_LIMIT: (402, "Spend Limit"),
    pb.INSUFFICIENT_FUNDS: (402, "Payment Required"),
}


def answer_to_call(response: pb.AuthorizeCallResponse) -> Answer:
    """Of a decision on a call."""
    if response.decision == pb.GRANTED:
        return Answer(200, "OK", _name(response.reason), response.granted_seconds, response.final_unit)
    return denial(response.reason)


def answer_to_message(response: pb.AuthorizeMessageResponse) -> Answer:
    """Of a decision on a message."""
    return Answer(200, "OK", _name(response.reason)) if response.decision == pb.GRANTED else denial(response.reason)


def denial(reason: pb.Reason.ValueType) -> Answer:
    """Of a denial; one that this version does not know is 403."""
    code, text = _DENIALS.get(reason, (403, "Forbidden"))
    return Answer(code, text, _name(reason))


def answer_to_error(error: ClientError) -> Answer:
    """Of a request that was not decided."""
    match error:
        case GatewayUnavailable():
            return UNAVAILABLE
        case InvalidArgument(field="called_number"):
            return denial(pb.INVALID_NUMBER)
        case InvalidArgument():
            return Answer(400, "Bad Request", "INVALID_ARGUMENT")
        case PermissionDenied():
            return Answer(403, "Forbidden", "PERMISSION_DENIED")
        case AlreadyExists():
            return MERGED
    # A token that is not in force, an invariant that broke: nothing that the caller did.
    return UNAVAILABLE


def _name(reason: pb.Reason.ValueType) -> str:
    return _NAMES.get(reason, "")
