"""The JSON of the hooks: what is read, what is given, and that nothing but a clear error comes of anything else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidArgument
from gateway.hooks.proto_json import message_of, object_of, packed, read_object, some_fields
from gateway.v1 import authorization_pb2 as pb

KINDS = (pb.AuthorizeCallRequest, pb.AnswerCallRequest, pb.TickCallRequest, pb.QuoteMessageRequest, pb.LiveCalls)

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def fault_of(work: Callable[[], object]) -> str:
    """What went wrong, ready to be sent; empty: nothing."""
    try:
        work()
    except InvalidArgument as error:
        return f"{error.field}{error.message}".encode().decode()
    return ""


def check_read_back(message: Message, kind: type[Message]) -> None:
    assert message_of(json.loads(packed(object_of(message))), kind) == message


def names(kind: type[Message]) -> st.SearchStrategy[str]:
    known = [name for field in kind.DESCRIPTOR.fields for name in (field.name, field.json_name)]
    return st.sampled_from(known) | st.text(max_size=10)


@given(st.data(), st.sampled_from(KINDS))
def test_any_object_is_a_message_or_a_clear_error(data: Any, kind: type[Message]) -> None:
    fields = data.draw(st.dictionaries(names(kind), values, max_size=5))
    told = fault_of(lambda: check_read_back(message_of(fields, kind), kind))
    assert not any(word in told.lower() for word in ("google", "python", "expected"))
    some_fields(fields, kind)


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_a_clear_error(body: bytes) -> None:
    fault_of(lambda: read_object(body))


@pytest.mark.parametrize("body", [b'{"\\ud800":1}', b'{"\\ud800":1,"\\ud800":1}', b'{"officeId":"\\ud800"}'])
def test_half_a_character(body: bytes) -> None:
    assert fault_of(lambda: message_of(read_object(body), pb.AuthorizeCallRequest))


@given(st.builds(
    pb.AuthorizeCallResponse,
    decision=st.sampled_from([pb.GRANTED, pb.DENIED]),
    granted_seconds=st.integers(0, 86_400),
    final_unit=st.booleans(),
    available_micros=st.integers(0, 10**15),
))  # fmt: skip
def test_what_is_given_is_proto_json(answer: pb.AuthorizeCallResponse) -> None:
    given_ = json.loads(packed(object_of(answer)))
    assert json_format.ParseDict(given_, pb.AuthorizeCallResponse()) == answer
    assert set(given_) == {field.json_name for field in answer.DESCRIPTOR.fields}
    assert given_["availableMicros"] == str(answer.available_micros)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"direction": "UP"}, "direction: must be one of INBOUND, OUTBOUND"),
        ({"calledNumber": 911}, "called_number: must be a string"),
        ({"requestedSeconds": "a"}, "requested_seconds: must be a whole number of 32 bits"),
        ({"requestedSeconds": True}, "requested_seconds: must be a whole number of 32 bits"),
        ({"called": "1"}, "called: is no field of AuthorizeCallRequest; it has office_id, call_id, direction,"),
        ({"office_id": "a", "officeId": "a"}, "office_id: is there twice, by both of its names"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        message_of(fields, pb.AuthorizeCallRequest)
    assert caught.value.message.startswith(told)


def test_a_list_of_live_calls_that_is_none() -> None:
    with pytest.raises(InvalidArgument) as caught:
        message_of({"calls": [{"usedSeconds": "x"}]}, pb.LiveCalls)
    assert caught.value.message == "calls: must be a list of objects, with fields as the contract has them"
