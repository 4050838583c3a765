"""Requests of any kind of message, made from its descriptor: fields of the right type with values that nobody means."""

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

NUMBERS: Final = (
    0,
    1,
    -1,
    2,
    7,
    60,
    1_000_000,
    5_000_000,
    10**15,
    10**15 + 1,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
)
TEXTS: Final = (
    "",
    " ",
    "x" * 5_000,
    "\x00",
    "ü\u202e",
    "../..",
    "' OR 1=1 --",
    "{{7*7}}",
    "%s",
    "+442079460958",
    "*",
    "-1",
)

_DEEPEST: Final = 3
_SENSE: Final = 0.9
_LEFT_OUT: Final = 0.6
_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def any_message(kind: Descriptor, chance: Random, known: Mapping[str, Any], depth: int = 0) -> Message:
    """A message with some of its fields set.

    Args:
        kind: Of which type.
        chance: Draws which fields, and to what.
        known: Field -> a value that means something there; most requests have it.
        depth: How deep it is within others.
    """
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if field.name in known and chance.random() < _SENSE:
            setattr(message, field.name, known[field.name])
            continue
        if (depth >= _DEEPEST and field.message_type is not None) or chance.random() < _LEFT_OUT:
            continue
        if field.is_repeated:
            _repeat(message, field, chance, known, depth)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(any_message(field.message_type, chance, known, depth + 1))
        else:
            setattr(message, field.name, _value(field, chance))
    return message


def _repeat(message: Message, field: FieldDescriptor, chance: Random, known: Mapping[str, Any], depth: int) -> None:
    values = getattr(message, field.name)
    for _ in range(chance.choice((0, 1, 2, 30))):
        if field.message_type is not None:
            values.add().CopyFrom(any_message(field.message_type, chance, known, depth + 1))
        else:
            values.append(_value(field, chance))


def _value(field: FieldDescriptor, chance: Random) -> Any:
    if field.enum_type is not None:
        return chance.choice([*(each.number for each in field.enum_type.values), 99])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in _RANGES:
        lowest, highest = _RANGES[field.cpp_type]
        return min(max(chance.choice(NUMBERS), lowest), highest)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice((0.0, -1.0, 1e300, float("nan"), float("inf")))
    text = chance.choice(TEXTS)
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
