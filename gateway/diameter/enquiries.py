"""Questions that change nothing: CHECK_BALANCE and PRICE_ENQUIRY."""

from typing import Any, Final

from gateway.diameter.calls import Calls
from gateway.diameter.codes import SERVICE_INFORMATION
from gateway.diameter.link import Link
from gateway.diameter.messages import Messages
from gateway.diameter.outcome import Outcome, denied
from gateway.diameter.requests import Kind, Request
from gateway.v1 import authorization_pb2 as pb

DEFAULT_SECONDS: Final = 60
"""A price is asked of one minute where nothing is said."""

_FUNDS: Final = {pb.INSUFFICIENT_FUNDS, pb.SPEND_LIMIT}
_NO_PRICE: Final = {pb.INVALID_NUMBER, pb.UNKNOWN_OFFICE, pb.NO_RATE}


class Enquiries:
    """Quotes calls and messages.

    Args:
        link: To the gateway.
        calls: Knows what a request says of a call.
        messages: Knows what a request says of a message.
    """

    def __init__(self, link: Link, calls: Calls, messages: Messages) -> None:
        self._link = link
        self._calls = calls
        self._messages = messages

    async def balance(self, request: Request) -> Outcome:
        """CHECK_BALANCE: whether what is requested could be paid now.

        Raises:
            Refused, Unanswered, Rejected: It is not known.
        """
        quote = await self._quote(request)
        if quote.decision == pb.GRANTED:
            is_call = request.kind is Kind.CALL
            return Outcome(has_credit=not is_call or quote.granted_seconds >= request.requested(Kind.CALL))
        if quote.reason in _FUNDS:
            return Outcome(has_credit=False)
        return denied(quote.reason, request.avps.all(SERVICE_INFORMATION)[:1])

    async def price(self, request: Request) -> Outcome:
        """PRICE_ENQUIRY: what is requested would cost.

        Raises:
            Refused, Unanswered, Rejected: It is not known.
        """
        quote = await self._quote(request)
        if quote.decision != pb.GRANTED and quote.reason in _NO_PRICE:
            return denied(quote.reason, request.avps.all(SERVICE_INFORMATION)[:1])
        return Outcome(cost_micros=quote.price_micros)

    async def _quote(self, request: Request) -> Any:
        if request.kind is not Kind.CALL:
            message = self._messages.authorization(request, "")
            return await self._link.ask(
                self._link.stub.QuoteMessage,
                pb.QuoteMessageRequest(
                    office_id=message.office_id,
                    calling_number=message.calling_number,
                    called_number=message.called_number,
                    kind=message.kind,
                    segments=message.segments,
                ),
            )
        call = self._calls.authorization(request)
        seconds = request.requested(Kind.CALL)
        return await self._link.ask(
            self._link.stub.QuoteCall,
            pb.QuoteCallRequest(
                office_id=call.office_id,
                direction=call.direction,
                calling_number=call.calling_number,
                called_number=call.called_number,
                license=call.license,
                requested_seconds=seconds,
                duration_seconds=seconds or DEFAULT_SECONDS,
            ),
        )
