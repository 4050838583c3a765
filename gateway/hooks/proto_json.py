"""Messages of the contract as JSON, and errors with cures (protobuf.dev/programming-guides/json).

Names are taken in lowerCamelCase or as the proto has them, and given in lowerCamelCase; 64-bit integers are given as
strings, since JavaScript has no exact ones. Every field is given, so that a switch need not know the defaults.
"""

import json
from functools import cache
from typing import Any, Final, NoReturn, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.errors import InvalidArgument

BODY: Final = "body"
"""What errors name that are about the whole."""

_LONGEST_NAME: Final = 64

M = TypeVar("M", bound=Message)


def read_object(body: bytes, field: str = BODY) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        body: UTF-8.
        field: What errors name.

    Raises:
        InvalidArgument: It is none, or has a name twice, of which one would be lost.
    """
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            field, f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}; send one object"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(field, f"is not UTF-8 from byte {error.start} on") from None
    except RecursionError:
        raise InvalidArgument(field, "is nested too deeply; send one object") from None
    if not isinstance(value, dict):
        raise InvalidArgument(field, "is JSON, but no object; send {...}")
    if b"\\u" in body:
        _refuse_halves(value, field)
    return value


def message_of(fields: dict[str, Any], kind: type[M]) -> M:
    """Read a message from an object.

    Raises:
        InvalidArgument: A field is not one of the message, or has a value that it cannot have.
    """
    known, seen = _fields(kind.DESCRIPTOR), set[str]()
    for name in fields:
        field = known.get(name)
        if field is None:
            names = ", ".join(each.name for each in kind.DESCRIPTOR.fields)
            raise InvalidArgument(_shown(name), f"is no field of {kind.DESCRIPTOR.name}; it has {names}")
        if field.name in seen:
            raise InvalidArgument(field.name, "is there twice, by both of its names; send each field once")
        seen.add(field.name)
    message = kind()
    try:
        json_format.ParseDict(fields, message)
    except _UNREADABLE:
        raise _wrong_value(fields, kind) from None
    return message


def some_fields(fields: dict[str, Any], kind: type[M]) -> M:
    """Read what can be read of an object, each field by itself; nothing is an error."""
    message = kind()
    for name, value in fields.items():
        try:
            message.MergeFrom(message_of({name: value}, kind))
        except InvalidArgument:
            continue
    return message


def object_of(message: Message) -> dict[str, Any]:
    """A message as an object with every field."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def packed(value: dict[str, Any]) -> bytes:
    """An object as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidArgument(_shown(twice), "is there twice; send each field once")
    return value


def _refuse_halves(value: dict[str, Any], field: str) -> None:
    """Half of a surrogate pair, which only an escape can bring in, is no character: protobuf does not know it."""
    try:
        packed(value)
    except UnicodeEncodeError:
        raise InvalidArgument(field, "has half of a character: an escape from D800 to DFFF alone") from None


def _shown(name: str) -> str:
    """A name of the caller's as it may be told again: short, and in characters that can be sent."""
    return name[:_LONGEST_NAME].encode(errors="replace").decode()


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidArgument(BODY, f"has {name}, which is no JSON")


@cache
def _fields(kind: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields by the names that they may be given by."""
    return {name: field for field in kind.fields for name in (field.name, field.json_name)}


def _wrong_value(fields: dict[str, Any], kind: type[Message]) -> InvalidArgument:
    """Find the field that cannot be read, and say what it may be; the library's words are for programmers."""
    known = _fields(kind.DESCRIPTOR)
    for name, value in fields.items():
        try:
            json_format.ParseDict({name: value}, kind())
        except _UNREADABLE:
            return InvalidArgument(known[name].name, f"must be {_cure(known[name])}")
    return InvalidArgument(BODY, f"is no {kind.DESCRIPTOR.name}")


def _cure(field: FieldDescriptor) -> str:
    if field.is_repeated:
        return "a list of objects, with fields as the contract has them"
    if field.enum_type is not None:
        return "one of " + ", ".join(value.name for value in field.enum_type.values[1:])
    if field.message_type is not None:
        return "a time as 2026-01-31T12:00:00Z"
    return _CURES[field.cpp_type]


_UNREADABLE: Final = (json_format.ParseError, RecursionError, ValueError, TypeError, AttributeError)
"""What the library raises for values that it can read and for those that it did not expect."""

_CURES: Final = {
    FieldDescriptor.CPPTYPE_STRING: "a string",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number, or a string of one",
}
