"""Looks after calls: what is up, what goes on without the gateway, and what the gateway has lost."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Final, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.client.asking import Asker
from gateway.client.commands import Call, Inbox, UnknownCall, command_of
from gateway.client.errors import ClientClosed, ClientError, GatewayUnavailable, NotFound, OperationFailed
from gateway.client.failure_handling import FailureHandling, granted_emergency, granted_without_gateway
from gateway.client.live_calls import CallTable, LiveCall, TrackedCall
from gateway.client.recovery import Recovery
from gateway.client.timing import Clock
from gateway.v1 import authorization_pb2 as pb

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Message)

EMERGENCY_LIMIT_SECONDS: Final = 0.2
"""A gateway that answers has its say in an emergency call, for the usage record; nobody waits for one that does not."""


class CallKeeper:
    """The calls of a client, from their authorization to their end.

    Args:
        asker: Asks the gateway.
        inbox: Takes the commands that are for the switch.
        calls: The calls that are up.
        clock: Tells the time.
        continued_seconds: Granted to a call that goes on without the gateway.
    """

    def __init__(self, asker: Asker, inbox: Inbox, calls: CallTable, clock: Clock, *, continued_seconds: int) -> None:
        self._asker = asker
        self._inbox = inbox
        self._calls = calls
        self._clock = clock
        self._continued_seconds = continued_seconds
        self._recovery = Recovery(self._recover)

    async def authorize(
        self, request: pb.AuthorizeCallRequest, limit_seconds: float | None, policy: FailureHandling
    ) -> pb.AuthorizeCallResponse:
        """Ask for a call; what is granted is looked after from here on.

        Raises:
            GatewayUnavailable: No answer, and the policy does not let it go on.
            OperationFailed: Refused.
        """
        try:
            self._calls.check_room()
            response = await self._authorize(request, limit_seconds, policy)
        except ClientClosed:
            raise
        except GatewayUnavailable as error:
            if policy is not FailureHandling.CONTINUE:
                raise
            log.warning("call %r goes on without the gateway: %s", request.call_id, error)
            self._began(request, is_settled_later=True)
            return granted_without_gateway(self._continued_seconds)
        if response.decision == pb.GRANTED:
            self._began(request)
        return response

    async def authorize_emergency(self, request: pb.AuthorizeCallRequest) -> pb.AuthorizeCallResponse:
        """Never refused, and never waited for: whatever goes wrong, it is granted."""
        try:
            response = await self._authorize(request, EMERGENCY_LIMIT_SECONDS, FailureHandling.TERMINATE)
        except ClientError as error:
            log.warning("emergency call %r goes on without the gateway: %s", request.call_id, error)
            self._began(request, is_settled_later=True)
            return granted_emergency()
        self._began(request)
        return response if response.decision == pb.GRANTED else granted_emergency()

    async def answer(
        self, request: pb.AnswerCallRequest, seconds_ago: float, limit_seconds: float | None
    ) -> pb.AnswerCallResponse:
        """Say that a call was answered, so long ago.

        Raises:
            GatewayUnavailable, OperationFailed: As `Asker.ask`.
        """
        self._calls.answered((request.office_id, request.call_id), seconds_ago)
        return await self._ask_of_known(request, pb.AnswerCallResponse, limit_seconds)

    async def tick(self, request: pb.TickCallRequest, limit_seconds: float | None) -> pb.TickCallResponse:
        """Report used time.

        Raises:
            GatewayUnavailable, OperationFailed: As `Asker.ask`.
        """
        return await self._ask_of_known(request, pb.TickCallResponse, limit_seconds)

    async def end(self, request: pb.EndCallRequest, limit_seconds: float) -> pb.EndCallResponse:
        """Settle a call.

        Raises:
            GatewayUnavailable, OperationFailed: As `Asker.settle`.
        """
        call = request.office_id, request.call_id
        known = self._calls.ended(call)
        self._inbox.ended(call)
        if known is not None and known.is_settled_later and request.duration_seconds:
            return await asyncio.shield(self._asker.spawn(self._end_late(known, request, limit_seconds)))
        return await self._asker.settle(request, pb.EndCallResponse, limit_seconds)

    def hear(self, message: pb.Command) -> None:
        """Take a command: a call that the gateway does not know is seen to here, all else is the switch's."""
        command = command_of(message)
        if command is None:
            return
        call = command.office_id, command.call_id
        if isinstance(command, UnknownCall) and self._calls.get(call) is not None:
            self._recovery.add(call, command.command_id)
        else:
            self._inbox.put(command)

    def live(self) -> Iterator[LiveCall]:
        """The calls that are up."""
        return self._calls.live()

    async def close(self) -> None:
        """See to nothing any longer."""
        await self._recovery.close()

    async def _authorize(
        self, request: pb.AuthorizeCallRequest, limit_seconds: float | None, policy: FailureHandling
    ) -> pb.AuthorizeCallResponse:
        retries = policy is not FailureHandling.TERMINATE
        return await self._asker.ask(request, pb.AuthorizeCallResponse, limit_seconds, retries=retries)

    def _began(self, request: pb.AuthorizeCallRequest, *, is_settled_later: bool = False) -> None:
        self._inbox.began((request.office_id, request.call_id))
        self._calls.began(request, is_settled_later=is_settled_later)

    async def _ask_of_known(
        self, request: pb.AnswerCallRequest | pb.TickCallRequest, response: type[T], limit_seconds: float | None
    ) -> T:
        """Ask something of a call that the gateway should know; if it does not, make it known and ask again."""
        try:
            return await self._asker.ask(request, response, limit_seconds)
        except NotFound:
            known = self._calls.get((request.office_id, request.call_id))
            if known is None or await self._make_known(known, limit_seconds) is not None:
                raise
        return await self._asker.ask(request, response, limit_seconds)

    async def _make_known(self, known: TrackedCall, limit_seconds: float | None) -> pb.Reason.ValueType | None:
        """Authorize a call again and, while it is up, answer it with the time of its answer.

        Returns:
            Why it was denied; None: it is known.

        Raises:
            GatewayUnavailable, OperationFailed: It is as unknown as before.
        """
        request = known.request
        granted = await self._authorize(request, limit_seconds, FailureHandling.RETRY_AND_TERMINATE)
        if granted.decision != pb.GRANTED:
            return granted.reason
        known.is_settled_later = False
        is_up = self._calls.get((request.office_id, request.call_id)) is known
        if is_up and known.answered_at is not None:
            answered_at = Timestamp()
            answered_at.FromMicroseconds(int((self._clock.unix() - self._calls.seconds_since_answer(known)) * 1e6))
            await self._asker.ask(
                pb.AnswerCallRequest(office_id=request.office_id, call_id=request.call_id, answered_at=answered_at),
                pb.AnswerCallResponse,
                limit_seconds,
            )
        return None

    async def _end_late(
        self, known: TrackedCall, request: pb.EndCallRequest, limit_seconds: float
    ) -> pb.EndCallResponse:
        """End a call that went on without the gateway: it has to be known before it can be billed."""
        try:
            await self._make_known(known, limit_seconds)
        except OperationFailed as error:
            log.warning("call %r went on without the gateway and is not billed: %s", request.call_id, error)
        return await self._asker.settle(request, pb.EndCallResponse, limit_seconds)

    async def _recover(self, call: Call, command_id: str) -> None:
        known = self._calls.get(call)
        if known is None:
            return
        reason: pb.Reason.ValueType | None = pb.REASON_UNSPECIFIED
        try:
            reason = await self._make_known(known, None)
        except GatewayUnavailable:
            return  # The gateway says again that it does not know the call, after the next list.
        except OperationFailed as error:
            log.warning("call %r is unknown to the gateway and stays so: %s", call[1], error)
        if reason is not None and self._calls.get(call) is known:
            self._inbox.put(UnknownCall(command_id, *call, reason))
