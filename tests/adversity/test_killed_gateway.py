"""kill -9 of a whole gateway, ten times, under load: what was acknowledged is there, and the books are right."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.gateway_process import GatewayProcess, running_gateway

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

TOKEN = "operator-token-of-the-tests"
METADATA = (("authorization", f"Bearer {TOKEN}"),)
OFFICE = "busy"
CREDIT_MICROS = 10**12
KILLS = 10
ANSWERS_BEFORE_A_KILL = 300
IN_FLIGHT = 16
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Books:
    """What was asked, and what was answered: an id whose answer was lost is asked again with the same id."""

    def __init__(self) -> None:
        self.debited: dict[str, int] = {}
        self.unanswered: set[str] = set()
        self._names: Iterator[int] = itertools.count()

    def next_name(self) -> str:
        return self.unanswered.pop() if self.unanswered else f"id-{next(self._names)}"


async def ask(stub: "CallAuthorizationAsyncStub", books: Books, name: str) -> bool:
    """A message, or a call from its authorization to its end; False: no answer, and nobody knows what happened."""
    try:
        if int(name.removeprefix("id-")) % 2:
            message = pb.AuthorizeMessageRequest(
                office_id=OFFICE, message_id=name, called_number="+12125550142", segments=2
            )
            sent = await stub.AuthorizeMessage(message, metadata=METADATA)
            assert sent.reason == pb.FUNDED, sent
            debited = sent.debited_micros
        else:
            call = pb.AuthorizeCallRequest(
                office_id=OFFICE, call_id=name, direction=pb.OUTBOUND, called_number="+442079460958"
            )
            granted = await stub.AuthorizeCall(call, metadata=METADATA)
            # CALL_ENDED: it was the answer to the end that was lost.
            assert granted.reason in (pb.FUNDED, pb.CALL_ENDED), granted
            end = pb.EndCallRequest(office_id=OFFICE, call_id=name, duration_seconds=61)
            debited = (await stub.EndCall(end, metadata=METADATA)).debited_micros
    except grpc.aio.AioRpcError as error:
        if error.code() not in RETRIED:
            raise
        books.unanswered.add(name)
        return False
    # What was answered before must be answered again in the same way.
    assert books.debited.setdefault(name, debited) == debited
    return True


async def load_until_killed(gateway: GatewayProcess, books: Books) -> None:
    async with grpc.aio.insecure_channel(gateway.server) as channel:
        stub = CallAuthorizationStub(channel)
        answers = 0

        async def worker() -> None:
            nonlocal answers
            while gateway.process.poll() is None and await ask(stub, books, books.next_name()):
                answers += 1
                if answers == ANSWERS_BEFORE_A_KILL:
                    gateway.process.kill()

        await asyncio.gather(*[worker() for _ in range(IN_FLIGHT)])
    gateway.process.wait()
    assert answers >= ANSWERS_BEFORE_A_KILL


async def open_office(gateway: GatewayProcess) -> None:
    async with grpc.aio.insecure_channel(gateway.admin_server) as channel:
        stub = CreditsStub(channel)
        company = credits_pb2.CreateCompanyRequest(company_id="acme", name="Acme")
        await stub.CreateCompany(company, metadata=METADATA)
        office = credits_pb2.CreateOfficeRequest(office_id=OFFICE, company_id="acme", name="Busy", country="US")
        await stub.CreateOffice(office, metadata=METADATA)
        adjust = credits_pb2.AdjustBalanceRequest(
            office_id=OFFICE, amount_micros=CREDIT_MICROS, reason="opening balance", idempotency_key="opening"
        )
        await stub.AdjustBalance(adjust, metadata=METADATA)


async def settle(gateway: GatewayProcess, books: Books) -> credits_pb2.Office:
    """Ask again for everything that was ever asked for, then read the balance."""
    async with grpc.aio.insecure_channel(gateway.server) as channel:
        stub = CallAuthorizationStub(channel)
        for name in [*books.unanswered, *books.debited]:
            assert await ask(stub, books, name)
    async with grpc.aio.insecure_channel(gateway.admin_server) as channel:
        office: credits_pb2.Office = await CreditsStub(channel).GetOffice(
            credits_pb2.GetOfficeRequest(office_id=OFFICE), metadata=METADATA
        )
        return office


@pytest.mark.slow
def test_ten_kills_under_load(tmp_path: Path) -> None:
    books = Books()
    stores = set()
    for kill in range(KILLS):
        with running_gateway(tmp_path, TOLLGATE_OPERATOR_TOKEN=TOKEN) as gateway:
            if kill == 0:
                asyncio.run(open_office(gateway))
            stores.add((gateway.data_dir / "store.pid").read_text())
            asyncio.run(load_until_killed(gateway, books))
    with running_gateway(tmp_path, TOLLGATE_OPERATOR_TOKEN=TOKEN) as gateway:
        stores.add((gateway.data_dir / "store.pid").read_text())
        office = asyncio.run(settle(gateway, books))
    assert len(stores) == 1, "one store process outlived all gateways"
    assert len(books.debited) >= KILLS * ANSWERS_BEFORE_A_KILL
    assert office.balance_micros == CREDIT_MICROS - sum(books.debited.values())
    assert (office.reserved_micros, office.concurrent_calls) == (0, 0)
