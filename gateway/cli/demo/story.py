"""A minute of an office's day, told through the gateway's own API and checked at the end.

Numbers are from the ranges that are kept for fiction. Amounts are never written here: what an office needs for a
scene is worked out from the gateway's quotes.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import grpc
import grpc.aio

from gateway.cli.demo.books import Books, BooksError
from gateway.cli.demo.screen import Screen
from gateway.cli.health import SERVING, ask_health
from gateway.cli.output import money, short_name
from gateway.client_channel import fault_of, open_channel
from gateway.settings import Settings
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub

if TYPE_CHECKING:
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

COMPANY: Final = "meridian"
SUNRISE: Final = "sunrise"
HARBOR: Final = "harbor"
CORNER: Final = "corner"

LONDON: Final = "+442079460958"
NEW_YORK: Final = "+12125550142"
BOSTON: Final = "+16175550117"
BERLIN: Final = "+493023125042"
KINGSTON: Final = "+18765550123"
CARDIFF: Final = "+442920180371"
FREEPHONE: Final = "+18005550199"
OWN_FREEPHONE: Final = "+18885550100"

OPENING_MICROS: Final = 20_000_000
"""What an office begins the day with where the scene does not ask for a certain sum: 20.00."""

START_SECONDS: Final = 30.0
TRIGGER_SECONDS: Final = 10.0

_TICK_EVERY_SECONDS: Final = 10.0


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


class Story:
    """Tells the day once.

    Args:
        settings: Of the gateway.
        screen: Where it is told.
        speed: How much faster than real time; None: without pauses.
    """

    credits: "CreditsAsyncStub"
    switch: "CallAuthorizationAsyncStub"

    def __init__(self, settings: Settings, screen: Screen, *, speed: float | None) -> None:
        self._settings = settings
        self._screen = screen
        self._speed = speed
        self._second = 0.0
        self._books = Books()
        self._run = uuid4().hex[:6]
        self._ids = 0
        self._operator_secret = settings.operator_token.get_secret_value() if settings.operator_token else ""
        self._switch_secret = ""
        self._triggers = _Triggers()

    @property
    def last_call(self) -> "LastCall":
        """A call to leave talking, once the story was told."""
        return LastCall(self._settings, self._switch_secret, SUNRISE, LONDON, CARDIFF, f"call-{self._run}-live")

    async def tell(self) -> bool:
        """Play the minute and check the books; returns whether they are right.

        Raises:
            BooksError: A call or message cost something else than it was quoted.
            grpc.RpcError: The gateway did not answer where it must.
        """
        async with AsyncExitStack() as stack:
            self.credits = CreditsStub(
                await stack.enter_async_context(open_channel(self._settings.admin_listen, self._operator_secret))
            )
            await self._until_serving()
            watching = asyncio.create_task(self._triggers.watch(self.credits))
            stack.callback(watching.cancel)
            await self._set_up()
            self.switch = CallAuthorizationStub(
                await stack.enter_async_context(open_channel(self._settings.listen, self._switch_secret))
            )
            await self._end_leftovers()
            await self._fund()
            await self._play()
            return await self._check()

    async def _until_serving(self) -> None:
        """Wait until both services say that they answer in full.

        Raises:
            TimeoutError: They do not, for as long as a gateway may take to start.
        """
        async with asyncio.timeout(START_SECONDS):
            for address in (self._settings.listen, self._settings.admin_listen):
                while await ask_health(address, START_SECONDS) != SERVING:  # noqa: ASYNC110 - another process's affair
                    await asyncio.sleep(0.05)

    async def _set_up(self) -> None:
        await self.credits.CreateCompany(credits_pb2.CreateCompanyRequest(company_id=COMPANY, name="Meridian"))
        for office_id, name, country, time_zone in (
            (SUNRISE, "Sunrise Avenue", "US", "America/New_York"),
            (HARBOR, "Harbor contact center", "US", "America/Los_Angeles"),
            (CORNER, "The corner shop", "GB", "Europe/London"),
        ):
            await self.credits.CreateOffice(
                credits_pb2.CreateOfficeRequest(
                    office_id=office_id, company_id=COMPANY, name=name, country=country, time_zone=time_zone
                )
            )
        made = await self.credits.CreateToken(
            credits_pb2.CreateTokenRequest(
                role=credits_pb2.ROLE_SWITCH,
                office_ids=(SUNRISE, HARBOR, CORNER),
                switch_id="pbx-1",
                description="of the demo",
            )
        )
        self._switch_secret = made.secret

    async def _fund(self) -> None:
        """Give each office what its scenes need, by the gateway's quotes."""
        self._screen.title(f"{COMPANY} has three offices")
        # Call centre and toll-free calls, and half a message: the next message takes it below the threshold.
        calls = [
            await self._quote(self._call_of(HARBOR, NEW_YORK, license=pb.CONTACT_CENTER), 40),
            await self._quote(self._call_of(HARBOR, OWN_FREEPHONE, calling_number=BOSTON, direction=pb.INBOUND), 25),
        ]
        refilled = await self.credits.SetAutoRefill(credits_pb2.SetAutoRefillRequest(office_id=HARBOR, enabled=False))
        await self._bring_to(SUNRISE, OPENING_MICROS)
        await self._bring_to(
            HARBOR, refilled.refill.threshold_micros + sum(calls) + await self._message_price(HARBOR) // 2
        )
        await self._bring_to(CORNER, await self._quote(self._call_of(CORNER, NEW_YORK), 60))
        await self.credits.SetAutoRefill(credits_pb2.SetAutoRefillRequest(office_id=HARBOR, enabled=True))
        for office_id in (SUNRISE, HARBOR, CORNER):
            office = await self._office(office_id)
            refill = ""
            if office.refill.state == credits_pb2.REFILL_STATE_ARMED:
                refill = (
                    f", refilled with {money(office.refill.amount_micros)} when less than "
                    f"{money(office.refill.threshold_micros)} is available"
                )
            self._screen.say(
                f"  {office_id:8}  {office.name}, {office.country}: {money(office.balance_micros)} "
                f"{office.currency}{refill}"
            )

    async def _bring_to(self, office_id: str, target_micros: int) -> None:
        office = await self._office(office_id)
        self._books.enter(office_id, "brought forward", office.balance_micros)
        missing = target_micros - office.balance_micros
        if missing:
            await self._credit(office_id, missing, "opening balance of the demo")

    async def _end_leftovers(self) -> None:
        """End calls that an earlier demo on the same data directory left talking."""
        async with open_channel(self._settings.listen, self._operator_secret) as channel:
            operator: CallAuthorizationAsyncStub = CallAuthorizationStub(channel)
            for office_id in (SUNRISE, HARBOR, CORNER):
                left = await self.credits.ListCalls(credits_pb2.ListCallsRequest(office_id=office_id))
                for call in left.calls:
                    await operator.EndCall(
                        pb.EndCallRequest(office_id=office_id, call_id=call.call_id, duration_seconds=call.used_seconds)
                    )

    async def _play(self) -> None:
        self._screen.title("One minute of their day")
        self._screen.headings()

        await self._at(1)
        local = await self._authorize(self._call_of(SUNRISE, NEW_YORK), 24)
        await self._at(2)
        london = await self._authorize(self._call_of(SUNRISE, LONDON), 54)
        await self._at(3)
        freephone = await self._authorize(self._call_of(SUNRISE, FREEPHONE), 31)
        await self._at(4)
        await self._answer(london)
        centre = await self._authorize(self._call_of(HARBOR, NEW_YORK, license=pb.CONTACT_CENTER), 40)
        await self._at(6)
        inbound = await self._authorize(
            self._call_of(HARBOR, OWN_FREEPHONE, calling_number=BOSTON, direction=pb.INBOUND), 25
        )
        await self._at(8)
        fax = await self._authorize(self._call_of(SUNRISE, BERLIN, service=pb.FAX), 41)
        await self._at(9)
        unanswered = await self._authorize(self._call_of(SUNRISE, KINGSTON), 0)
        for call in (local, freephone, centre, inbound, fax):
            await self._answer(call, is_shown=False)

        await self._at(12)
        message = self._message_of(SUNRISE, NEW_YORK, segments=2)
        await self._send(message)
        await self._at(13)
        await self._send(message, "the same SMS again: its answer was lost")
        await self._at(14)
        other = pb.AuthorizeMessageRequest()
        other.CopyFrom(message)
        other.called_number = BOSTON
        await self._refused_duplicate(other)
        await self._at(16)
        picture = self._message_of(SUNRISE, BOSTON, kind=pb.MMS)
        await self._send(picture)
        await self._at(17)
        await self._refund(picture)

        await self._at(20)
        winner = await self._race(self._call_of(CORNER, NEW_YORK), self._call_of(CORNER, BOSTON), 38)
        await self._at(22)
        await self._send(self._message_of(CORNER, CARDIFF))
        await self._at(23)
        emergency = await self._authorize(self._call_of(CORNER, "999"), 15)
        await self._at(24)
        near = await self._authorize(self._call_of(CORNER, CARDIFF), 20)
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

    async def _check(self) -> bool:
        self._screen.title("The demo's own books against the gateway's")
        verdicts = []
        for office_id in self._books.offices():
            office = await self._office(office_id)
            verdicts.append(
                self._books.judge(
                    office_id, balance_micros=office.balance_micros, reserved_micros=office.reserved_micros
                )
            )
        self._screen.verdicts(verdicts)
        return all(each.is_right for each in verdicts)

    async def _authorize(self, request: pb.AuthorizeCallRequest, seconds: int) -> _Call:
        """Ask for a call of which is known how long it will last, so that its price is known beforehand."""
        call = _Call(request, await self._quote(request, seconds))
        await self._grant(call, await self.switch.AuthorizeCall(request))
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
        await self._show(call.office_id, f"{label}{what}", f"{_decision(answer)}{granted}", price)

    async def _answer(self, call: _Call, *, is_shown: bool = True) -> None:
        answer = await self.switch.AnswerCall(pb.AnswerCallRequest(office_id=call.office_id, call_id=call.call_id))
        call.granted_seconds = answer.granted_seconds
        if is_shown:
            await self._show(call.office_id, f"{_name(call)}: answered", f"{answer.granted_seconds} s granted", "")

    async def _tick(self, call: _Call, used_seconds: int) -> None:
        answer = await self.switch.TickCall(
            pb.TickCallRequest(office_id=call.office_id, call_id=call.call_id, used_seconds=used_seconds)
        )
        call.granted_seconds = answer.granted_seconds
        await self._show(
            call.office_id,
            f"{_name(call)}: tick after {used_seconds} s",
            f"{answer.granted_seconds} s granted",
            money(answer.debited_micros),
        )

    async def _end(self, call: _Call, seconds: int, what: str = "") -> None:
        answer = await self.switch.EndCall(
            pb.EndCallRequest(office_id=call.office_id, call_id=call.call_id, duration_seconds=seconds)
        )
        self._books.settle(
            call.office_id,
            call.call_id,
            quoted_micros=call.quoted_micros,
            debited_micros=answer.debited_micros,
            missing_micros=answer.written_off_micros,
        )
        await self._show(
            call.office_id,
            f"{_name(call)}: {what or f'ends after {seconds} s'}",
            f"{answer.billed_seconds} s billed",
            money(answer.debited_micros),
        )

    async def _send(self, request: pb.AuthorizeMessageRequest, what: str = "") -> int:
        """Ask for a message; returns what it was debited."""
        quote = await self._quote_message(request)
        answer = await self.switch.AuthorizeMessage(request)
        kind = pb.MessageKind.Name(request.kind)
        segments = f", {request.segments} segments" if request.segments > 1 else ""
        replayed = ", replayed" if answer.replayed else ""
        blocked = ": blocked" if answer.decision == pb.DENIED else ""
        if answer.decision == pb.GRANTED and not answer.replayed:
            self._books.settle(
                request.office_id,
                request.message_id,
                quoted_micros=quote,
                debited_micros=answer.debited_micros,
                missing_micros=0,
            )
        await self._show(
            request.office_id,
            what or f"{kind} to {request.called_number}{segments}{blocked}",
            f"{_decision(answer)}{replayed}",
            money(answer.debited_micros) if not answer.replayed else "",
        )
        return answer.debited_micros

    async def _refused_duplicate(self, request: pb.AuthorizeMessageRequest) -> None:
        try:
            await self.switch.AuthorizeMessage(request)
        except grpc.RpcError as error:
            fault = fault_of(error)
            await self._show(request.office_id, "another message with the same id", f"REFUSED {fault.code}", "")
            if fault.code != "ALREADY_EXISTS":
                raise
        else:
            raise BooksError(f"{request.message_id} was taken for two messages")

    async def _refund(self, request: pb.AuthorizeMessageRequest) -> None:
        answer = await self.switch.RefundMessage(
            pb.RefundMessageRequest(office_id=request.office_id, message_id=request.message_id)
        )
        self._books.enter(request.office_id, f"refund of {request.message_id}", answer.refunded_micros)
        kind = pb.MessageKind.Name(request.kind)
        await self._show(
            request.office_id,
            f"{kind} to {request.called_number}: carrier refuses it",
            "CREDITED back",
            money(-answer.refunded_micros),
        )

    async def _race(self, first: pb.AuthorizeCallRequest, second: pb.AuthorizeCallRequest, seconds: int) -> _Call:
        """Two calls at the same moment, for the funds of one; returns the one that got them."""
        calls = [_Call(request, await self._quote(request, seconds)) for request in (first, second)]
        answers = await asyncio.gather(*(self.switch.AuthorizeCall(call.request) for call in calls))
        for call, answer in zip(calls, answers, strict=True):
            await self._grant(call, answer, "race: ")
        granted = [call for call, answer in zip(calls, answers, strict=True) if answer.decision == pb.GRANTED]
        if len(granted) != 1:
            raise BooksError(f"{len(granted)} of two calls were granted, and there were funds for one")
        await self._answer(granted[0], is_shown=False)
        return granted[0]

    async def _refill(self) -> None:
        """A message takes the office below its threshold; whoever charges cards hears of it, and credits."""
        debiting = self._message_of(HARBOR, NEW_YORK)
        quote = await self._quote_message(debiting)
        answer = await self.switch.AuthorizeMessage(debiting)
        replied = perf_counter()
        self._books.settle(
            HARBOR,
            debiting.message_id,
            quoted_micros=quote,
            debited_micros=answer.debited_micros,
            missing_micros=0,
        )
        await self._show(HARBOR, f"SMS to {debiting.called_number}", _decision(answer), money(answer.debited_micros))
        pending = (await self._office(HARBOR)).refill
        trigger, heard = await self._triggers.of(pending.refill_id)
        delay_ms = (heard - replied) * 1000
        when = f"{delay_ms:.1f} ms after" if delay_ms > 0 else f"{-delay_ms:.1f} ms before"
        await self._show(
            HARBOR,
            f"below {money(trigger.threshold_micros)}: refill of {money(trigger.amount_micros)} is asked for",
            f"TRIGGER {when} the reply",
            "",
        )
        await self._at(36)
        await self._send(self._message_of(HARBOR, BOSTON), "another SMS: one dip, one trigger")
        await self._at(37)
        await self._credit(HARBOR, trigger.amount_micros, "the card was charged", trigger.refill_id)
        office = await self._office(HARBOR)
        state = short_name(credits_pb2.RefillState.Name(office.refill.state), "REFILL_STATE_")
        await self._show(
            HARBOR,
            f"the card was charged: {trigger.refill_id} is closed",
            f"CREDITED, refill {state}",
            money(-trigger.amount_micros),
        )

    async def _credit(self, office_id: str, amount_micros: int, reason: str, refill_id: str = "") -> None:
        await self.credits.AdjustBalance(
            credits_pb2.AdjustBalanceRequest(
                office_id=office_id,
                amount_micros=amount_micros,
                reason=reason,
                idempotency_key=refill_id or self._new_id("credit"),
                refill_id=refill_id,
            )
        )
        self._books.enter(office_id, reason, amount_micros)

    async def _quote(self, request: pb.AuthorizeCallRequest, seconds: int) -> int:
        answer = await self.switch.QuoteCall(
            pb.QuoteCallRequest(
                office_id=request.office_id,
                direction=request.direction,
                calling_number=request.calling_number,
                called_number=request.called_number,
                license=request.license,
                service=request.service,
                duration_seconds=seconds,
            )
        )
        return answer.price_micros

    async def _quote_message(self, request: pb.AuthorizeMessageRequest) -> int:
        answer = await self.switch.QuoteMessage(
            pb.QuoteMessageRequest(
                office_id=request.office_id,
                called_number=request.called_number,
                kind=request.kind,
                segments=request.segments,
            )
        )
        return answer.price_micros

    async def _message_price(self, office_id: str) -> int:
        return await self._quote_message(self._message_of(office_id, NEW_YORK))

    async def _office(self, office_id: str) -> credits_pb2.Office:
        return await self.credits.GetOffice(credits_pb2.GetOfficeRequest(office_id=office_id))

    def _call_of(
        self,
        office_id: str,
        called_number: str,
        *,
        calling_number: str = "",
        direction: pb.Direction.ValueType = pb.OUTBOUND,
        license: pb.License.ValueType = pb.STANDARD,  # noqa: A002 - the contract's word
        service: pb.Service.ValueType = pb.VOICE,
    ) -> pb.AuthorizeCallRequest:
        return pb.AuthorizeCallRequest(
            office_id=office_id,
            call_id=self._new_id("call"),
            direction=direction,
            calling_number=calling_number,
            called_number=called_number,
            license=license,
            service=service,
        )

    def _message_of(
        self,
        office_id: str,
        called_number: str,
        *,
        kind: pb.MessageKind.ValueType = pb.SMS,
        segments: int = 1,
    ) -> pb.AuthorizeMessageRequest:
        return pb.AuthorizeMessageRequest(
            office_id=office_id,
            message_id=self._new_id("message"),
            called_number=called_number,
            kind=kind,
            segments=segments,
        )

    def _new_id(self, what: str) -> str:
        self._ids += 1
        return f"{what}-{self._run}-{self._ids}"

    async def _at(self, second: float) -> None:
        """Go on to a second of the minute."""
        if self._speed is not None:
            await asyncio.sleep((second - self._second) / self._speed)
        self._second = second

    async def _show(self, office_id: str, what: str, answer: str, price: str) -> None:
        office = await self._office(office_id)
        self._screen.event(self._second, office_id, what, answer, price, office.balance_micros, office.available_micros)


@dataclass
class _Triggers:
    """The refill triggers as they come over WatchRefills, with the moment each was heard."""

    _heard: dict[str, asyncio.Future[tuple[credits_pb2.WatchRefillsResponse, float]]] = field(default_factory=dict)

    async def watch(self, credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
        """Listen until cancelled."""
        async for trigger in credits.WatchRefills(credits_pb2.WatchRefillsRequest()):
            heard = perf_counter()
            future = self._future(trigger.refill_id)
            if not future.done():
                future.set_result((trigger, heard))

    async def of(self, refill_id: str) -> tuple[credits_pb2.WatchRefillsResponse, float]:
        """The trigger of a refill, waited for.

        Raises:
            BooksError: It did not come.
        """
        try:
            async with asyncio.timeout(TRIGGER_SECONDS):
                return await asyncio.shield(self._future(refill_id))
        except TimeoutError:
            raise BooksError(f"the trigger of {refill_id or 'no refill'} did not come") from None

    def _future(self, refill_id: str) -> asyncio.Future[tuple[credits_pb2.WatchRefillsResponse, float]]:
        return self._heard.setdefault(refill_id, asyncio.get_running_loop().create_future())


class LastCall:
    """A call that is left talking in real time, for the reader to ask about.

    Use: `async with last_call: ...`. Its switch ticks it as it must; nobody ends it when the gateway stops first.

    Attributes:
        office_id: Who pays.
        call_id: Its id.
        another_number: One that the same office may call meanwhile.
    """

    def __init__(
        self, settings: Settings, secret: str, office_id: str, called_number: str, another_number: str, call_id: str
    ) -> None:
        self.office_id = office_id
        self.call_id = call_id
        self.another_number = another_number
        self._called_number = called_number
        self._settings = settings
        self._secret = secret
        self._talking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self._settings.listen, self._secret)
        switch: CallAuthorizationAsyncStub = CallAuthorizationStub(self._channel)
        await switch.AuthorizeCall(
            pb.AuthorizeCallRequest(
                office_id=self.office_id,
                call_id=self.call_id,
                direction=pb.OUTBOUND,
                called_number=self._called_number,
            )
        )
        await switch.AnswerCall(pb.AnswerCallRequest(office_id=self.office_id, call_id=self.call_id))
        self._talking = asyncio.create_task(self._talk(switch))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._talking is not None:
            self._talking.cancel()
            with suppress(asyncio.CancelledError, grpc.RpcError):
                await self._talking
        await self._channel.close()

    async def _talk(self, switch: "CallAuthorizationAsyncStub") -> None:
        answered = perf_counter()
        while True:
            await asyncio.sleep(_TICK_EVERY_SECONDS)
            used = int(perf_counter() - answered)
            tick = await switch.TickCall(
                pb.TickCallRequest(office_id=self.office_id, call_id=self.call_id, used_seconds=used)
            )
            if tick.ended or used >= tick.granted_seconds - _TICK_EVERY_SECONDS:
                return


def _name(call: _Call) -> str:
    if call.request.direction == pb.INBOUND:
        return f"call from {call.request.calling_number}"
    return f"{'fax' if call.request.service == pb.FAX else 'call'} to {call.request.called_number}"


def _decision(answer: pb.AuthorizeCallResponse | pb.AuthorizeMessageResponse) -> str:
    return f"{pb.Decision.Name(answer.decision)} {pb.Reason.Name(answer.reason)}"
