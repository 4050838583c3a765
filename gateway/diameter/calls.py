"""Calls: session charging with unit reservation (SCUR), from CCR-Initial to CCR-Termination."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from gateway.client import is_emergency
from gateway.diameter.avps import Avps, avp
from gateway.diameter.codes import CALLED_PARTY_ADDRESS, SERVICE_INFORMATION, ResultCode
from gateway.diameter.link import Link, Rejected, Unanswered
from gateway.diameter.offices import OfficeFinder
from gateway.diameter.outcome import Outcome, denied, no_more
from gateway.diameter.parties import call_parties, dialled
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import MAX_SECONDS, Kind, Request
from gateway.diameter.sessions import Session, SessionTable
from gateway.diameter.terms import FreeCalls, Terms
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

EMERGENCY_LIMIT_SECONDS: Final = 0.2
"""A gateway that answers has its say in an emergency call, for the usage record; nobody waits for one that does not."""

EMERGENCY: Final = Outcome(granted=MAX_SECONDS)


@dataclass(slots=True, eq=False, kw_only=True)
class CallSession(Session):
    """A call.

    Attributes:
        request: With which it was authorized, and is again if the gateway has lost it; None: an emergency call of
            which not even the office is known.
        reason: Why it was granted.
        is_known: Whether the gateway has heard of it.
    """

    request: pb.AuthorizeCallRequest | None
    reason: "pb.Reason.ValueType" = pb.REASON_UNSPECIFIED
    is_known: bool = False


class Calls:
    """Turns what a client says of its calls into what the gateway wants to know.

    The client counts: it reports the seconds since its last report, and the gateway hears of all since the answer. No
    report is counted twice, and the debit ends at price(all that was reported).

    Args:
        link: To the gateway.
        sessions: Where calls are kept.
        offices: Who pays.
        terms: The operator's choices.
    """

    def __init__(self, link: Link, sessions: SessionTable, offices: OfficeFinder, terms: Terms) -> None:
        self._link = link
        self._sessions = sessions
        self._offices = offices
        self._terms = terms

    def is_emergency(self, avps: Avps) -> bool:
        """Whether a request is about a call that is granted whatever happens, and whatever else is wrong with it."""
        return is_emergency(dialled(avps), self._terms.emergency_numbers)

    async def begin(self, request: Request, known: CallSession | None) -> Outcome:
        """CCR-Initial: authorize a call.

        Args:
            request: What is asked for.
            known: The session, if it is being asked for already.

        Raises:
            Refused, Unanswered, Rejected: It is not.
        """
        if self.is_emergency(request.avps):
            return await self._begin_emergency(request, known)
        wanted = self.authorization(request)
        session = known or CallSession(session_id=request.session_id, request=wanted)
        with self._sessions.adding(session):
            return await session.answer(request, partial(self._begin, request, session, wanted))

    async def update(self, request: Request, session: CallSession) -> Outcome:
        """CCR-Update: debit what was used, reserve more.

        Raises:
            Refused, Unanswered, Rejected: The client gets nothing more for the time being.
        """
        return await session.answer(request, partial(self._update, request, session))

    async def end(self, request: Request, session: CallSession) -> Outcome:
        """CCR-Termination: settle the call.

        Raises:
            Refused, Rejected: It is not settled by this.
            Unanswered: Not yet; it will be without being asked again.
        """
        return await session.answer(request, partial(self._end, request, session))

    def authorization(self, request: Request) -> pb.AuthorizeCallRequest:
        """What the gateway is asked about a call.

        Raises:
            Refused: Something is missing or makes no sense.
        """
        payer = self._offices.find(request)
        parties = call_parties(request.avps)
        if not parties.called:
            text = "nobody is called: IMS-Information has no Called-Party-Address"
            raise Refused(ResultCode.RATING_FAILED, text, [avp(CALLED_PARTY_ADDRESS)])
        if request.used(Kind.CALL):
            raise Refused(ResultCode.INVALID_AVP_VALUE, "a call that begins has used nothing")
        return pb.AuthorizeCallRequest(
            office_id=payer.office_id,
            call_id=request.call_id,
            direction=parties.direction,
            calling_number=parties.calling or payer.number,
            called_number=parties.called,
            license=payer.license,
            requested_seconds=self._terms.quota(request.requested(Kind.CALL)),
            user_id=payer.user_id,
            switch_id=_label(request.origin_host),
        )

    async def _begin(self, request: Request, session: CallSession, wanted: pb.AuthorizeCallRequest) -> Outcome:
        grant = await self._link.ask(self._link.stub.AuthorizeCall, wanted)
        if grant.decision != pb.GRANTED:
            return denied(grant.reason, request.avps.all(SERVICE_INFORMATION)[:1])
        session.reason, session.is_known = grant.reason, True
        if grant.reason == pb.FREE and self._terms.free_calls is FreeCalls.NOT_APPLICABLE:
            await self._link.settled(self._settle(session, wanted, "Diameter: not charged"))
            return Outcome(ResultCode.CREDIT_CONTROL_NOT_APPLICABLE, "this call costs nothing")
        return self._quota(session, grant.granted_seconds, is_final=grant.final_unit)

    async def _begin_emergency(self, request: Request, known: CallSession | None) -> Outcome:
        session = known or CallSession(session_id=request.session_id, request=None, reason=pb.EMERGENCY)
        with self._sessions.adding(session, always=True):
            return await session.answer(request, partial(self._tell_of_emergency, request, session))

    async def _tell_of_emergency(self, request: Request, session: CallSession) -> Outcome:
        try:
            session.request = wanted = self.authorization(request)
            await self._link.ask(self._link.stub.AuthorizeCall, wanted, EMERGENCY_LIMIT_SECONDS)
            session.is_known = True
        except (Refused, Unanswered, Rejected) as error:
            log.warning("diameter_emergency_call_without_gateway", session_id=session.session_id, error=str(error))
        return EMERGENCY

    async def _update(self, request: Request, session: CallSession) -> Outcome:
        session.count(request, request.used(Kind.CALL), MAX_SECONDS)
        self._sessions.keep(session)
        if session.request is None or session.reason == pb.EMERGENCY:
            return EMERGENCY
        if not session.used:
            # It rings: a tick would start its clock. Authorizing it again tells its grant and changes nothing.
            again = await self._link.ask(self._link.stub.AuthorizeCall, session.request)
            if again.decision != pb.GRANTED:
                return denied(again.reason)
            return self._quota(session, again.granted_seconds, is_final=again.final_unit)
        tick = pb.TickCallRequest(
            office_id=session.request.office_id,
            call_id=session.request.call_id,
            used_seconds=session.used,
            requested_seconds=self._terms.quota(request.requested(Kind.CALL)),
        )
        try:
            granted = await self._link.ask(self._link.stub.TickCall, tick)
        except Rejected as rejected:
            if rejected.fault.code != "NOT_FOUND":
                raise
            # The gateway has lost the call, because its store did.
            again = await self._link.ask(self._link.stub.AuthorizeCall, session.request)
            if again.decision != pb.GRANTED:
                return denied(again.reason)
            granted = await self._link.ask(self._link.stub.TickCall, tick)
        if granted.ended:
            return no_more(granted.final_reason)
        is_final = granted.final_unit or granted.final_reason != pb.FINAL_REASON_UNSPECIFIED
        return self._quota(session, granted.granted_seconds, is_final=is_final, why=granted.final_reason)

    async def _end(self, request: Request, session: CallSession) -> Outcome:
        session.count(request, request.used(Kind.CALL), MAX_SECONDS)
        session.ended_by = request.number
        self._sessions.keep(session)
        if session.request is None:
            return Outcome()
        return await self._link.settled(self._settle(session, session.request, request.termination_cause))

    def settle_again(self, session: CallSession) -> None:
        """Settle a call that was ended in a process before this one, which may not have come to it."""
        if session.request is not None:
            self._settle(session, session.request, "")

    def _settle(self, session: CallSession, authorized: pb.AuthorizeCallRequest, cause: str) -> "asyncio.Task[Outcome]":
        """Begin to settle a call with all that was used; once, however often it is asked for."""
        if session.settling is None:
            work = partial(self._end_call, session, authorized, cause)
            session.settling = self._link.settle(session.session_id, work)
        return session.settling

    async def _end_call(self, session: CallSession, authorized: pb.AuthorizeCallRequest, cause: str) -> Outcome:
        if not session.is_known:
            await self._link.ask(self._link.stub.AuthorizeCall, authorized)
            session.is_known = True
        end = pb.EndCallRequest(
            office_id=authorized.office_id,
            call_id=authorized.call_id,
            duration_seconds=session.used,
            cause=cause,
        )
        settled = await self._link.ask(self._link.stub.EndCall, end)
        session.is_settled = True
        self._sessions.keep(session)
        return Outcome(cost_micros=settled.debited_micros)

    def _quota(
        self,
        session: CallSession,
        granted_seconds: int,
        *,
        is_final: bool,
        why: "pb.FinalReason.ValueType" = pb.FINAL_REASON_UNSPECIFIED,
    ) -> Outcome:
        """What is left of a grant that counts from the answer."""
        left = granted_seconds - session.used
        if left <= 0:
            return no_more(why)
        if session.reason == pb.FREE:
            return Outcome(granted=left, is_final=is_final)
        validity = self._terms.validity_seconds
        if validity and left > validity:
            return Outcome(granted=validity, validity_seconds=validity)
        # With a final unit no validity: clients end a final unit at its validity, though more is paid for.
        return Outcome(granted=left, is_final=is_final, validity_seconds=0 if is_final else validity)


def _label(origin_host: str) -> str:
    return origin_host[:128] if origin_host.isascii() and origin_host.isprintable() else ""
