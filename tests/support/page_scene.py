"""What a test of a page finds: a whole gateway, and whatever offices, people, cards and calls it asks for."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gateway.address import Address
from gateway.cli.demo.buying import small_charge_micros
from gateway.client_channel import open_channel
from gateway.payments.sandbox import FILE_NAME
from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

LONDON = "+442079460958"
NEW_YORK = "+12125550142"
USER = "ann@example.com"

_numbers = itertools.count(1)


@contextmanager
def gateway_for_pages(directory: Path) -> Iterator[GatewayProcess]:
    """A gateway with the sandbox and a known operator; in the end its books are audited."""
    with running_gateway(directory, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        yield gateway
        assert_audit_is_clean(gateway.data_dir)


class PageScene:
    """Makes what a page is to show; every name that a test does not choose is new.

    Attributes:
        gateway: The gateway; other tests have their offices in it, too.
        operator: Its operator.
    """

    def __init__(self, gateway: GatewayProcess, operator: Operator, switch: "CallAuthorizationAsyncStub") -> None:
        self.gateway = gateway
        self.operator = operator
        self._switch = switch

    @classmethod
    @asynccontextmanager
    async def of(cls, gateway: GatewayProcess, token: str = OPERATOR_TOKEN) -> AsyncIterator[Self]:
        """A scene in a gateway, until the block ends; `token` is of an operator."""
        async with (
            Operator.of(gateway.admin_server, token) as operator,
            open_channel(Address.parse(gateway.server), token) as channel,
        ):
            yield cls(gateway, operator, CallAuthorizationStub(channel))

    @property
    def url(self) -> str:
        """Where browsers find the gateway, without a slash at the end."""
        return f"http://{self.gateway.http}"

    async def create_company(self, name: str = "Acme") -> str:
        """Create a company; its id."""
        company_id = f"company-{next(_numbers)}"
        await self.operator.stub.CreateCompany(pb.CreateCompanyRequest(company_id=company_id, name=name))
        return company_id

    async def create_office(self, company_id: str = "", *, balance_micros: int = 0, **fields: Any) -> str:
        """Create an office; its id.

        Args:
            company_id: Of an existing company; empty: a new one.
            balance_micros: What it begins with.
            **fields: Of CreateOfficeRequest, e.g. payment_terms=pb.PAYMENT_TERMS_INVOICE.
        """
        values: dict[str, Any] = {
            "office_id": f"office-{next(_numbers)}",
            "company_id": company_id or await self.create_company(),
            "name": "Springfield",
            "country": "US",
            "time_zone": "America/New_York",
        }
        office = await self.operator.stub.CreateOffice(pb.CreateOfficeRequest(**(values | fields)))
        if balance_micros:
            await self.operator.adjust(office.office_id, balance_micros)
        return office.office_id

    async def create_full_office(self) -> str:
        """Create an office whose pages have as many rows as they show at a time, in a company of as many; its id."""
        company_id = await self.create_company()
        office_id = await self.create_office(company_id, balance_micros=100 * DOLLARS)
        await asyncio.gather(*(self.create_office(company_id, name=f"Branch {number}") for number in range(50)))
        await self.add_confirmed_card(office_id)
        for _ in range(6):
            await self.operator.adjust(office_id, DOLLARS)
        await asyncio.gather(*(self.place_call(office_id, user_id=f"user-{number}") for number in range(60)))
        await asyncio.gather(*(self.begin_call(office_id, user_id=f"user-{number}") for number in range(51)))
        await self.operator.wait_usage(office_id, 60)
        return office_id

    async def create_token(
        self, role: "pb.Role.ValueType", company_id: str = "", office_ids: Sequence[str] = (), switch_id: str = ""
    ) -> str:
        """Create a token, for the offices of a company or for some of them; its secret."""
        request = pb.CreateTokenRequest(
            role=role, company_id=company_id, office_ids=office_ids, switch_id=switch_id, description="a test"
        )
        return (await self.operator.stub.CreateToken(request)).secret

    async def add_card(self, office_id: str, token: str = "tok_visa") -> pb.PaymentMethod:
        """Add a card, not yet confirmed; docs/reference/sandbox.md lists the tokens."""
        request = pb.AddPaymentMethodRequest(office_id=office_id, provider_token=token)
        return await self.operator.stub.AddPaymentMethod(request)

    async def small_charge_micros(self, payment_method_id: str) -> int:
        """The amount that confirms a card, as its owner reads it on the statement."""
        return await asyncio.to_thread(small_charge_micros, self.gateway.data_dir / FILE_NAME, payment_method_id)

    async def confirm_card(self, office_id: str, payment_method_id: str) -> None:
        """Tell the amount of a card's small charge.

        Raises:
            AssertionError: It was the wrong one.
        """
        amount_micros = await self.small_charge_micros(payment_method_id)
        request = pb.ConfirmPaymentMethodRequest(
            office_id=office_id, payment_method_id=payment_method_id, amount_micros=amount_micros
        )
        assert (await self.operator.stub.ConfirmPaymentMethod(request)).confirmed

    async def add_confirmed_card(self, office_id: str, token: str = "tok_visa") -> str:
        """Add a card that can pay; its id."""
        card_id = (await self.add_card(office_id, token)).payment_method_id
        await self.confirm_card(office_id, card_id)
        return card_id

    async def buy(
        self, office_id: str, amount_micros: int, payment_method_id: str = "", key: str = ""
    ) -> pb.AddCreditsResponse:
        """Buy credits by card, or on the invoice without one; by a key of its own if none is named."""
        request = pb.AddCreditsRequest(
            office_id=office_id,
            amount_micros=amount_micros,
            payment_method_id=payment_method_id,
            idempotency_key=key or f"page-{next(_numbers)}",
        )
        return await self.operator.stub.AddCredits(request)

    async def begin_call(self, office_id: str, called_number: str = LONDON, **fields: Any) -> str:
        """Have a call answered, and leave it live; its id.

        Args:
            office_id: Who pays.
            called_number: Who is called.
            **fields: Of AuthorizeCallRequest, instead of an outbound call of a user in New York.

        Raises:
            AssertionError: It was not granted.
        """
        values: dict[str, Any] = {
            "call_id": f"call-{next(_numbers)}",
            "direction": call_pb.OUTBOUND,
            "calling_number": NEW_YORK,
            "called_number": called_number,
            "user_id": USER,
        }
        request = call_pb.AuthorizeCallRequest(office_id=office_id, **(values | fields))
        answer = await self._switch.AuthorizeCall(request)
        assert answer.decision == call_pb.GRANTED, answer
        await self._switch.AnswerCall(call_pb.AnswerCallRequest(office_id=office_id, call_id=request.call_id))
        return request.call_id

    async def tick_call(self, office_id: str, call_id: str, used_seconds: int) -> call_pb.TickCallResponse:
        """Have a live call be talked in for so long; no time passes."""
        request = call_pb.TickCallRequest(office_id=office_id, call_id=call_id, used_seconds=used_seconds)
        return await self._switch.TickCall(request)

    async def end_call(self, office_id: str, call_id: str, talk_seconds: int) -> call_pb.EndCallResponse:
        """End a call that lasted so long; no time passes."""
        request = call_pb.EndCallRequest(office_id=office_id, call_id=call_id, duration_seconds=talk_seconds)
        return await self._switch.EndCall(request)

    async def place_call(
        self, office_id: str, called_number: str = LONDON, talk_seconds: int = 60, **fields: Any
    ) -> call_pb.EndCallResponse:
        """A call from its beginning to its end; as `begin_call` and `end_call`."""
        call_id = await self.begin_call(office_id, called_number, **fields)
        return await self.end_call(office_id, call_id, talk_seconds)

    async def send_message(
        self, office_id: str, called_number: str = NEW_YORK, segments: int = 1, **fields: Any
    ) -> call_pb.AuthorizeMessageResponse:
        """Send a message, or have it blocked; `fields` are of AuthorizeMessageRequest."""
        values: dict[str, Any] = {"message_id": f"message-{next(_numbers)}", "user_id": USER}
        request = call_pb.AuthorizeMessageRequest(
            office_id=office_id, called_number=called_number, segments=segments, **(values | fields)
        )
        return await self._switch.AuthorizeMessage(request)
