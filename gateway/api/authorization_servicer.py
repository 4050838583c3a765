"""CallAuthorization over gRPC: each method names its operation, the rest is `Runner`'s and the deciders'."""

from collections.abc import AsyncIterator
from typing import Final

import grpc
import grpc.aio

from gateway.api.calls import Calls
from gateway.api.handlers import reader_of, register_handlers
from gateway.api.messages import Messages
from gateway.api.runner import Runner, ServicerContext
from gateway.api.session_operations import operations_of
from gateway.api.sessions import Sessions
from gateway.api.switch_limits import SwitchLimits
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationServicer, add_CallAuthorizationServicer_to_server

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["CallAuthorization"]
SERVICE: Final = _SERVICE.full_name


class AuthorizationServicer(CallAuthorizationServicer):
    """The rpcs of CallAuthorization."""

    def __init__(
        self, runner: Runner, calls: Calls, messages: Messages, limits: SwitchLimits, sessions: Sessions
    ) -> None:
        self.runner = runner
        self._is_emergency = calls.is_emergency
        self._of = limits.around_all(operations_of(calls, messages))
        self._sessions = sessions

    async def AuthorizeCall(  # noqa: N802  # the contract's name, here and below
        self,
        request: pb.AuthorizeCallRequest,
        context: ServicerContext[pb.AuthorizeCallRequest, pb.AuthorizeCallResponse],
    ) -> pb.AuthorizeCallResponse:
        """Reserve the first tick of a call; an emergency is neither shed nor refused."""
        sheddable = not self._is_emergency(request)
        return await self.runner.run("AuthorizeCall", context, request, self._of["authorize_call"], sheddable=sheddable)

    async def AnswerCall(  # noqa: N802
        self, request: pb.AnswerCallRequest, context: ServicerContext[pb.AnswerCallRequest, pb.AnswerCallResponse]
    ) -> pb.AnswerCallResponse:
        """Start the clock of a call."""
        return await self.runner.run("AnswerCall", context, request, self._of["answer_call"])

    async def TickCall(  # noqa: N802
        self, request: pb.TickCallRequest, context: ServicerContext[pb.TickCallRequest, pb.TickCallResponse]
    ) -> pb.TickCallResponse:
        """Debit what was used and reserve the next tick."""
        return await self.runner.run("TickCall", context, request, self._of["tick_call"])

    async def EndCall(  # noqa: N802
        self, request: pb.EndCallRequest, context: ServicerContext[pb.EndCallRequest, pb.EndCallResponse]
    ) -> pb.EndCallResponse:
        """Settle a call."""
        return await self.runner.run("EndCall", context, request, self._of["end_call"])

    async def AuthorizeMessage(  # noqa: N802
        self,
        request: pb.AuthorizeMessageRequest,
        context: ServicerContext[pb.AuthorizeMessageRequest, pb.AuthorizeMessageResponse],
    ) -> pb.AuthorizeMessageResponse:
        """Debit a message, or block it."""
        return await self.runner.run("AuthorizeMessage", context, request, self._of["authorize_message"])

    async def RefundMessage(  # noqa: N802
        self,
        request: pb.RefundMessageRequest,
        context: ServicerContext[pb.RefundMessageRequest, pb.RefundMessageResponse],
    ) -> pb.RefundMessageResponse:
        """Give the debit of a message back."""
        return await self.runner.run("RefundMessage", context, request, self._of["refund_message"])

    async def QuoteCall(  # noqa: N802
        self, request: pb.QuoteCallRequest, context: ServicerContext[pb.QuoteCallRequest, pb.QuoteCallResponse]
    ) -> pb.QuoteCallResponse:
        """Say what a call would be decided and cost."""
        return await self.runner.run("QuoteCall", context, request, self._of["quote_call"])

    async def QuoteMessage(  # noqa: N802
        self,
        request: pb.QuoteMessageRequest,
        context: ServicerContext[pb.QuoteMessageRequest, pb.QuoteMessageResponse],
    ) -> pb.QuoteMessageResponse:
        """Say what a message would be decided and cost."""
        return await self.runner.run("QuoteMessage", context, request, self._of["quote_message"])

    async def Session(  # type: ignore[override]  # noqa: N802  # written to the context, which the stubs do not know
        self,
        request_iterator: AsyncIterator[pb.SessionRequest],  # noqa: ARG002  # read from the context, beside the writing
        context: ServicerContext[pb.SessionRequest, bytes],
    ) -> None:
        """Serve one Session to its end."""
        await self.runner.run_session(context, self._sessions.serve)


def serve_authorization(server: grpc.aio.Server, servicer: AuthorizationServicer) -> None:
    """Have a server answer CallAuthorization; the responses of a Session come packed (session_codec.py)."""
    add_CallAuthorizationServicer_to_server(servicer, server)
    register_handlers(server, _SERVICE, servicer, servicer.runner)
    session: grpc.RpcMethodHandler[pb.SessionRequest, bytes] = grpc.stream_stream_rpc_method_handler(
        servicer.Session,
        request_deserializer=reader_of(_SERVICE.methods_by_name["Session"]),
        response_serializer=None,
    )
    # The last one that is registered for a method counts.
    server.add_registered_method_handlers(SERVICE, {"Session": session})
