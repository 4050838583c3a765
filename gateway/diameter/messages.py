"""Messages: event charging, with reservation (ECUR) or at once (IEC)."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from gateway.diameter.avps import avp, invalid
from gateway.diameter.codes import (
    CC_REQUEST_TYPE,
    CC_SERVICE_SPECIFIC_UNITS,
    RECIPIENT_ADDRESS,
    SERVICE_INFORMATION,
    ResultCode,
)
from gateway.diameter.link import Link
from gateway.diameter.offices import OfficeFinder
from gateway.diameter.outcome import Outcome, denied
from gateway.diameter.parties import message_parties
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import MAX_SEGMENTS, Kind, Request, bounded_id
from gateway.diameter.sessions import Session, SessionTable
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

KINDS: Final = {Kind.SMS: pb.SMS, Kind.MMS: pb.MMS}


@dataclass(slots=True, eq=False, kw_only=True)
class MessageSession(Session):
    """A message that is paid for, and may yet not be sent, or not whole.

    Attributes:
        request: With which it was authorized.
        kind: What it is.
        debited_micros: What it cost.
    """

    request: pb.AuthorizeMessageRequest
    kind: Kind
    debited_micros: int = 0


class Messages:
    """Turns what a client says of its messages into what the gateway wants to know.

    The gateway debits a message whole or blocks it: a reservation is a debit that is given back.

    Args:
        link: To the gateway.
        sessions: Where reservations are kept.
        offices: Who pays.
    """

    def __init__(self, link: Link, sessions: SessionTable, offices: OfficeFinder) -> None:
        self._link = link
        self._sessions = sessions
        self._offices = offices

    async def debit(self, request: Request) -> Outcome:
        """DIRECT_DEBITING: pay for a message. Repeatable by its id.

        Raises:
            Refused, Unanswered, Rejected: It is not paid for.
        """
        wanted = self.authorization(request, request.message_id)
        answer = await self._link.ask(self._link.stub.AuthorizeMessage, wanted)
        if answer.decision != pb.GRANTED:
            return denied(answer.reason, request.avps.all(SERVICE_INFORMATION)[:1])
        return Outcome(granted=wanted.segments, unit=CC_SERVICE_SPECIFIC_UNITS, cost_micros=answer.debited_micros)

    async def refund(self, request: Request) -> Outcome:
        """REFUND_ACCOUNT: give the money for a message back, once.

        Raises:
            Refused, Unanswered, Rejected: It is not given back.
        """
        given = pb.RefundMessageRequest(office_id=self._offices.find(request).office_id, message_id=request.message_id)
        await self._link.ask(self._link.stub.RefundMessage, given)
        return Outcome()

    async def begin(self, request: Request, known: MessageSession | None) -> Outcome:
        """CCR-Initial: pay for a message that is about to be sent.

        Args:
            request: What is asked for.
            known: The session, if it is being asked for already.

        Raises:
            Refused, Unanswered, Rejected: It is not paid for.
        """
        wanted = self.authorization(request, request.call_id)
        session = known or MessageSession(session_id=request.session_id, request=wanted, kind=request.kind)
        with self._sessions.adding(session):
            return await session.answer(request, partial(self._begin, request, session))

    async def update(self, request: Request, session: MessageSession) -> Outcome:
        """CCR-Update, which a message has none of.

        Raises:
            Refused: Always, unless it repeats another request.
        """

        async def refuse() -> Outcome:
            raise invalid(request.avps.one(CC_REQUEST_TYPE), "is UPDATE_REQUEST; a message has no updates")

        return await session.answer(request, refuse)

    async def end(self, request: Request, session: MessageSession) -> Outcome:
        """CCR-Termination: what was sent stays paid for, the rest is given back.

        Raises:
            Refused, Rejected: It stays as it was.
            Unanswered: Not yet; it will be without being asked again.
        """
        return await session.answer(request, partial(self._end, request, session))

    def authorization(self, request: Request, message_id: str) -> pb.AuthorizeMessageRequest:
        """What the gateway is asked about a message.

        Raises:
            Refused: Something is missing or makes no sense.
        """
        payer = self._offices.find(request)
        parties = message_parties(request.avps)
        if not parties.called:
            text = "nobody gets it: neither Recipient-Address nor Called-Party-Address"
            raise Refused(ResultCode.RATING_FAILED, text, [avp(RECIPIENT_ADDRESS)])
        if parties.recipients > 1:
            text = "one recipient a request: each is a message of its own"
            raise Refused(ResultCode.RATING_FAILED, text, request.avps.all(SERVICE_INFORMATION)[:1])
        return pb.AuthorizeMessageRequest(
            office_id=payer.office_id,
            message_id=message_id,
            calling_number=parties.calling or payer.number,
            called_number=parties.called,
            kind=KINDS[request.kind],
            segments=request.requested(request.kind) or 1,
            user_id=payer.user_id,
        )

    async def _begin(self, request: Request, session: MessageSession) -> Outcome:
        answer = await self._link.ask(self._link.stub.AuthorizeMessage, session.request)
        if answer.decision != pb.GRANTED:
            return denied(answer.reason, request.avps.all(SERVICE_INFORMATION)[:1])
        session.debited_micros = answer.debited_micros
        return Outcome(granted=session.request.segments, unit=CC_SERVICE_SPECIFIC_UNITS)

    async def _end(self, request: Request, session: MessageSession) -> Outcome:
        session.count(request, request.used(session.kind), MAX_SEGMENTS)
        session.ended_by = request.number
        self._sessions.keep(session)
        return await self._link.settled(self.settle_again(session))

    def settle_again(self, session: MessageSession) -> "asyncio.Task[Outcome]":
        """Begin to settle a message with what was sent of it; once, however often it is asked for."""
        if session.settling is None:
            session.settling = self._link.settle(session.session_id, partial(self._settle, session))
        return session.settling

    async def _settle(self, session: MessageSession) -> Outcome:
        cost_micros = session.debited_micros
        if session.used != session.request.segments:
            cost_micros = await self._pay_for_part(session) if session.used else 0
            await self._give_back(session.request)
        session.is_settled = True
        self._sessions.keep(session)
        return Outcome(cost_micros=cost_micros)

    async def _pay_for_part(self, session: MessageSession) -> int:
        """Pay for what was sent, under an id of its own; the whole is given back after that.

        Before that only if the funds are not enough for both, for then others may be quicker than this.
        """
        sent = pb.AuthorizeMessageRequest()
        sent.CopyFrom(session.request)
        sent.message_id, sent.segments = bounded_id(f"{sent.message_id}/sent"), session.used
        answer = await self._link.ask(self._link.stub.AuthorizeMessage, sent)
        if answer.decision != pb.GRANTED:
            await self._give_back(session.request)
            answer = await self._link.ask(self._link.stub.AuthorizeMessage, sent)
        if answer.decision != pb.GRANTED:
            log.error("diameter_message_not_paid", message_id=sent.message_id, reason=pb.Reason.Name(answer.reason))
        return int(answer.debited_micros)

    async def _give_back(self, reserved: pb.AuthorizeMessageRequest) -> None:
        given = pb.RefundMessageRequest(office_id=reserved.office_id, message_id=reserved.message_id)
        await self._link.ask(self._link.stub.RefundMessage, given)
