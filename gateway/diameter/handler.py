"""A Credit-Control-Request's way: read, dealt with by its service, answered; nothing in it raises."""

import structlog

from gateway.client_channel import Fault
from gateway.diameter.answers import Answers
from gateway.diameter.avps import Incoming
from gateway.diameter.calls import EMERGENCY, Calls, CallSession
from gateway.diameter.codes import CC_REQUEST_TYPE, REQUESTED_ACTION, RequestedAction, RequestType, ResultCode
from gateway.diameter.enquiries import Enquiries
from gateway.diameter.link import Rejected, Unanswered
from gateway.diameter.messages import Messages, MessageSession
from gateway.diameter.outcome import Outcome
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Kind, Request
from gateway.diameter.sessions import SessionTable

log = structlog.get_logger(__name__)


class CreditControl:
    """Answers credit-control requests.

    Args:
        sessions: Those that are open, and that were.
        calls: Charges calls.
        messages: Charges messages.
        enquiries: Answers questions.
        answers: Encodes.
    """

    def __init__(
        self,
        sessions: SessionTable,
        calls: Calls,
        messages: Messages,
        enquiries: Enquiries,
        answers: Answers,
    ) -> None:
        self._sessions = sessions
        self._calls = calls
        self._messages = messages
        self._enquiries = enquiries
        self._answers = answers

    async def handle(self, message: Incoming) -> bytes:
        """Answer a request, whatever is in it."""
        request: Request | None = None
        try:
            request = Request.read(message)
            outcome = await self._outcome(request)
        except Refused as refused:
            outcome = Outcome.of(refused)
        except Unanswered as unanswered:
            outcome = Outcome(unanswered.code, unanswered.text)
        except Rejected as rejected:
            outcome = outcome_of(rejected.fault)
        except Exception:
            log.exception("diameter_request_failed")
            outcome = Outcome(ResultCode.UNABLE_TO_COMPLY, "an internal error; the log of this server has it")
        if outcome.code is not ResultCode.SUCCESS:
            if _asks_for_time(message) and self._calls.is_emergency(message.avps):
                outcome = EMERGENCY
            else:
                log.info(
                    "diameter_request_refused",
                    session_id=request.session_id[:200] if request else "",
                    type=request.type.name if request else "",
                    number=request.number if request else None,
                    result_code=int(outcome.code),
                    error=outcome.text,
                )
        return self._answers.encode(message, request, outcome)

    async def _outcome(self, request: Request) -> Outcome:
        if request.type is RequestType.EVENT:
            return await self._event(request)
        session = self._sessions.get(request.session_id)
        if request.type is RequestType.INITIAL and (session is None or not session.is_begun):
            if request.kind is Kind.CALL:
                return await self._calls.begin(request, session if isinstance(session, CallSession) else None)
            return await self._messages.begin(request, session if isinstance(session, MessageSession) else None)
        match session:
            case CallSession():
                if request.type is RequestType.TERMINATION:
                    return await self._calls.end(request, session)
                return await self._calls.update(request, session)
            case MessageSession():
                if request.type is RequestType.TERMINATION:
                    return await self._messages.end(request, session)
                return await self._messages.update(request, session)
        raise Refused(ResultCode.UNKNOWN_SESSION_ID, "no such session is open here")

    async def _event(self, request: Request) -> Outcome:
        match request.action:
            case RequestedAction.CHECK_BALANCE:
                return await self._enquiries.balance(request)
            case RequestedAction.PRICE_ENQUIRY:
                return await self._enquiries.price(request)
            case action:
                pass
        if request.kind is Kind.CALL:
            text = "a call is charged by a session: CCR-Initial, Update, Termination"
            raise Refused(ResultCode.RATING_FAILED, text, request.avps.all(REQUESTED_ACTION))
        if action is RequestedAction.REFUND_ACCOUNT:
            return await self._messages.refund(request)
        return await self._messages.debit(request)


def _asks_for_time(message: Incoming) -> bool:
    try:
        return message.avps.unsigned(CC_REQUEST_TYPE) in {None, RequestType.INITIAL, RequestType.UPDATE}
    except Refused:
        return True


def outcome_of(fault: Fault) -> Outcome:
    """What a client is told of the gateway's refusal to decide."""
    match fault.code:
        case "NOT_FOUND":
            return Outcome(ResultCode.UNKNOWN_SESSION_ID, fault.message)
        case "PERMISSION_DENIED":
            return Outcome(ResultCode.AUTHORIZATION_REJECTED, "the token of this server has no right to that office")
        case "INVALID_ARGUMENT":
            return Outcome(ResultCode.INVALID_AVP_VALUE, fault.message)
        case "UNAUTHENTICATED":
            log.error("diameter_token_not_accepted", message=fault.message)
            return Outcome(ResultCode.UNABLE_TO_COMPLY, "the gateway does not accept the token of this server")
        case _:
            return Outcome(ResultCode.UNABLE_TO_COMPLY, fault.message)
