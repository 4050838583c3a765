"""The first act: a minute of an office's day by unary calls, told faster than it passes."""

import asyncio
from dataclasses import dataclass
from time import perf_counter

import grpc

from gateway.cli.demo.books import BooksError
from gateway.cli.demo.cast import (
    BERLIN,
    BOSTON,
    CARDIFF,
    CORNER,
    FREEPHONE,
    HARBOR,
    KINGSTON,
    LONDON,
    NEW_YORK,
    OWN_FREEPHONE,
    SUNRISE,
)
from gateway.cli.demo.refill import until_paid
from gateway.cli.demo.stage import Stage
from gateway.cli.demo.wording import called, decided
from gateway.cli.output import money, short_name
from gateway.client_channel import fault_of
from gateway.v1 import authorization_pb2 as pb


@dataclass
class _Call:
    """A call of the story, and what is known of it so far."""

    request: pb.AuthorizeCallRequest
    quoted_micros: int
    granted_seconds: int = 0
    reason: pb.Reason.ValueType = pb.REASON_UNSPECIFIED

    @property
    def office_id(self) -> str:
        return self.request.office_id

    @property
    def call_id(self) -> str:
        return self.request.call_id


class Day:
    """Plays the minute once.

    Args:
        stage: What it is played on.
        speed: How much faster than real time; None: without pauses.
    """

    def __init__(self, stage: Stage, *, speed: float | None) -> None:
        self._stage = stage
        self._speed = speed
        self._second = 0.0

    async def fund(self) -> None:
        """Give each office what its scenes need; what the first one has it has bought."""
        stage = self._stage
        # Call centre and toll-free calls, and half a message: the next message takes it below the threshold.
        calls = [
            await stage.quote(stage.call_of(HARBOR, NEW_YORK, license=pb.CONTACT_CENTER), 40),
            await stage.quote(stage.call_of(HARBOR, OWN_FREEPHONE, calling_number=BOSTON, direction=pb.INBOUND), 25),
        ]
        refilled = await stage.set_no_refill(HARBOR)
        message = await stage.quote_message(stage.message_of(HARBOR, NEW_YORK))
        await stage.bring_to(HARBOR, refilled.refill.threshold_micros + sum(calls) + message // 2)
        await stage.bring_to(CORNER, await stage.quote(stage.call_of(CORNER, NEW_YORK), 60))
        await stage.set_refill(HARBOR)
        for office_id in (SUNRISE, HARBOR, CORNER):
            stage.introduce(await stage.office(office_id))

    async def play(self) -> None:
        """Play it.

        Raises:
            BooksError: A call or message cost something else than it was quoted.
            grpc.RpcError: The gateway did not answer where it must.
        """
        self._stage.screen.title("One minute of their day")
        self._stage.screen.headings()

        await self._at(1)
        local = await self._authorize(self._stage.call_of(SUNRISE, NEW_YORK), 24)
        await self._at(2)
        london = await self._authorize(self._stage.call_of(SUNRISE, LONDON), 54)
        await self._at(3)
        freephone = await self._authorize(self._stage.call_of(SUNRISE, FREEPHONE), 31)
        await self._at(4)
        await self._answer(london)
        centre = await self._authorize(self._stage.call_of(HARBOR, NEW_YORK, license=pb.CONTACT_CENTER), 40)
        await self._at(6)
        inbound = await self._authorize(
            self._stage.call_of(HARBOR, OWN_FREEPHONE, calling_number=BOSTON, direction=pb.INBOUND), 25
        )
        await self._at(8)
        fax = await self._authorize(self._stage.call_of(SUNRISE, BERLIN, service=pb.FAX), 41)
        await self._at(9)
        unanswered = await self._authorize(self._stage.call_of(SUNRISE, KINGSTON), 0)
        for call in (local, freephone, centre, inbound, fax):
            await self._answer(call, is_shown=False)

        await self._at(12)
        message = self._stage.message_of(SUNRISE, NEW_YORK, segments=2)
        await self._send(message)
        await self._at(13)
        await self._send(message, "the same SMS again: its answer was lost")
        await self._at(14)
        other = pb.AuthorizeMessageRequest()
        other.CopyFrom(message)
        other.called_number = BOSTON
        await self._refused_duplicate(other)
        await self._at(16)
        picture = self._stage.message_of(SUNRISE, BOSTON, kind=pb.MMS)
        await self._send(picture)
        await self._at(17)
        await self._refund(picture)

        await self._at(20)
        winner = await self._race(self._stage.call_of(CORNER, NEW_YORK), self._stage.call_of(CORNER, BOSTON), 38)
        await self._at(22)
        await self._send(self._stage.message_of(CORNER, CARDIFF))
        await self._at(23)
        emergency = await self._authorize(self._stage.call_of(CORNER, "999"), 15)
        await self._at(24)
        near = await self._authorize(self._stage.call_of(CORNER, CARDIFF), 20)
        await self._at(25)
        await self._end(local, 24)
        await self._at(29)
        await self._end(unanswered, 0, "nobody answers")
        await self._at(31)
        await self._end(inbound, 25)
        await self._end(freephone, 27)

        await self._at(34)
        await self._refill()

        await self._at(38)
        await self._end(emergency, 15)
        await self._end(near, 14)
        await self._at(45)
        await self._end(centre, 40)
        await self._at(50)
        await self._end(fax, 41)
        await self._at(54)
        await self._tick(london, 50)
        await self._at(58)
        await self._end(winner, 38)
        await self._end(london, 54)
        await self._at(60)

    async def _authorize(self, request: pb.AuthorizeCallRequest, seconds: int) -> _Call:
        """Ask for a call of which is known how long it will last, so that its price is known beforehand."""
        call = _Call(request, await self._stage.quote(request, seconds))
        await self._grant(call, await self._stage.switch.AuthorizeCall(request))
        return call

    async def _grant(self, call: _Call, answer: pb.AuthorizeCallResponse, label: str = "") -> None:
        call.granted_seconds, call.reason = answer.granted_seconds, answer.reason
        granted = f", {answer.granted_seconds} s" if answer.reason == pb.FUNDED else ""
        price = f"{money(answer.price_per_minute_micros)}/min" if answer.price_per_minute_micros else ""
        category = short_name(pb.Category.Name(answer.category), "CATEGORY_").replace("_", "-")
        request = call.request
        what = f"fax to {request.called_number}" if request.service == pb.FAX else f"call to {request.called_number}"
        if request.direction == pb.INBOUND:
            what = f"call from {request.calling_number} to {request.called_number}"
        if category not in what and request.direction == pb.OUTBOUND:
            what += f", {category}"
        await self._show(call.office_id, f"{label}{what}", f"{decided(answer)}{granted}", price)

    async def _answer(self, call: _Call, *, is_shown: bool = True) -> None:
        answer = await self._stage.switch.AnswerCall(
            pb.AnswerCallRequest(office_id=call.office_id, call_id=call.call_id)
        )
        call.granted_seconds = answer.granted_seconds
        if is_shown:
            await self._show(
                call.office_id, f"{called(call.request)}: answered", f"{answer.granted_seconds} s granted", ""
            )

    async def _tick(self, call: _Call, used_seconds: int) -> None:
        answer = await self._stage.switch.TickCall(
            pb.TickCallRequest(office_id=call.office_id, call_id=call.call_id, used_seconds=used_seconds)
        )
        call.granted_seconds = answer.granted_seconds
        await self._show(
            call.office_id,
            f"{called(call.request)}: tick after {used_seconds} s",
            f"{answer.granted_seconds} s granted",
            money(answer.debited_micros),
        )

    async def _end(self, call: _Call, seconds: int, what: str = "") -> None:
        answer = await self._stage.switch.EndCall(
            pb.EndCallRequest(office_id=call.office_id, call_id=call.call_id, duration_seconds=seconds)
        )
        self._stage.books.settle(
            call.office_id,
            call.call_id,
            quoted_micros=call.quoted_micros,
            debited_micros=answer.debited_micros,
            missing_micros=answer.written_off_micros,
        )
        await self._show(
            call.office_id,
            f"{called(call.request)}: {what or f'ends after {seconds} s'}",
            f"{answer.billed_seconds} s billed",
            money(answer.debited_micros),
        )

    async def _send(self, request: pb.AuthorizeMessageRequest, what: str = "") -> int:
        """Ask for a message; returns what it was debited."""
        quote = await self._stage.quote_message(request)
        answer = await self._stage.switch.AuthorizeMessage(request)
        kind = pb.MessageKind.Name(request.kind)
        segments = f", {request.segments} segments" if request.segments > 1 else ""
        replayed = ", replayed" if answer.replayed else ""
        blocked = ": blocked" if answer.decision == pb.DENIED else ""
        if answer.decision == pb.GRANTED and not answer.replayed:
            self._stage.books.settle(
                request.office_id,
                request.message_id,
                quoted_micros=quote,
                debited_micros=answer.debited_micros,
                missing_micros=0,
            )
        await self._show(
            request.office_id,
            what or f"{kind} to {request.called_number}{segments}{blocked}",
            f"{decided(answer)}{replayed}",
            money(answer.debited_micros) if not answer.replayed else "",
        )
        return answer.debited_micros

    async def _refused_duplicate(self, request: pb.AuthorizeMessageRequest) -> None:
        try:
            await self._stage.switch.AuthorizeMessage(request)
        except grpc.RpcError as error:
            fault = fault_of(error)
            await self._show(request.office_id, "another message with the same id", f"REFUSED {fault.code}", "")
            if fault.code != "ALREADY_EXISTS":
                raise
        else:
            raise BooksError(f"{request.message_id} was taken for two messages")

    async def _refund(self, request: pb.AuthorizeMessageRequest) -> None:
        answer = await self._stage.switch.RefundMessage(
            pb.RefundMessageRequest(office_id=request.office_id, message_id=request.message_id)
        )
        self._stage.books.refund(request.office_id, request.message_id, answer.refunded_micros)
        kind = pb.MessageKind.Name(request.kind)
        await self._show(
            request.office_id,
            f"{kind} to {request.called_number}: carrier refuses it",
            "CREDITED back",
            money(-answer.refunded_micros),
        )

    async def _race(self, first: pb.AuthorizeCallRequest, second: pb.AuthorizeCallRequest, seconds: int) -> _Call:
        """Two calls at the same moment, for the funds of one; returns the one that got them."""
        calls = [_Call(request, await self._stage.quote(request, seconds)) for request in (first, second)]
        answers = await asyncio.gather(*(self._stage.switch.AuthorizeCall(call.request) for call in calls))
        for call, answer in zip(calls, answers, strict=True):
            await self._grant(call, answer, "race: ")
        granted = [call for call, answer in zip(calls, answers, strict=True) if answer.decision == pb.GRANTED]
        if len(granted) != 1:
            raise BooksError(f"{len(granted)} of two calls were granted, and there were funds for one")
        await self._answer(granted[0], is_shown=False)
        return granted[0]

    async def _refill(self) -> None:
        """A message takes the office below its threshold; the gateway charges the card, and credits."""
        debiting = self._stage.message_of(HARBOR, NEW_YORK)
        quote = await self._stage.quote_message(debiting)
        answer = await self._stage.switch.AuthorizeMessage(debiting)
        replied = perf_counter()
        self._stage.books.settle(
            HARBOR,
            debiting.message_id,
            quoted_micros=quote,
            debited_micros=answer.debited_micros,
            missing_micros=0,
        )
        await self._show(HARBOR, f"SMS to {debiting.called_number}", decided(answer), money(answer.debited_micros))
        dip = await self._stage.triggers.of(HARBOR)
        trigger = dip.trigger
        delay_ms = (dip.heard - replied) * 1000
        when = f"{delay_ms:.1f} ms after" if delay_ms > 0 else f"{-delay_ms:.1f} ms before"
        await self._show(
            HARBOR,
            f"below {money(trigger.threshold_micros)}: refill of {money(trigger.amount_micros)} is asked for",
            f"TRIGGER {when} reply",
            "",
        )
        # At once, as the card is charged meanwhile and the look for the credit must not begin late.
        await self._send(self._stage.message_of(HARBOR, BOSTON), "another SMS: one dip, one trigger")
        paid = await until_paid(self._stage, dip)
        await self._show(
            HARBOR,
            f"{paid.refill_id}: {paid.card} charged",
            f"CREDITED {paid.after_seconds:.1f} s after the dip",
            money(-paid.amount_micros),
        )

    async def _at(self, second: float) -> None:
        """Go on to a second of the minute."""
        if self._speed is not None:
            await asyncio.sleep((second - self._second) / self._speed)
        self._second = second

    async def _show(self, office_id: str, what: str, answer: str, price: str) -> None:
        moment = f"{int(self._second) // 60:02}:{int(self._second) % 60:02}"
        await self._stage.show(moment, office_id, what, answer, price)
