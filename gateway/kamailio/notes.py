"""What Kamailio tells the sidecar: one JSON object a netstring, told apart by `do` (switches/kamailio/tollgate.cfg)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.kamailio.errors import ProtocolError
from gateway.kamailio.facts import CallFacts, Key, MessageFacts, text


@dataclass(frozen=True, slots=True)
class Transaction:
    """A suspended request, as Kamailio's tm module names it."""

    index: int
    label: int


@dataclass(frozen=True, slots=True)
class DialogName:
    """A dialog, as Kamailio's dialog module names it."""

    entry: int
    id: int


@dataclass(frozen=True, slots=True)
class CallAsked:
    """An INVITE is suspended until it is decided."""

    transaction: Transaction
    call: CallFacts


@dataclass(frozen=True, slots=True)
class EmergencyBegan:
    """An emergency call went on without asking."""

    call: CallFacts


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call was answered.

    Attributes:
        call: The call.
        at: When, in Unix seconds.
        dialog: Its dialog.
        caller: The caller's Contact.
        callee: The callee's.
    """

    call: CallFacts
    at: float
    dialog: DialogName
    caller: str
    callee: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over, answered or not.

    Attributes:
        call: The call.
        at: When, in Unix seconds.
        answered_at: When it was answered; 0: it was not.
        cause: Why, for the usage record.
    """

    call: CallFacts
    at: float
    answered_at: float
    cause: str


@dataclass(frozen=True, slots=True)
class MessageAsked:
    """A MESSAGE is suspended until it is decided."""

    transaction: Transaction
    message: MessageFacts
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A message was not delivered, or nobody decided on it in time."""

    message: MessageFacts


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A grant came too late: the caller had given up, or the time was over.

    Attributes:
        is_message: Of a message; else of a call.
        key: Its office_id and id.
    """

    is_message: bool
    key: Key


Note: TypeAlias = CallAsked | EmergencyBegan | CallAnswered | CallEnded | MessageAsked | MessageFailed | Undelivered


def read_note(payload: bytes | str) -> Note:
    """Read one.

    Raises:
        ProtocolError: It is none.
    """
    try:
        fields = json.loads(payload)
    except ValueError as error:
        raise ProtocolError(f"no JSON ({error}): {payload[:200]!r}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"no object: {payload[:200]!r}")
    match fields.get("do"):
        case "authorize_call":
            return CallAsked(_transaction(fields), _call(fields))
        case "call_answered":
            dialog = DialogName(_integer(fields, "h_entry"), _integer(fields, "h_id"))
            contacts = (_bytes(fields, name).decode(errors="replace") for name in ("caller", "callee"))
            return CallAnswered(_call(fields), _seconds(fields, "at"), dialog, *contacts)
        case "call_ended":
            at, answered_at = _seconds(fields, "at"), _seconds(fields, "answered_at")
            return CallEnded(_call(fields), at, answered_at, text(fields, "cause"))
        case "authorize_message":
            content_type = _bytes(fields, "type").decode(errors="replace")
            return MessageAsked(_transaction(fields), _message(fields), content_type, _bytes(fields, "text"))
        case "message_failed":
            return MessageFailed(_message(fields))
        case "emergency_call":
            return EmergencyBegan(_call(fields))
        case "undelivered":
            return Undelivered(text(fields, "kind") == "message", (text(fields, "office_id"), text(fields, "id")))
    raise ProtocolError(f"nothing that is known here: {payload[:200]!r}")


def _call(fields: Mapping[str, Any]) -> CallFacts:
    return CallFacts.read(_object(fields, "call"))


def _message(fields: Mapping[str, Any]) -> MessageFacts:
    return MessageFacts.read(_object(fields, "message"))


def _transaction(fields: Mapping[str, Any]) -> Transaction:
    return Transaction(_integer(fields, "index"), _integer(fields, "label"))


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise ProtocolError(f"{name} is {value!r}")
    return value


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or value < 0:
        raise ProtocolError(f"{name} is {value!r}")
    return value


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    try:
        return float(text(fields, name))
    except ValueError:
        raise ProtocolError(f"{name} is {fields[name]!r}") from None


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    """What a caller may have written in any way it likes comes in hexadecimal digits."""
    try:
        return bytes.fromhex(text(fields, name))
    except ValueError:
        raise ProtocolError(f"{name} is {fields[name]!r}") from None
