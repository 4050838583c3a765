"""The client of a switch: operations as coroutines, commands as an iterator, over one Session stream."""

import asyncio
import logging
from collections.abc import AsyncIterator, Set
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import grpc

from gateway.client.asking import Asker
from gateway.client.call_keeper import CallKeeper
from gateway.client.commands import Command, Inbox
from gateway.client.errors import ClientClosed, GatewayUnavailable
from gateway.client.failure_handling import EMERGENCY_NUMBERS, FailureHandling, granted_emergency, is_emergency
from gateway.client.link import Link, LinkTimes
from gateway.client.live_calls import CallTable, ListLiveCalls, list_parts
from gateway.client.operations import Operations
from gateway.client.timing import Clock, SystemClock, sleep
from gateway.client.tls import Tls
from gateway.client.transport import GrpcTransport, Transport
from gateway.v1 import authorization_pb2 as pb

log = logging.getLogger(__name__)

_END_STREAM_SECONDS: Final = 1.0


class Client:
    """A switch's connection to Tollgate.

        async with Client("gateway.example:50051", token) as client:
            answer = await client.authorize_call(
                office_id="acme-paris", call_id="c1", direction=pb.OUTBOUND, called_number="+442079460000"
            )

    Concurrent calls of its methods share stream messages; operations on one call keep their order. A stream that
    breaks is replaced, and what was in flight on it is sent again with the same id, which never does anything twice.
    Give each switch one client: the gateway takes this client's list of live calls for the switch's whole list (or
    pass `live_calls`). Use it within one event loop.

    Args:
        target: The gateway, e.g. `gateway.example:50051`.
        token: The switch's, or an operator's; empty where a client certificate stands for it.
        switch_id: With an operator's token: the switch that this client is.
        tls: Whom to trust and which certificate to show, True for the authorities that everybody trusts, or
            credentials of your own; without it everything goes in the clear, the token too.
        deadline_seconds: How long an operation may take, retries included, unless the call says otherwise.
        settle_deadline_seconds: The same for end_call and refund_message, which nobody waits for on the line and
            which are worth a longer try.
        failure_handling: What becomes of authorizations while no gateway answers.
        continued_seconds: `granted_seconds` of a call that is let through by FailureHandling.CONTINUE.
        emergency_numbers: Which numbers are let through whatever happens; digits only.
        live_calls: Lists the switch's calls when asked, every 30 s, for switches that know better than this client
            (other processes place calls with the same token; the process restarts while its calls go on).
        repeat_commands: Hand on a command each time the gateway repeats it (every 5 s until the end of the call).
        max_pending: Operations under way at once; beyond them ClientBusy.
        max_batch: Operations in one message, 2 to 1,000; the gateway's TOLLGATE_BATCH_MAX_OPERATIONS.
        times: The patience with a stream.
        clock: For tests.
        random: Varies the pauses between attempts; a seeded one for tests.
        transport: For tests.
    """

    def __init__(
        self,
        target: str,
        token: str = "",
        *,
        switch_id: str | None = None,
        tls: grpc.ChannelCredentials | Tls | bool | None = None,
        deadline_seconds: float = 1.0,
        settle_deadline_seconds: float = 60.0,
        failure_handling: FailureHandling = FailureHandling.RETRY_AND_TERMINATE,
        continued_seconds: int = 14_400,
        emergency_numbers: Set[str] = EMERGENCY_NUMBERS,
        live_calls: ListLiveCalls | None = None,
        repeat_commands: bool = False,
        max_pending: int = 50_000,
        max_batch: int = 1_000,
        times: LinkTimes | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not 2 <= max_batch <= 1_000:
            raise ValueError(f"max_batch: {max_batch} is not within 2 to 1,000")
        self._settle_deadline_seconds = settle_deadline_seconds
        self._failure_handling = failure_handling
        self._emergency_numbers = emergency_numbers
        self._clock: Clock = clock or SystemClock()
        random = random or Random()  # noqa: S311  # spreads the load of reconnecting, hides nothing
        credentials = Tls() if tls is True else tls or None
        if isinstance(credentials, Tls):
            # Read for each connection; what is wrong from the beginning is said at once.
            credentials.credentials()
        self._operations = Operations(self._clock, random, max_pending=max_pending)
        self._inbox = Inbox(repeats=repeat_commands)
        self._calls = CallTable(self._clock)
        self._asker = Asker(self._operations, deadline_seconds)
        self._keeper = CallKeeper(
            self._asker, self._inbox, self._calls, self._clock, continued_seconds=continued_seconds
        )
        self._link = Link(
            transport or GrpcTransport(target, token, switch_id, credentials),
            self._operations,
            self._clock,
            random,
            on_command=self._keeper.hear,
            list_calls=lambda: list_parts(live_calls or self._keeper.live),
            times=times or LinkTimes(),
            max_batch=max_batch,
        )
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Begin to connect; operations wait for the connection, each until its deadline."""
        if self._running is not None or self._closed:
            raise RuntimeError("a Client is entered once; make a new one")
        self._asker.open()
        self._running = asyncio.create_task(self._link.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, letting what is under way finish."""
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether a gateway answers on the stream."""
        return self._link.is_connected

    @property
    def live_calls(self) -> int:
        """How many calls were let through and have not ended, as far as this client was told."""
        return len(self._calls)

    async def wait_connected(self, *, limit_seconds: float = 5.0) -> None:
        """Wait until a gateway answers, e.g. to fail early at start. No operation needs this.

        Raises:
            GatewayUnavailable: None did in time.
            OperationFailed: One did, and does not let this client in.
        """
        if not await self._link.wait_connected(limit_seconds):
            self._operations.raise_refusal()
            raise GatewayUnavailable(f"no gateway answers: {self._operations.problem or 'no answer in time'}")

    async def close(self, *, drain_seconds: float = 5.0) -> None:
        """Take nothing on any longer, let what is under way finish, then end the stream; safe to call twice.

        Live calls go on: no connection is not the same as no calls.

        Args:
            drain_seconds: How long that may take; what is not finished then ends with ClientClosed.
        """
        self._closed = True
        self._asker.close()
        running, self._running = self._running, None
        try:
            if running is not None:
                await self._within(self._operations.wait_idle(), drain_seconds)
                if self._link.is_connected:
                    self._link.leave()
                    await self._within(asyncio.shield(running), _END_STREAM_SECONDS)
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            await self._keeper.close()
            self._operations.fail_all(ClientClosed("the client was closed before an answer came"))
            self._operations.close()
            await self._asker.wait_background()
            self._inbox.close()

    def commands(self) -> AsyncIterator[Command]:
        """What the gateway tells the switch, until the client is closed; several iterations share the commands.

        What came before the iteration began waits for it (the latest 10,000).
        """
        return self._inbox.iterate()

    async def authorize_call(
        self,
        *,
        office_id: str,
        call_id: str,
        direction: pb.Direction.ValueType,
        called_number: str,
        calling_number: str = "",
        license: pb.License.ValueType = pb.STANDARD,  # noqa: A002  # the contract's name
        service: pb.Service.ValueType = pb.VOICE,
        requested_seconds: int = 0,
        user_id: str = "",
        department_id: str = "",
        switch_id: str = "",
        deadline_seconds: float | None = None,
        failure_handling: FailureHandling | None = None,
    ) -> pb.AuthorizeCallResponse:
        """Ask whether a call may be connected; if so its first tick is reserved. The gateway ticks it once answered.

        A switch that gives up waiting (the caller hung up, this was cancelled, or it raised) calls `end_call` with
        duration 0; without it the money stays reserved until the gateway finds that no list has the call.

        An emergency number is always granted: by the gateway, or here if it does not answer in 0.2 s.

        Args:
            office_id: Who pays.
            call_id: The switch's own id, unique within the office.
            direction: pb.INBOUND or pb.OUTBOUND.
            called_number: As dialled, or E.164.
            calling_number: Empty: withheld.
            license: Of the user.
            service: VOICE or FAX.
            requested_seconds: What to reserve first; 0: one tick of the rate.
            user_id: For the usage record.
            department_id: For the usage record.
            switch_id: A label for the operator.
            deadline_seconds: Instead of the client's.
            failure_handling: Instead of the client's.

        Returns:
            The decision. With FailureHandling.CONTINUE and no gateway: GRANTED with REASON_UNSPECIFIED.

        Raises:
            GatewayUnavailable: No answer; the failure handling says when.
            OperationFailed: A field is wrong, the id is another call's, or the token may not.
        """
        emergency = is_emergency(called_number, self._emergency_numbers)
        try:
            request = pb.AuthorizeCallRequest(
                office_id=office_id,
                call_id=call_id,
                direction=direction,
                calling_number=calling_number,
                called_number=called_number,
                license=license,
                service=service,
                requested_seconds=requested_seconds,
                user_id=user_id,
                department_id=department_id,
                switch_id=switch_id,
            )
        except ValueError:
            if emergency:  # Numbers that are not even text are no reason to refuse it.
                return granted_emergency()
            raise
        if emergency:
            return await self._keeper.authorize_emergency(request)
        return await self._keeper.authorize(request, deadline_seconds, failure_handling or self._failure_handling)

    async def answer_call(
        self,
        *,
        office_id: str,
        call_id: str,
        answered_at: datetime | None = None,
        deadline_seconds: float | None = None,
    ) -> pb.AnswerCallResponse:
        """Say that a call was answered, which starts its clock.

        Args:
            office_id: Of the call.
            call_id: The call.
            answered_at: When, with a time zone; None: now.
            deadline_seconds: Instead of the client's.

        Returns:
            With `ended` set the call has no right to go on: hang up.

        Raises:
            GatewayUnavailable: No answer. Let the call go on: the next list of live calls says that it was answered.
            NotFound: The gateway does not know the call, and it could not be made known again: hang up.
            OperationFailed: Otherwise refused.
        """
        request = pb.AnswerCallRequest(office_id=office_id, call_id=call_id)
        seconds_ago = 0.0
        if answered_at is not None:
            if answered_at.tzinfo is None:
                raise ValueError("answered_at: needs a time zone")
            request.answered_at.FromDatetime(answered_at)
            seconds_ago = self._clock.unix() - answered_at.timestamp()
        return await self._keeper.answer(request, seconds_ago, deadline_seconds)

    async def tick_call(
        self,
        *,
        office_id: str,
        call_id: str,
        used_seconds: int,
        requested_seconds: int = 0,
        deadline_seconds: float | None = None,
    ) -> pb.TickCallResponse:
        """Report used time and reserve more. Not needed: the gateway ticks the calls of this client.

        Args:
            office_id: Of the call.
            call_id: The call.
            used_seconds: From the answer.
            requested_seconds: Beyond that; 0: one tick.
            deadline_seconds: Instead of the client's.

        Raises:
            GatewayUnavailable, NotFound, OperationFailed: As `answer_call`.
        """
        request = pb.TickCallRequest(
            office_id=office_id, call_id=call_id, used_seconds=used_seconds, requested_seconds=requested_seconds
        )
        return await self._keeper.tick(request, deadline_seconds)

    async def end_call(
        self,
        *,
        office_id: str,
        call_id: str,
        duration_seconds: int,
        cause: str = "",
        deadline_seconds: float | None = None,
    ) -> pb.EndCallResponse:
        """Settle a call, answered or not. Cancelling this does not stop it: what was asked for is done.

        Args:
            office_id: Of the call.
            call_id: The call.
            duration_seconds: Talk time rounded up; 0: it was not answered and costs nothing.
            cause: Why it ended, for the usage record.
            deadline_seconds: Instead of the client's `settle_deadline_seconds`.

        Raises:
            GatewayUnavailable: No answer; the call lapses, and an end_call that comes later still settles it.
            NotFound: The gateway does not know the call; final: nothing is billed.
            AlreadyExists: It was ended with another duration, and the first stands.
            OperationFailed: Otherwise refused.
        """
        request = pb.EndCallRequest(
            office_id=office_id, call_id=call_id, duration_seconds=duration_seconds, cause=cause
        )
        limit = self._settle_deadline_seconds if deadline_seconds is None else deadline_seconds
        return await self._keeper.end(request, limit)

    async def authorize_message(
        self,
        *,
        office_id: str,
        message_id: str,
        called_number: str,
        segments: int,
        calling_number: str = "",
        kind: pb.MessageKind.ValueType = pb.SMS,
        user_id: str = "",
        department_id: str = "",
        deadline_seconds: float | None = None,
        failure_handling: FailureHandling | None = None,
    ) -> pb.AuthorizeMessageResponse:
        """Pay for a message, or learn that it is blocked.

        Args:
            office_id: Who pays.
            message_id: The switch's own id, unique within the office.
            called_number: Who receives it.
            segments: 1 to 255.
            calling_number: Who sends it.
            kind: SMS or MMS.
            user_id: For the usage record.
            department_id: For the usage record.
            deadline_seconds: Instead of the client's.
            failure_handling: Instead of the client's. After CONTINUE the message is still paid for, if a gateway
                answers within `settle_deadline_seconds`.

        Raises:
            GatewayUnavailable: No answer. If `ambiguous` it may have been debited: repeat, or `refund_message`.
            OperationFailed: A field is wrong, the id is another message's, or the token may not.
        """
        request = pb.AuthorizeMessageRequest(
            office_id=office_id,
            message_id=message_id,
            calling_number=calling_number,
            called_number=called_number,
            kind=kind,
            segments=segments,
            user_id=user_id,
            department_id=department_id,
        )
        policy = failure_handling or self._failure_handling
        retries = policy is not FailureHandling.TERMINATE
        try:
            return await self._asker.ask(request, pb.AuthorizeMessageResponse, deadline_seconds, retries=retries)
        except ClientClosed:
            raise
        except GatewayUnavailable as error:
            if policy is not FailureHandling.CONTINUE:
                raise
            log.warning("message %r goes on without the gateway: %s", message_id, error)
            limit = self._settle_deadline_seconds
            self._asker.spawn(self._asker.settle(request, pb.AuthorizeMessageResponse, limit))
            return pb.AuthorizeMessageResponse(decision=pb.GRANTED)

    async def refund_message(
        self, *, office_id: str, message_id: str, deadline_seconds: float | None = None
    ) -> pb.RefundMessageResponse:
        """Give the money for a message back, which the carrier refused. Cancelling this does not stop it.

        Raises:
            GatewayUnavailable: No answer: repeat it.
            NotFound: The gateway does not know the message.
            OperationFailed: Otherwise refused.
        """
        request = pb.RefundMessageRequest(office_id=office_id, message_id=message_id)
        limit = self._settle_deadline_seconds if deadline_seconds is None else deadline_seconds
        return await self._asker.settle(request, pb.RefundMessageResponse, limit)

    async def quote_call(
        self,
        *,
        office_id: str,
        direction: pb.Direction.ValueType,
        called_number: str,
        duration_seconds: int,
        call_id: str = "",
        calling_number: str = "",
        license: pb.License.ValueType = pb.STANDARD,  # noqa: A002  # the contract's name
        service: pb.Service.ValueType = pb.VOICE,
        requested_seconds: int = 0,
        deadline_seconds: float | None = None,
    ) -> pb.QuoteCallResponse:
        """What `authorize_call` would decide now, and what a duration would cost; changes nothing.

        Raises:
            GatewayUnavailable, OperationFailed: As `authorize_call`.
        """
        request = pb.QuoteCallRequest(
            office_id=office_id,
            call_id=call_id,
            direction=direction,
            calling_number=calling_number,
            called_number=called_number,
            license=license,
            service=service,
            requested_seconds=requested_seconds,
            duration_seconds=duration_seconds,
        )
        return await self._asker.ask(request, pb.QuoteCallResponse, deadline_seconds)

    async def quote_message(
        self,
        *,
        office_id: str,
        called_number: str,
        segments: int,
        message_id: str = "",
        calling_number: str = "",
        kind: pb.MessageKind.ValueType = pb.SMS,
        deadline_seconds: float | None = None,
    ) -> pb.QuoteMessageResponse:
        """What `authorize_message` would decide now, and what the message would cost; changes nothing.

        Raises:
            GatewayUnavailable, OperationFailed: As `authorize_message`.
        """
        request = pb.QuoteMessageRequest(
            office_id=office_id,
            message_id=message_id,
            calling_number=calling_number,
            called_number=called_number,
            kind=kind,
            segments=segments,
        )
        return await self._asker.ask(request, pb.QuoteMessageResponse, deadline_seconds)

    async def _within(self, work: Any, limit_seconds: float) -> None:
        """Wait for something for so long, by this client's clock."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(sleep(self._clock, limit_seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
