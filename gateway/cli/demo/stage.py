"""What all acts play on: the gateway's services, the demo's books, the screen, and asking what they all ask."""

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from gateway.cli.demo.books import Books
from gateway.cli.demo.screen import Screen
from gateway.cli.demo.triggers import Triggers
from gateway.cli.output import money
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2

if TYPE_CHECKING:
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub


class Stage:
    """The gateway as the acts see it.

    Amounts are never written in the acts: what an office needs for a scene is worked out from the gateway's quotes.

    Attributes:
        credits: For an operator.
        admin: For the admin of the offices, who may buy and turn refill on, and set no balance.
        switch: For a switch that asks by unary calls.
        screen: Where it is told.
        books: The demo's own.
        triggers: Of refills, as they come.
        cards: What each office pays with, once its admin has confirmed it.
        run: Tells the ids of this demo from those of an earlier one on the same data.
    """

    def __init__(
        self,
        credits: "CreditsAsyncStub",  # noqa: A002 - the contract's word
        admin: "CreditsAsyncStub",
        switch: "CallAuthorizationAsyncStub",
        screen: Screen,
        triggers: Triggers,
        run: str,
    ) -> None:
        self.credits: Final = credits
        self.admin: Final = admin
        self.switch: Final = switch
        self.screen: Final = screen
        self.books: Final = Books()
        self.triggers: Final = triggers
        self.cards: Final[dict[str, credits_pb2.PaymentMethod]] = {}
        self.run: Final = run
        self._ids = 0

    async def office(self, office_id: str) -> credits_pb2.Office:
        """An office as it is now."""
        return await self.credits.GetOffice(credits_pb2.GetOfficeRequest(office_id=office_id))

    async def show(self, moment: str, office_id: str, what: str, answer: str, price: str) -> None:
        """Print an event beside the balance that the office has after it."""
        office = await self.office(office_id)
        self.screen.event(moment, office_id, what, answer, price, office.balance_micros, office.available_micros)

    def introduce(self, office: credits_pb2.Office) -> None:
        """Print what an office has, and when it is refilled."""
        refill = ""
        if office.refill.state == credits_pb2.REFILL_STATE_ARMED:
            refill = (
                f", refilled by its card with {money(office.refill.amount_micros)} when less than "
                f"{money(office.refill.threshold_micros)} is available"
            )
        self.screen.say(
            f"  {office.office_id:8}  {office.name}, {office.country}: {money(office.balance_micros)} "
            f"{office.currency}{refill}"
        )

    async def bring_to(self, office_id: str, target_micros: int) -> None:
        """Give an office what it lacks of a balance, or take what it has beyond it."""
        missing = target_micros - (await self.office(office_id)).balance_micros
        if missing:
            reason = "opening balance of the demo"
            await self.credits.AdjustBalance(
                credits_pb2.AdjustBalanceRequest(
                    office_id=office_id,
                    amount_micros=missing,
                    reason=reason,
                    idempotency_key=self.new_id("credit"),
                )
            )
            self.books.enter(office_id, reason, missing)

    async def set_refill(self, office_id: str, *, threshold_micros: int = 0) -> credits_pb2.Office:
        """Have an office refilled by its card, as its admin may; 0: below the threshold by default."""
        return await self.admin.SetAutoRefill(
            credits_pb2.SetAutoRefillRequest(
                office_id=office_id,
                enabled=True,
                threshold_micros=threshold_micros,
                payment_method_id=self.cards[office_id].payment_method_id,
            )
        )

    async def set_no_refill(self, office_id: str) -> credits_pb2.Office:
        """Have an office not refilled; what it then answers has the threshold by default."""
        return await self.admin.SetAutoRefill(credits_pb2.SetAutoRefillRequest(office_id=office_id, enabled=False))

    async def quote(self, request: pb.AuthorizeCallRequest, seconds: int) -> int:
        """What a call of so many seconds would cost, in micros."""
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

    async def quote_message(self, request: pb.AuthorizeMessageRequest) -> int:
        """What a message would cost, in micros."""
        answer = await self.switch.QuoteMessage(
            pb.QuoteMessageRequest(
                office_id=request.office_id,
                called_number=request.called_number,
                kind=request.kind,
                segments=request.segments,
            )
        )
        return answer.price_micros

    def call_of(
        self,
        office_id: str,
        called_number: str,
        *,
        calling_number: str = "",
        direction: pb.Direction.ValueType = pb.OUTBOUND,
        license: pb.License.ValueType = pb.STANDARD,  # noqa: A002 - the contract's word
        service: pb.Service.ValueType = pb.VOICE,
    ) -> pb.AuthorizeCallRequest:
        """A call that is to be asked for, with an id of its own."""
        return pb.AuthorizeCallRequest(
            office_id=office_id,
            call_id=self.new_id("call"),
            direction=direction,
            calling_number=calling_number,
            called_number=called_number,
            license=license,
            service=service,
        )

    def message_of(
        self,
        office_id: str,
        called_number: str,
        *,
        kind: pb.MessageKind.ValueType = pb.SMS,
        segments: int = 1,
    ) -> pb.AuthorizeMessageRequest:
        """A message that is to be asked for, with an id of its own."""
        return pb.AuthorizeMessageRequest(
            office_id=office_id,
            message_id=self.new_id("message"),
            called_number=called_number,
            kind=kind,
            segments=segments,
        )

    def new_id(self, what: str) -> str:
        """An id that nobody had before."""
        self._ids += 1
        return f"{what}-{self.run}-{self._ids}"


def new_run() -> str:
    """What tells the ids of one demo from those of another."""
    return uuid4().hex[:6]
