"""Who calls or writes whom, and who pays: as Kamailio says it, and as it stands in a variable of the dialog."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from gateway.kamailio.errors import ProtocolError
from gateway.v1 import authorization_pb2 as pb

Key: TypeAlias = tuple[str, str]
"""office_id and call_id, or message_id."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A call, with everything that it takes to authorize it again.

    Attributes:
        office_id: Who pays; empty: an emergency call of somebody unknown, of which the gateway is not told.
        call_id: Call-ID and leg.
        direction: OUTBOUND or INBOUND.
        calling_number: Empty: withheld.
        called_number: As dialled.
        license: Of the user.
        user_id: For the usage record.
        department_id: For the usage record.
    """

    office_id: str
    call_id: str
    direction: pb.Direction.ValueType
    calling_number: str
    called_number: str
    license: pb.License.ValueType
    user_id: str
    department_id: str

    @property
    def key(self) -> Key:
        """How it is known."""
        return self.office_id, self.call_id

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Read Kamailio's words.

        Raises:
            ProtocolError: Something is missing, or is none of the values that there are.
        """
        return cls(
            text(fields, "office_id"),
            text(fields, "call_id"),
            _value(pb.Direction, fields, "direction"),
            text(fields, "calling_number"),
            text(fields, "called_number"),
            _value(pb.License, fields, "license"),
            text(fields, "user_id"),
            text(fields, "department_id"),
        )


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """A message.

    Attributes:
        office_id: Who pays.
        message_id: Call-ID and leg.
        calling_number: Who sends it; empty: not said.
        called_number: Who receives it.
        user_id: For the usage record.
        department_id: For the usage record.
    """

    office_id: str
    message_id: str
    calling_number: str
    called_number: str
    user_id: str
    department_id: str

    @property
    def key(self) -> Key:
        """How it is known."""
        return self.office_id, self.message_id

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Read Kamailio's words.

        Raises:
            ProtocolError: Something is missing.
        """
        names = ("office_id", "message_id", "calling_number", "called_number", "user_id", "department_id")
        return cls(*(text(fields, name) for name in names))


def text(fields: Mapping[str, Any], name: str) -> str:
    """A field that is text.

    Raises:
        ProtocolError: It is not, or is not there.
    """
    value = fields.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"{name} is {value!r}")
    return value


def _value(enum: Any, fields: Mapping[str, Any], name: str) -> Any:
    word = text(fields, name)
    try:
        return enum.Value(word)
    except ValueError:
        raise ProtocolError(f"{name} is {word!r}") from None
