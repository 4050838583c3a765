"""A SessionResponse put together by hand: protobuf reads in it what it would have written itself."""

import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.session_codec import packed_response, packed_result
from gateway.v1 import authorization_pb2 as pb

ANSWERS: dict[str, Message] = {
    "authorize_call": pb.AuthorizeCallResponse(decision=pb.DENIED, reason=pb.NO_RATE, available_micros=-1),
    "answer_call": pb.AnswerCallResponse(granted_seconds=60, available_micros=10**15),
    "tick_call": pb.TickCallResponse(ended=True),
    "end_call": pb.EndCallResponse(),
    "authorize_message": pb.AuthorizeMessageResponse(debited_micros=30_000),
    "refund_message": pb.RefundMessageResponse(replayed=True),
    "quote_call": pb.QuoteCallResponse(rate_row=pb.RateRow(description="x" * 200)),
    "quote_message": pb.QuoteMessageResponse(rate_row=pb.RateRow(description="x" * 20_000)),
    "error": Status(code=3, message="m" * 120),
}


def by_protobuf(tag: int, kind: str) -> pb.Result:
    result = pb.Result(tag=tag)
    getattr(result, kind).CopyFrom(ANSWERS[kind])
    getattr(result, kind).SetInParent()
    return result


def test_every_kind_of_answer_is_tried() -> None:
    assert ANSWERS.keys() == {field.name for field in pb.Result.DESCRIPTOR.oneofs_by_name["result"].fields}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("tag", [1, 127, 128, (1 << 14) - 1, 1 << 14, 1 << 21, (1 << 64) - 1])
def test_a_result_is_written_as_protobuf_writes_it(kind: str, tag: int) -> None:
    expected = pb.SessionResponse(results=[by_protobuf(tag, kind)])
    assert packed_response([packed_result(tag, kind, ANSWERS[kind])], []) == expected.SerializeToString()


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_tag_of_zero_is_read_as_zero(kind: str) -> None:
    read = pb.SessionResponse.FromString(packed_response([packed_result(0, kind, ANSWERS[kind])], []))
    assert list(read.results) == [by_protobuf(0, kind)]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(sorted(ANSWERS)))), st.integers(0, 5))
def test_results_and_commands_of_one_message(results: list[tuple[int, str]], commands: int) -> None:
    sent = [pb.Command(command_id=str(n), cut_call=pb.CutCall()) for n in range(commands)]
    packed = packed_response([packed_result(tag, kind, ANSWERS[kind]) for tag, kind in results], sent)
    expected = pb.SessionResponse(results=[by_protobuf(tag, kind) for tag, kind in results], commands=sent)
    assert pb.SessionResponse.FromString(packed) == expected


def test_what_is_no_answer_has_no_place() -> None:
    with pytest.raises(KeyError):
        packed_result(1, "live_calls", pb.LiveCalls())
