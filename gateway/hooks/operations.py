"""The hooks: which path asks for which operation, and how one request is answered.

They are the operations of CallAuthorization, decided by the same objects as those that come over gRPC.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from google.protobuf.message import Message

from gateway import metrics
from gateway.api.answers import too_many_in_flight
from gateway.api.calls import Calls
from gateway.api.messages import Messages
from gateway.api.session_operations import operations_of
from gateway.api.sign_ins import SignIns
from gateway.api.switch_limits import SwitchLimits
from gateway.domain.identity import Identity
from gateway.errors import InvalidArgument, Unauthenticated
from gateway.hooks.proto_json import message_of, object_of, packed, read_object, some_fields
from gateway.v1 import authorization_pb2 as pb

_BEARER: Final = "bearer "

OF_A_MESSAGE: Final = frozenset({"message_id", "messageId", "kind", "segments"})
"""A quote that has one of these is asked of a message, else of a call."""


@dataclass(frozen=True, slots=True)
class Hook:
    """An operation as it is asked for by HTTP.

    Attributes:
        name: Of the rpc that it is.
        kind: Of its request.
        answer: Answers it.
    """

    name: str
    kind: type[Message]
    answer: Callable[[Any, Identity], Awaitable[Message]]


class Hooks:
    """Answers posts.

    Args:
        sign_ins: Looks at the tokens.
        calls: Decides about calls.
        messages: Decides about messages.
        limits: How much a switch may ask.
        max_in_flight: Requests answered at once; more are refused, emergency calls excepted.

    Attributes:
        by_path: The hooks.
    """

    def __init__(
        self, sign_ins: SignIns, calls: Calls, messages: Messages, limits: SwitchLimits, *, max_in_flight: int
    ) -> None:
        self._sign_ins = sign_ins
        self._calls = calls
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        of = limits.around_all(operations_of(calls, messages))
        self._quote_message = Hook("QuoteMessage", pb.QuoteMessageRequest, of["quote_message"])
        self.by_path = {
            "/v1/calls/authorize": Hook("AuthorizeCall", pb.AuthorizeCallRequest, of["authorize_call"]),
            "/v1/calls/answer": Hook("AnswerCall", pb.AnswerCallRequest, of["answer_call"]),
            "/v1/calls/tick": Hook("TickCall", pb.TickCallRequest, of["tick_call"]),
            "/v1/calls/end": Hook("EndCall", pb.EndCallRequest, of["end_call"]),
            "/v1/messages/authorize": Hook("AuthorizeMessage", pb.AuthorizeMessageRequest, of["authorize_message"]),
            "/v1/messages/refund": Hook("RefundMessage", pb.RefundMessageRequest, of["refund_message"]),
            "/v1/quote": Hook("QuoteCall", pb.QuoteCallRequest, of["quote_call"]),
        }

    async def answer(self, path: str, authorization: str, peer: str, body: bytes) -> bytes:
        """Answer one post; every fault is one of the tree in gateway/errors.py.

        Args:
            path: One of `by_path`.
            authorization: The header.
            peer: The address that it came from.
            body: JSON.

        Raises:
            TollgateError: As the operation; InvalidArgument for a body that is no request.
        """
        started = perf_counter()
        self._in_flight += 1
        try:
            identity = await self._identify(authorization, peer)
            hook, request = self._read(path, read_object(body))
            if self._in_flight > self._max_in_flight and not self._is_emergency(request):
                raise too_many_in_flight()
            answer = await hook.answer(request, identity)
        finally:
            self._in_flight -= 1
        metrics.observe_hook(hook.name, perf_counter() - started)
        return packed(object_of(answer))

    def _read(self, path: str, fields: dict[str, Any]) -> tuple[Hook, Message]:
        hook = self.by_path[path]
        if hook.kind is pb.QuoteCallRequest and not OF_A_MESSAGE.isdisjoint(fields):
            hook = self._quote_message
        try:
            return hook, message_of(fields, hook.kind)
        except InvalidArgument:
            # An emergency is granted whatever else is wrong with its request.
            if hook.kind is not pb.AuthorizeCallRequest:
                raise
            request = some_fields(fields, pb.AuthorizeCallRequest)
            if not self._calls.is_emergency(request):
                raise
            return hook, request

    def _is_emergency(self, request: Message) -> bool:
        return isinstance(request, pb.AuthorizeCallRequest) and self._calls.is_emergency(request)

    async def _identify(self, authorization: str, peer: str) -> Identity:
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated
        return await self._sign_ins.identify(authorization[len(_BEARER) :].strip(), lambda: peer, "hook")
