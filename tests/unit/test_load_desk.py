"""The switch of the load's users against a gateway that answers as it is told: retries, books, the life of a call."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from gateway.v1 import authorization_pb2 as pb
from loadtest.load.answers import Answers
from loadtest.users import desk as desks
from loadtest.users.call_life import live
from loadtest.users.desk import Desk, Unanswered
from loadtest.users.talk import Called, PlannedCall

PRICE = 100
"""Of a second, in micros."""


class Refused(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """An error as the stub raises it."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "as the test wants it"


Refused.__abstractmethods__ = frozenset()


class Gateway:
    """A channel whose other end grants a minute at a time, up to some seconds."""

    def __init__(self, funded_seconds: int = 10_000) -> None:
        self.funded_seconds = funded_seconds
        self.asked: list[tuple[str, Any]] = []
        self.refusals: list[grpc.StatusCode] = []
        self.seen: set[tuple[str, str]] = set()
        self.reason = pb.FUNDED
        self.message_reason = pb.FUNDED

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Callable[..., Any]:
        name = method.rpartition("/")[2]

        def rpc(request: Any, *, timeout: float, metadata: Any) -> Any:
            assert timeout > 0
            assert metadata == (("authorization", "Bearer token"),)
            self.asked.append((name, request))
            if self.refusals:
                raise Refused(self.refusals.pop(0))  # type: ignore[abstract]
            return getattr(self, name)(request)

        return rpc

    def stream_stream(self, *_: Any, **__: Any) -> None:
        return None

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    def AuthorizeCall(self, request: pb.AuthorizeCallRequest) -> pb.AuthorizeCallResponse:  # noqa: N802
        denied = self.reason == pb.INSUFFICIENT_FUNDS
        return pb.AuthorizeCallResponse(
            decision=pb.DENIED if denied else pb.GRANTED,
            reason=self.reason,
            granted_seconds=min(60, self.funded_seconds),
            replayed=self._is_seen("call", request.call_id),
        )

    def AnswerCall(self, request: pb.AnswerCallRequest) -> pb.AnswerCallResponse:  # noqa: N802
        return pb.AnswerCallResponse(granted_seconds=min(60, self.funded_seconds))

    def TickCall(self, request: pb.TickCallRequest) -> pb.TickCallResponse:  # noqa: N802
        target = -(-(request.used_seconds + 60) // 60) * 60
        return pb.TickCallResponse(granted_seconds=min(target, self.funded_seconds))

    def EndCall(self, request: pb.EndCallRequest) -> pb.EndCallResponse:  # noqa: N802
        seconds = request.duration_seconds
        replayed = self._is_seen("end", request.call_id)
        return pb.EndCallResponse(billed_seconds=seconds, debited_micros=PRICE * seconds, replayed=replayed)

    def AuthorizeMessage(self, request: pb.AuthorizeMessageRequest) -> pb.AuthorizeMessageResponse:  # noqa: N802
        granted = self.message_reason == pb.FUNDED
        return pb.AuthorizeMessageResponse(
            decision=pb.GRANTED if granted else pb.DENIED,
            reason=self.message_reason,
            debited_micros=7 if granted else 0,
            replayed=self._is_seen("message", request.message_id),
        )

    def RefundMessage(self, request: pb.RefundMessageRequest) -> pb.RefundMessageResponse:  # noqa: N802
        return pb.RefundMessageResponse(refunded_micros=7, replayed=self._is_seen("refund", request.message_id))

    def _is_seen(self, kind: str, name: str) -> bool:
        seen = (kind, name) in self.seen
        self.seen.add((kind, name))
        return seen


def desk_of(gateway: Gateway, lost: float = 0.0) -> Desk:
    return Desk(gateway, "token", Answers(), lambda *_: None, seed=1, lost=lost)  # type: ignore[arg-type]


def call_of(talk_seconds: int, called: Called = Called.ABROAD) -> PlannedCall:
    return PlannedCall(called, "+442079460000", 0.0, talk_seconds)


def ticks_of(gateway: Gateway) -> list[int]:
    return [request.used_seconds for name, request in gateway.asked if name == "TickCall"]


@pytest.mark.parametrize(
    ("talk", "funded", "ticks", "billed"),
    [
        (0, 10_000, [], 0),
        (1, 10_000, [], 1),
        (50, 10_000, [], 50),
        (51, 10_000, [50], 51),
        (130, 10_000, [50, 110], 130),
        (300, 60, [50, 60], 60),  # nothing more is granted: a last look, then the switch hangs up
        (55, 60, [50], 55),
        (300, 90, [50, 80, 90], 90),
    ],
)
def test_a_call_ticks_ahead_and_ends_within_its_grant(talk: int, funded: int, ticks: list[int], billed: int) -> None:
    gateway = Gateway(funded)
    desk = desk_of(gateway)
    live(desk, "o", "c", call_of(talk), 1e9)
    assert ticks_of(gateway) == ticks
    assert gateway.names()[0] == "AuthorizeCall"
    assert gateway.names()[-1] == "EndCall"
    assert gateway.asked[-1][1].duration_seconds == billed
    assert desk.answers.debited == {"o": PRICE * billed}
    assert desk.answers.fault_count == 0


def test_a_free_call_is_not_ticked() -> None:
    gateway = Gateway()
    gateway.reason = pb.FREE
    live(desk_of(gateway), "o", "c", call_of(40, Called.LOCAL), 1e9)
    assert gateway.names() == ["AuthorizeCall", "AnswerCall", "EndCall"]


def test_a_denied_call_is_over() -> None:
    gateway = Gateway()
    gateway.reason = pb.INSUFFICIENT_FUNDS
    desk = desk_of(gateway)
    live(desk, "o", "c", call_of(40), 1e9, funded=False)
    desk.settle()
    assert gateway.names() == ["AuthorizeCall"]
    assert desk.answers.counts == {"calls denied": 1}
    with pytest.raises(Unanswered, match="INSUFFICIENT_FUNDS, not FUNDED"):
        live(desk, "o", "c2", call_of(40), 1e9)
    assert desk.answers.fault_count == 1


def test_everything_is_asked_again_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "FIRST_PAUSE_SECONDS", 0.001)
    gateway = Gateway()
    gateway.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]
    desk = desk_of(gateway)
    desk.send_message("o", "m", "+12125550100", 1)
    assert [request.message_id for _, request in gateway.asked] == ["m"] * 3
    assert desk.answers.counts == {"messages": 1, "retries: UNAVAILABLE": 1, "retries: DEADLINE_EXCEEDED": 1}
    assert desk.answers.debited == {"o": 7}


def test_an_answer_that_was_lost_is_asked_for_and_counts_once() -> None:
    gateway = Gateway()
    desk = desk_of(gateway, lost=1.0)
    live(desk, "o", "c", call_of(30), 1e9)
    desk.send_message("o", "m", "+12125550100", 1)
    desk.refund_message("o", "m")
    assert desk.answers.counts["asked twice"] == 4
    assert desk.answers.debited == {"o": 30 * PRICE}
    gateway.seen = Forgetful()
    with pytest.raises(Unanswered, match="asked twice"):
        desk.send_message("o", "m2", "+12125550100", 1)


class Forgetful(set[tuple[str, str]]):
    """Has seen nothing: a gateway that takes a repeat for something new."""

    def add(self, _: tuple[str, str]) -> None:
        return


def test_what_was_not_answered_is_settled_with_what_was_said_before() -> None:
    gateway = Gateway()
    desk = desk_of(gateway)
    gateway.refusals = [grpc.StatusCode.INTERNAL]
    with pytest.raises(Unanswered):
        desk.send_message("o", "m", "+12125550100", 1)
    call = desk.authorize_call("o", "c", "+442079460000", pb.FUNDED)
    assert call is not None
    gateway.refusals = [grpc.StatusCode.INTERNAL]
    with pytest.raises(Unanswered):
        desk.end_call(call, 17)
    desk.settle()
    assert desk.answers.debited == {"o": 7 + 17 * PRICE}
    assert desk.answers.counts["settled at the end"] == 2
    assert desk.answers.fault_count == 2, "both were wrong answers all the same"
    asked = len(gateway.asked)
    desk.settle()
    assert len(gateway.asked) == asked


def test_an_end_that_overtakes_its_authorization_is_none() -> None:
    gateway = Gateway()
    desk = desk_of(gateway)
    gateway.refusals = [grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND]
    with pytest.raises(Unanswered):
        desk.authorize_call("o", "c", "+442079460000", pb.FUNDED)
    desk.settle()
    assert desk.answers.fault_count == 1
    assert desk.answers.debited == {}


def test_a_paid_call_that_the_gateway_does_not_know_is_a_fault() -> None:
    gateway = Gateway()
    desk = desk_of(gateway)
    call = desk.authorize_call("o", "c", "+442079460000", pb.FUNDED)
    assert call is not None
    gateway.refusals = [grpc.StatusCode.NOT_FOUND] * 2
    with pytest.raises(Unanswered):
        desk.end_call(call, 5)
    desk.settle()
    assert desk.answers.faults[-1] == "1 calls and messages could not be settled"


def test_a_message_without_funds() -> None:
    gateway = Gateway()
    gateway.message_reason = pb.INSUFFICIENT_FUNDS
    desk = desk_of(gateway)
    assert not desk.send_message("o", "m", "+12125550100", 1, blocked_as="blocked")
    assert desk.answers.counts == {"blocked": 1}
    with pytest.raises(Unanswered):
        desk.send_message("o", "m2", "+12125550100", 1)


def test_all_hang_up_when_it_closes() -> None:
    gateway = Gateway()
    desk = desk_of(gateway)
    desk.closing.set()
    live(desk, "o", "c", call_of(300), 0.001)
    assert gateway.names() == ["AuthorizeCall", "EndCall"]
    assert gateway.asked[-1][1].duration_seconds == 0
