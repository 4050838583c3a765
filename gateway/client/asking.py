"""Asking the gateway: one coroutine an operation, however it ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias, TypeVar, cast

from google.protobuf.message import Message

from gateway.client.errors import ClientClosed
from gateway.client.operations import Line, Operations
from gateway.v1 import authorization_pb2 as pb

T = TypeVar("T", bound=Message)

CallRequest: TypeAlias = pb.AuthorizeCallRequest | pb.AnswerCallRequest | pb.TickCallRequest | pb.EndCallRequest
MessageRequest: TypeAlias = pb.AuthorizeMessageRequest | pb.RefundMessageRequest
QuoteRequest: TypeAlias = pb.QuoteCallRequest | pb.QuoteMessageRequest
Request: TypeAlias = CallRequest | MessageRequest | QuoteRequest

_KINDS: Final[dict[type[Message], str]] = {
    pb.AuthorizeCallResponse: "authorize_call",
    pb.AnswerCallResponse: "answer_call",
    pb.TickCallResponse: "tick_call",
    pb.EndCallResponse: "end_call",
    pb.AuthorizeMessageResponse: "authorize_message",
    pb.RefundMessageResponse: "refund_message",
    pb.QuoteCallResponse: "quote_call",
    pb.QuoteMessageResponse: "quote_message",
}


class Asker:
    """Asks for what the client's methods ask for.

    Args:
        operations: Where an operation goes its way.
        deadline_seconds: How long one may take if nothing else is said.
    """

    def __init__(self, operations: Operations, deadline_seconds: float) -> None:
        self._operations = operations
        self._deadline_seconds = deadline_seconds
        self._background: set[asyncio.Task[Any]] = set()
        self._closed_because = "the client is not open: use it in `async with Client(...) as client`"

    def open(self) -> None:
        """Take operations on."""
        self._closed_because = ""

    def close(self) -> None:
        """Take none on any longer."""
        self._closed_because = "the client is closed"

    async def ask(
        self, request: Request, response: type[T], limit_seconds: float | None = None, *, retries: bool = True
    ) -> T:
        """Ask; whoever is cancelled has not asked, or does not learn the answer.

        Raises:
            ClientError: As `Operations` has it.
        """
        limit = self._deadline_seconds if limit_seconds is None else limit_seconds
        self._check_open()
        operation = self._operations.submit(
            _KINDS[response], request, _line_of(request), limit_seconds=limit, retries=retries
        )
        try:
            return cast("T", await operation.future)
        except asyncio.CancelledError:
            _look_at(operation.future)
            self._operations.withdraw(operation)
            raise

    async def settle(self, request: Request, response: type[T], limit_seconds: float) -> T:
        """Ask something that is done even if whoever asks is cancelled.

        Raises:
            ClientError: As `Operations` has it.
        """
        self._check_open()
        operation = self._operations.submit(
            _KINDS[response], request, _line_of(request), limit_seconds=limit_seconds, retries=True
        )
        operation.future.add_done_callback(_look_at)
        return cast("T", await asyncio.shield(operation.future))

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do something that nobody may wait for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_look_at)
        return task

    async def wait_background(self) -> None:
        """Wait for what was spawned."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed_because:
            raise ClientClosed(self._closed_because)


def _line_of(request: Request) -> Line | None:
    if isinstance(request, QuoteRequest):
        return None
    if isinstance(request, MessageRequest):
        return "message", request.office_id, request.message_id
    return "call", request.office_id, request.call_id


def _look_at(future: "asyncio.Future[Any]") -> None:
    """An error that nobody waits for any longer is no news to the event loop."""
    if future.done() and not future.cancelled():
        future.exception()
