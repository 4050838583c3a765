"""Bytes between a switch and a front: real messages of a Session, encoded. Without TCP, IP and HTTP/2's own frames."""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import authorization_pb2 as pb
from loadtest.store_cases import MESSAGE_MICROS, MINUTE_MICROS, call_id_of

_OFFICE: Final = "office-000123"
_CALL: Final = call_id_of("a", 1, 1)
_TAG: Final = 1_000
_AVAILABLE: Final = 1_000_000_000
_NOW: Final = Timestamp(seconds=1_800_000_000)


def session_bytes() -> dict[str, tuple[int, int]]:
    """Operation -> bytes of its request and of its result, as fields of the Session's messages."""
    return {
        "authorize_call": _both("authorize_call", _authorize_call(), _granted()),
        "answer_call": _both(
            "answer_call", pb.AnswerCallRequest(office_id=_OFFICE, call_id=_CALL, answered_at=_NOW), _progress()
        ),
        "tick_call": _both(
            "tick_call", pb.TickCallRequest(office_id=_OFFICE, call_id=_CALL, used_seconds=50), _progress()
        ),
        "end_call": _both(
            "end_call",
            pb.EndCallRequest(office_id=_OFFICE, call_id=_CALL, duration_seconds=110, cause="16"),
            pb.EndCallResponse(billed_seconds=110, debited_micros=2 * MINUTE_MICROS, available_micros=_AVAILABLE),
        ),
        "authorize_message": _both("authorize_message", _authorize_message(), _sent()),
        "live_call": (_listed(), 0),
    }


def _authorize_call() -> pb.AuthorizeCallRequest:
    return pb.AuthorizeCallRequest(
        office_id=_OFFICE,
        call_id=_CALL,
        direction=pb.OUTBOUND,
        calling_number="+12125550100",
        called_number="+442079460958",
        license=pb.STANDARD,
        service=pb.VOICE,
        user_id="u-1042",
        department_id="sales",
        switch_id="sbc-1",
    )


def _granted() -> pb.AuthorizeCallResponse:
    return pb.AuthorizeCallResponse(
        decision=pb.GRANTED,
        reason=pb.FUNDED,
        granted_seconds=60,
        category=pb.CATEGORY_INTERNATIONAL,
        price_per_minute_micros=MINUTE_MICROS,
        available_micros=_AVAILABLE,
    )


def _progress() -> Any:
    return pb.TickCallResponse(granted_seconds=120, debited_micros=MINUTE_MICROS, available_micros=_AVAILABLE)


def _authorize_message() -> pb.AuthorizeMessageRequest:
    return pb.AuthorizeMessageRequest(
        office_id=_OFFICE,
        message_id=_CALL,
        calling_number="+12125550100",
        called_number="+12125550177",
        kind=pb.SMS,
        segments=1,
        user_id="u-1042",
        department_id="sales",
    )


def _sent() -> pb.AuthorizeMessageResponse:
    return pb.AuthorizeMessageResponse(
        decision=pb.GRANTED, reason=pb.FUNDED, debited_micros=MESSAGE_MICROS, available_micros=_AVAILABLE
    )


def _listed() -> int:
    """One call more in a list."""
    call = pb.LiveCall(office_id=_OFFICE, call_id=_CALL, used_seconds=100)
    return len(pb.SessionRequest(live_calls=pb.LiveCalls(calls=[call] * 11)).SerializeToString()) // 11


def _both(kind: str, request: Message, response: Message) -> tuple[int, int]:
    operation, result = pb.Operation(tag=_TAG), pb.Result(tag=_TAG)
    _put(operation, kind, request)
    _put(result, kind, response)
    size: Callable[[Message], int] = lambda message: len(message.SerializeToString())  # noqa: E731
    return size(pb.SessionRequest(operations=[operation])), size(pb.SessionResponse(results=[result]))


def _put(into: Message, kind: str, message: Message) -> None:
    """By its bytes: an answer to AnswerCall has the fields of one to TickCall."""
    getattr(into, kind).MergeFromString(message.SerializeToString())
    getattr(into, kind).SetInParent()
