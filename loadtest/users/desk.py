"""A switch's side of the unary rpcs, for many users at once: asks, asks again with the same id, and keeps the books.

Blocking stubs and `time.sleep`: in the locust process gevent makes both wait for nobody but the user who called.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from time import perf_counter
from typing import Any, Final

import grpc

from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from loadtest.load.answers import Answers

DEADLINE_SECONDS: Final = 5.0
"""Of one attempt; a switch waits less, but then it gives up the call, and this load wants to know what became of it."""

PATIENCE_SECONDS: Final = 60.0
"""How long an operation is asked again and again: longer than a front takes to come back."""

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0

MOST_UNANSWERED: Final = 3
"""In settling: where so many are not answered, the gateway is gone."""

_RETRIED: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

Report = Callable[[str, float, Exception | None], None]
"""Told of each operation: its name, how long it took with all attempts, and what it failed of."""


class Unanswered(Exception):
    """No answer, or an error; it is in the books already."""


@dataclass
class LiveCall:
    """A call that the gateway may take for live.

    Attributes:
        office_id: Who pays.
        call_id: The switch's own.
        called_number: As it was dialled.
        is_paid: Whether the gateway has granted it for money. If not, it need not know of the call: it may never have
            heard of it, and an emergency or a free call is granted even where the store does not answer.
        granted_seconds: As answered last.
        used_seconds: Talked so far.
        duration_seconds: Once its end was told: the same must be told again.
    """

    office_id: str
    call_id: str
    called_number: str
    is_paid: bool = False
    granted_seconds: int = 0
    used_seconds: int = 0
    duration_seconds: int | None = None


class Desk:
    """Asks the gateway for all users.

    Args:
        channel: To the gateway.
        token: A switch's.
        answers: The books.
        report: Told of each operation.
        seed: Of pauses and of the answers that are taken for lost.
        lost: Share of answers that are taken for lost: the switch asks again, and must hear the same.

    Attributes:
        closing: Set when all calls are to be ended: nobody pauses any longer.
    """

    def __init__(
        self, channel: grpc.Channel, token: str, answers: Answers, report: Report, *, seed: int, lost: float
    ) -> None:
        self._stub = CallAuthorizationStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._report = report
        self._chance = Random(seed)
        self._lost = lost
        self._calls: dict[str, LiveCall] = {}
        self._messages: dict[str, pb.AuthorizeMessageRequest] = {}
        self._refunds: dict[str, pb.RefundMessageRequest] = {}
        self.answers = answers
        self.closing = threading.Event()

    def pause(self, seconds: float) -> bool:
        """Wait so long; False: all calls are to be ended now."""
        return not self.closing.wait(seconds) if seconds > 0 else not self.closing.is_set()

    def authorize_call(self, office_id: str, call_id: str, called_number: str, expected: int) -> LiveCall | None:
        """Ask for a call; None: it was denied, as it should have been.

        Args:
            office_id: Who pays.
            call_id: New.
            called_number: As it is dialled.
            expected: The reason that must be given.

        Raises:
            Unanswered: There is no answer, or not that reason.
        """
        request = pb.AuthorizeCallRequest(
            office_id=office_id,
            call_id=call_id,
            direction=pb.OUTBOUND,
            calling_number="+12125550100",
            called_number=called_number,
            user_id="u-1042",
            department_id="sales",
        )
        call = self._calls[call_id] = LiveCall(office_id, call_id, called_number)
        answer = self._ask("AuthorizeCall", self._stub.AuthorizeCall, request)
        if answer.reason != expected:
            self._fault(f"{call_id} to {called_number} was answered {_name(answer.reason)}, not {_name(expected)}")
        if answer.decision == pb.DENIED:
            del self._calls[call_id]
            self.answers.count("calls denied")
            return None
        call.is_paid, call.granted_seconds = answer.reason == pb.FUNDED, answer.granted_seconds
        if call.is_paid:
            self._ask_again("AuthorizeCall", self._stub.AuthorizeCall, request, answer, ("decision", "reason"))
        self.answers.count("calls")
        return call

    def answer_call(self, call: LiveCall) -> None:
        """The called party has answered.

        Raises:
            Unanswered: There is no answer.
        """
        request = pb.AnswerCallRequest(office_id=call.office_id, call_id=call.call_id)
        self._take_grant(call, self._ask("AnswerCall", self._stub.AnswerCall, request, may_be_unknown=not call.is_paid))

    def tick_call(self, call: LiveCall, used_seconds: int) -> None:
        """So much was talked; ask for more.

        Raises:
            Unanswered: There is no answer.
        """
        call.used_seconds = used_seconds
        request = pb.TickCallRequest(office_id=call.office_id, call_id=call.call_id, used_seconds=used_seconds)
        self._take_grant(call, self._ask("TickCall", self._stub.TickCall, request, may_be_unknown=not call.is_paid))

    def end_call(self, call: LiveCall, duration_seconds: int) -> None:
        """The call is over; what it cost goes into the books.

        Raises:
            Unanswered: There is no answer. The call stays open, and `settle` ends it.
        """
        call.duration_seconds = duration_seconds
        request = pb.EndCallRequest(
            office_id=call.office_id, call_id=call.call_id, duration_seconds=duration_seconds, cause="16"
        )
        answer = self._ask("EndCall", self._stub.EndCall, request, may_be_unknown=not call.is_paid)
        if answer is None:
            # Its authorization, should it still be on its way, is denied now.
            self._calls.pop(call.call_id, None)
            return
        if self._calls.pop(call.call_id, None) is not None:
            self.answers.call_ended(
                call.office_id,
                call.called_number,
                answer.billed_seconds,
                answer.debited_micros,
                answer.written_off_micros,
            )
        self._ask_again("EndCall", self._stub.EndCall, request, answer, ("billed_seconds", "debited_micros"))

    def send_message(
        self, office_id: str, message_id: str, called_number: str, segments: int, *, blocked_as: str = ""
    ) -> bool:
        """Ask for a message; whether it may be sent.

        Args:
            office_id: Who pays.
            message_id: New.
            called_number: Where it goes.
            segments: 1 to 255.
            blocked_as: What is counted if it is blocked for lack of funds; empty: it must not be.

        Raises:
            Unanswered: There is no answer, or a reason that there should not be.
        """
        request = pb.AuthorizeMessageRequest(
            office_id=office_id,
            message_id=message_id,
            calling_number="+12125550100",
            called_number=called_number,
            segments=segments,
        )
        self._messages[message_id] = request
        answer = self._take_message(request)
        if blocked_as and answer.reason == pb.INSUFFICIENT_FUNDS:
            self.answers.count(blocked_as)
            return False
        if answer.reason != pb.FUNDED:
            self._fault(f"{message_id} was answered {_name(answer.reason)}")
        fields = ("decision", "reason", "debited_micros")
        self._ask_again("AuthorizeMessage", self._stub.AuthorizeMessage, request, answer, fields)
        return True

    def refund_message(self, office_id: str, message_id: str) -> None:
        """The carrier has refused a message that was paid for.

        Raises:
            Unanswered: There is no answer.
        """
        request = pb.RefundMessageRequest(office_id=office_id, message_id=message_id)
        self._refunds[message_id] = request
        answer = self._take_refund(request)
        self._ask_again("RefundMessage", self._stub.RefundMessage, request, answer, ("refunded_micros",))

    def settle(self) -> None:
        """End what is still open, with the ids it has: afterwards nothing is held, and the books have everything.

        That is what a user was at whom locust stopped in the middle, and what was not answered.
        """
        open_ones: list[Callable[[], object]] = [
            *(partial(self._take_message, request) for request in self._messages.values()),
            *(partial(self._take_refund, refund) for refund in self._refunds.values()),
            *(partial(self._settle_call, call) for call in self._calls.values()),
        ]
        unanswered = 0
        for settle in open_ones:
            try:
                settle()
            except Unanswered:
                unanswered += 1
                if unanswered >= MOST_UNANSWERED:
                    break
            else:
                self.answers.count("settled at the end")
        left = len(self._messages) + len(self._refunds) + len(self._calls)
        if left:
            self.answers.fault(f"{left} calls and messages could not be settled")

    def _settle_call(self, call: LiveCall) -> None:
        self.end_call(call, call.used_seconds if call.duration_seconds is None else call.duration_seconds)

    def _take_grant(self, call: LiveCall, answer: pb.AnswerCallResponse | pb.TickCallResponse | None) -> None:
        if answer is not None:
            if answer.ended:
                self._fault(f"{call.call_id} had ended before its switch said so")
            call.granted_seconds = answer.granted_seconds

    def _take_message(self, request: pb.AuthorizeMessageRequest) -> pb.AuthorizeMessageResponse:
        answer: pb.AuthorizeMessageResponse = self._ask("AuthorizeMessage", self._stub.AuthorizeMessage, request)
        if self._messages.pop(request.message_id, None) is not None:
            self.answers.debited[request.office_id] += answer.debited_micros
            if answer.decision == pb.GRANTED:
                self.answers.count("messages")
        return answer

    def _take_refund(self, request: pb.RefundMessageRequest) -> pb.RefundMessageResponse:
        answer: pb.RefundMessageResponse = self._ask("RefundMessage", self._stub.RefundMessage, request)
        if self._refunds.pop(request.message_id, None) is not None:
            self.answers.debited[request.office_id] -= answer.refunded_micros
            self.answers.count("messages given back")
        return answer

    def _ask(self, name: str, rpc: Callable[..., Any], request: Any, *, may_be_unknown: bool = False) -> Any:
        """Ask until there is an answer, always with the same id; None: the id is unknown, where it may be."""
        started, pause = perf_counter(), FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = rpc(request, timeout=DEADLINE_SECONDS, metadata=self._metadata)
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
                took = perf_counter() - started
                if code in _RETRIED and took < PATIENCE_SECONDS:
                    self.answers.count(f"retries: {code.name}")
                    # Spread, so that not all come back in the same millisecond.
                    time.sleep(pause * self._chance.uniform(0.5, 1.0))
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    continue
                if may_be_unknown and code is grpc.StatusCode.NOT_FOUND:
                    return None
                details = error.details() if isinstance(error, grpc.Call) else str(error)
                self.answers.fault(f"{name} was answered {code.name}: {details}")
                self._report(name, took, error)
                raise Unanswered(name) from error
            self._report(name, perf_counter() - started, None)
            return answer

    def _ask_again(
        self, name: str, rpc: Callable[..., Any], request: Any, answer: Any, fields: tuple[str, ...]
    ) -> None:
        """Now and then take an answer for lost: the same must be answered, and nothing done twice."""
        if self._chance.random() >= self._lost:
            return
        again = self._ask(name, rpc, request)
        self.answers.count("asked twice")
        if not again.replayed or any(getattr(again, field) != getattr(answer, field) for field in fields):
            self._fault(f"{name}, asked twice, was answered {answer} and then {again}".replace("\n", " "))

    def _fault(self, text: str) -> None:
        self.answers.fault(text)
        raise Unanswered(text)


def _name(reason: int) -> str:
    return pb.Reason.Name(reason)  # type: ignore[arg-type]
