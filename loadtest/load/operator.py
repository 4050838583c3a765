"""The operator's side of a load: opens offices, with a card where they are refilled, and reads what became of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar

from gateway.cli.demo.buying import small_charge_micros
from gateway.client_channel import open_channel
from gateway.payments.sandbox import FILE_NAME
from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from loadtest.load.gateway import LoadedGateway
from loadtest.load.offices import COMPANY, REFILL_MICROS, Offices
from loadtest.processes import BenchError

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

_AT_ONCE: Final = 8
_CARDS: Final = 9_999

_Item = TypeVar("_Item")


class Operator:
    """Asks Credits for what a load needs.

    Args:
        stub: With an operator's token.
        gateway: The gateway under load.
    """

    def __init__(self, stub: "CreditsAsyncStub", gateway: LoadedGateway) -> None:
        self.stub = stub
        self._gateway = gateway
        self._cards = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def of(cls, gateway: LoadedGateway) -> AsyncIterator[Self]:
        """The operator of a gateway."""
        async with open_channel(gateway.admin_server, gateway.operator_token) as channel:
            yield cls(CreditsStub(channel), gateway)

    @asynccontextmanager
    async def switch_token(self, run_id: str) -> AsyncIterator[str]:
        """A token for the switch that makes the load; revoked when the block ends."""
        made = await self.stub.CreateToken(pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id=f"load-{run_id}"))
        try:
            yield made.secret
        finally:
            await self.stub.RevokeToken(pb.RevokeTokenRequest(token_id=made.token.token_id))

    async def open_offices(self, offices: Offices) -> None:
        """Make them all."""
        await self.stub.CreateCompany(pb.CreateCompanyRequest(company_id=COMPANY, name="Load test"))
        opening = offices.opening_micros()
        refilled = frozenset(offices.refilled)

        async def make(office_id: str) -> None:
            await self._open(office_id, opening[office_id])
            if office_id in refilled:
                await self._refill(office_id)

        await each_of(offices.all(), make)

    async def read(self, office_ids: Iterable[str]) -> dict[str, pb.Office]:
        """The offices as they are now."""
        found = {}

        async def read(office_id: str) -> None:
            found[office_id] = await self.stub.GetOffice(pb.GetOfficeRequest(office_id=office_id))

        await each_of(office_ids, read)
        return found

    async def count_refills(self, office_ids: Iterable[str]) -> dict[str, int]:
        """Office -> how many refills it was credited with."""
        counted = {}

        async def count(office_id: str) -> None:
            request = pb.ListTransactionsRequest(office_id=office_id, page_size=1_000)
            listed = await self.stub.ListTransactions(request)
            counted[office_id] = sum(bool(each.refill_id) for each in listed.transactions)

        await each_of(office_ids, count)
        return counted

    async def _open(self, office_id: str, balance_micros: int) -> None:
        # A card to charge is there on a gateway of our own alone; an invoice is nobody's money until the month is over.
        terms = pb.PAYMENT_TERMS_CARD if self._gateway.is_own else pb.PAYMENT_TERMS_INVOICE
        await self.stub.CreateOffice(
            pb.CreateOfficeRequest(
                office_id=office_id, company_id=COMPANY, name=office_id, country="US", payment_terms=terms
            )
        )
        if balance_micros:
            await self.stub.AdjustBalance(
                pb.AdjustBalanceRequest(
                    office_id=office_id,
                    amount_micros=balance_micros,
                    reason="load test",
                    idempotency_key=f"opening/{office_id}",
                )
            )

    async def _refill(self, office_id: str) -> None:
        await self.stub.SetAutoRefill(
            pb.SetAutoRefillRequest(
                office_id=office_id,
                enabled=True,
                threshold_micros=REFILL_MICROS,
                amount_micros=REFILL_MICROS,
                payment_method_id=await self._card(office_id) if self._gateway.is_own else "",
            )
        )

    async def _card(self, office_id: str) -> str:
        """A card of the sandbox, confirmed as its owner would who reads her statement."""
        token = f"tok_visa_{next(self._cards) % _CARDS + 1}"
        card = await self.stub.AddPaymentMethod(pb.AddPaymentMethodRequest(office_id=office_id, provider_token=token))
        if self._gateway.data_dir is None:
            raise BenchError("the sandbox's statement is in the gateway's data directory, which is not known")
        statement = self._gateway.data_dir / FILE_NAME
        charged_micros = await asyncio.to_thread(small_charge_micros, statement, card.payment_method_id)
        await self.stub.ConfirmPaymentMethod(
            pb.ConfirmPaymentMethodRequest(
                office_id=office_id, payment_method_id=card.payment_method_id, amount_micros=charged_micros
            )
        )
        return card.payment_method_id


async def each_of(items: Iterable[_Item], do: Callable[[_Item], Awaitable[None]]) -> None:
    """Do it to each, some at a time; the first error ends it."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def limited(item: _Item) -> None:
        async with limit:
            await do(item)

    try:
        async with asyncio.TaskGroup() as tasks:
            for item in items:
                tasks.create_task(limited(item))
    except* Exception as group:
        # What the others said meanwhile only hides it.
        raise group.exceptions[0] from None
