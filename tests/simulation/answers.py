"""What a switch is answered, held against what the store said: nothing is added, lost or mixed up on the way."""

from typing import Any

from gateway.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, TollgateError
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.v1 import authorization_pb2 as pb
from tests.simulation.model import GRANTING
from tests.simulation.stream import Asked

_ERRORS: dict[Code, type[TollgateError]] = {
    Code.ID_REUSED: AlreadyExists,
    Code.NOT_FOUND: NotFound,
    Code.FORBIDDEN: PermissionDenied,
}


def check_answer(asked: Asked) -> None:
    """Hold the outcome of an operation against the last reply that the gateway got on its behalf."""
    outcome, kind = asked.outcome, asked.kind
    if isinstance(outcome, (StoreUnavailable, InvalidArgument, PermissionDenied)) or not asked.replies:
        assert not isinstance(outcome, AlreadyExists), f"{asked} was refused and nobody was asked"
        return
    code, *reply = asked.replies[-1][1]
    if code in _ERRORS:
        assert isinstance(outcome, _ERRORS[code]), f"{asked} is answered by {outcome!r}"
        return
    assert not isinstance(outcome, TollgateError), f"{asked} is answered by {outcome!r}"
    expected = {
        "authorize_call": _authorization,
        "quote_call": _authorization,
        "answer_call": _progress,
        "tick_call": _progress,
        "end_call": _end,
        "authorize_message": _message,
        "quote_message": _message,
        "refund_message": _refund,
    }[kind](code, reply)
    if code is Code.OFFICE_CHANGED:
        return  # The store was not reached again, and a free call needs no store.
    said = {name: getattr(outcome, name) for name in expected if hasattr(outcome, name)}
    wanted = {name: value for name, value in expected.items() if hasattr(outcome, name)}
    assert said == wanted, f"{asked}\n  the store said {wanted}\n  the switch heard {said}"


def _decision(code: Code) -> dict[str, Any]:
    granted = code in GRANTING or code is Code.REPLAYED
    expected: dict[str, Any] = {"decision": pb.GRANTED if granted else pb.DENIED, "replayed": code is Code.REPLAYED}
    if code is not Code.REPLAYED:
        expected["reason"] = int(code)
    return expected


def _authorization(code: Code, reply: list[Any]) -> dict[str, Any]:
    granted, final, available = reply[:3]
    return {
        **_decision(code),
        "granted_seconds": granted,
        "final_unit": final in (pb.FINAL_REASON_INSUFFICIENT_FUNDS, pb.FINAL_REASON_SPEND_LIMIT),
        "available_micros": available,
    }


def _progress(code: Code, reply: list[Any]) -> dict[str, Any]:
    granted, final, debited, available = reply[:4]
    return {
        "granted_seconds": granted,
        "final_unit": final in (pb.FINAL_REASON_INSUFFICIENT_FUNDS, pb.FINAL_REASON_SPEND_LIMIT),
        "debited_micros": debited,
        "available_micros": available,
        "ended": code is Code.ENDED,
        "final_reason": final,
    }


def _end(code: Code, reply: list[Any]) -> dict[str, Any]:
    names = ("billed_seconds", "debited_micros", "written_off_micros", "available_micros")
    return {**dict(zip(names, reply, strict=True)), "replayed": code is Code.REPLAYED}


def _message(code: Code, reply: list[Any]) -> dict[str, Any]:
    debited, available = reply[:2]
    return {**_decision(code), "debited_micros": debited, "available_micros": available}


def _refund(code: Code, reply: list[Any]) -> dict[str, Any]:
    refunded, available = reply
    return {"refunded_micros": refunded, "available_micros": available, "replayed": code is Code.REPLAYED}
