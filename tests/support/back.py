"""Back and journaler within the test's own process: real gRPC, a real store, SQLite, a clock that tests move.

Their loops do not run by themselves: a test takes their turns.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.back import Back, open_back
from gateway.background.journaler import Journaler
from gateway.domain.vocabulary import Role
from gateway.journaler import make_journaler
from gateway.ledger.audit import Change
from gateway.ledger.paging import PageRequest
from gateway.settings import Settings, load_settings
from gateway.store.balances import BalanceStore
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.balances import NOON, PATIENT_SECONDS, ManualClock, Till
from tests.support.ledger import Ledger, ledger_of
from tests.support.migrated import place_migrated
from tests.support.servers import StoreServer

OPERATOR: Final = "operator-token-of-the-tests"
COMPANY, OFFICE = "acme", "springfield"

HEADER: Final = (
    "tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,"
    "connect_fee,tick_seconds,description\n"
)
DECK: Final = HEADER + (
    ",VOICE,OUTBOUND,STANDARD,,,LOCAL,,,,,,,local\n"
    ",VOICE,OUTBOUND,,,44,,0,0.12,60,60,0.20,60,United Kingdom\n"
    ",SMS,,,,,,,0.03,,,,,SMS\n"
)


@dataclass
class Refusal:
    """How a request was refused: what a client can see of it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: list[tuple[str, str]]


@dataclass
class BackUnderTest:
    """A back with what a test needs beside it; the stub's types would be too strict for bad input."""

    back: Back
    stub: Any
    channel: grpc.aio.Channel
    clock: ManualClock
    ledger: Ledger
    settings: Settings
    till: Till
    journaler: Journaler

    @property
    def store(self) -> BalanceStore:
        return self.back.store

    async def open_office(
        self, office_id: str = OFFICE, *, company_id: str = COMPANY, balance: int = 0, **settings: Any
    ) -> pb.Office:
        """Make an office, its company too, and give it money."""
        await self.stub.CreateCompany(pb.CreateCompanyRequest(company_id=company_id, name="Acme"), metadata=bearer())
        made: pb.Office = await self.stub.CreateOffice(office(office_id, company_id, **settings), metadata=bearer())
        if balance:
            await self.adjust(balance, f"opening {office_id}", office_id=office_id)
        return made

    async def adjust(
        self, amount: int, key: str, *, office_id: str = OFFICE, refill_id: str = "", reason: str = "a gift"
    ) -> pb.AdjustBalanceResponse:
        request = pb.AdjustBalanceRequest(
            office_id=office_id, amount_micros=amount, reason=reason, idempotency_key=key, refill_id=refill_id
        )
        response: pb.AdjustBalanceResponse = await self.stub.AdjustBalance(request, metadata=bearer())
        return response

    async def get_office(self, office_id: str = OFFICE) -> pb.Office:
        found: pb.Office = await self.stub.GetOffice(pb.GetOfficeRequest(office_id=office_id), metadata=bearer())
        return found

    async def refill(self, office_id: str = OFFICE, **settings: Any) -> pb.Office:
        request = pb.SetAutoRefillRequest(office_id=office_id, enabled=True, **settings)
        changed: pb.Office = await self.stub.SetAutoRefill(request, metadata=bearer())
        return changed

    async def token(self, role: Role, company_id: str = COMPANY, *office_ids: str, **others: Any) -> str:
        """The secret of a new token."""
        request = pb.CreateTokenRequest(role=int(role), company_id=company_id, office_ids=office_ids, **others)  # type: ignore[arg-type]
        made = await self.stub.CreateToken(request, metadata=bearer())
        await self.back.directory.refresh()
        return str(made.secret)

    async def spend(self, amount: int, message_id: str = "m", *, office_id: str = OFFICE) -> None:
        """A message of this price."""
        sent = await self.till.message(
            amount, message_id, office_id=office_id, version=(await self.till.office(office_id)).settings.version
        )
        assert sent.code is Code.FUNDED

    async def audit(self, target: str) -> list[Change]:
        """What the audit log says of a target, oldest first."""
        return list(reversed((await self.ledger.audit.list(PageRequest(1_000), target)).items))

    async def store_is_as_credits_say(self, office_id: str = OFFICE) -> None:
        """The store holds every credit of SQL and SQL knows it; without calls the balance is their sum."""
        total = await self.ledger.credits.total(office_id)
        record = await self.till.office(office_id)
        assert total.unconfirmed == 0
        assert (record.balance_micros, record.credit_number) == (total.applied_micros, total.last_number)


def bearer(secret: str = OPERATOR) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a token."""
    return (("authorization", f"Bearer {secret}"),)


def office(office_id: str = OFFICE, company_id: str = COMPANY, **settings: Any) -> pb.CreateOfficeRequest:
    """A request for an office with sound fields, some of them replaced."""
    fields = {"office_id": office_id, "company_id": company_id, "name": "Springfield", "country": "US"} | settings
    return pb.CreateOfficeRequest(**fields)


async def refusal(answer: Awaitable[object]) -> Refusal:
    """The refusal that a request must meet."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return refusal_of(caught.value)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Read what a status says."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    status = Status.FromString(details)
    assert status.message == error.details()
    info, bad_request = ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    assert info.domain == "tollgate"
    violations = [(each.field, each.description) for each in bad_request.field_violations]
    return Refusal(error.code(), error.details() or "", info.reason, dict(info.metadata), violations)


async def end_of(stream: Any) -> Refusal:
    """How a stream ends, whatever comes before."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError("the stream ended well")


async def refused(code: grpc.StatusCode, reason: str, answer: Awaitable[object]) -> Refusal:
    """A refusal with this code and reason."""
    found = await refusal(answer)
    assert (found.code, found.reason) == (code, reason), found
    return found


async def invalid(field: str, answer: Awaitable[object]) -> Refusal:
    """A refusal that names this field."""
    found = await refusal(answer)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT, found
    assert found.metadata["field"] == field, found
    assert found.message.startswith(f"{field}: "), found
    assert found.violations[0][0].startswith(field), found
    return found


class Fault:
    """Makes one call of an operation of the store fail as if no answer came, before or after it was done."""

    def __init__(self, of: object, operation: str, *, done: bool, error: Exception | None = None) -> None:
        self._of = of
        self._operation = operation
        self._original: Callable[..., Coroutine[Any, Any, object]] = getattr(of, operation)
        self._done = done
        self._error = error or StoreUnavailable("the test says so")
        self.has_struck = False
        setattr(of, operation, self._fail)

    async def _fail(self, *arguments: object, **named: object) -> object:
        setattr(self._of, self._operation, self._original)
        self.has_struck = True
        if self._done:
            await self._original(*arguments, **named)
        raise self._error


@asynccontextmanager
async def running_back(
    server: StoreServer, folder: Path, *, flush: bool = True, clock: ManualClock | None = None, **flags: Any
) -> AsyncIterator[BackUnderTest]:
    """Start a back on a store and a folder; the same folder again finds the same ledger.

    Args:
        server: The store.
        folder: For SQLite and the deck.
        flush: Empty the store first.
        clock: The time; a new one at noon if None.
        **flags: Settings.
    """
    if flush:
        server.flush()
    if "database_url" not in flags:
        place_migrated(folder / "tollgate.db")
    deck = folder / "deck.csv"
    if not deck.exists():
        deck.write_text(DECK)
    values: dict[str, object] = {
        "redis_url": server.url,
        "data_dir": folder,
        "rates": deck,
        "admin_listen": "127.0.0.1:0",
        "operator_token": OPERATOR,
        "store_timeout_ms": int(PATIENT_SECONDS * 1000),
    }
    settings = load_settings(**values | flags)
    clock = clock or ManualClock(NOON)
    async with AsyncExitStack() as stack:
        back = await open_back(settings, stack, clock=clock)
        assert await back.prepare(asyncio.Event())
        service = back.make_service()
        await service.server.start()
        stack.push_async_callback(service.server.stop, None)
        stack.callback(back.runner.end_streams)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{service.port}"))
        stub: Any = CreditsStub(channel)
        till = Till(back.connection, clock, back.lifetimes)
        journaler = make_journaler(settings, back.database, back.connection, back.store, back.hear, clock, back._tracer)
        stack.push_async_callback(journaler.close)
        yield BackUnderTest(back, stub, channel, clock, ledger_of(back.database), settings, till, journaler)
