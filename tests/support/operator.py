"""What an operator does to a running gateway, for tests that drive it from outside."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.address import Address
from gateway.client_channel import open_channel
from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.gateway_process import clean_environment

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

OPERATOR_TOKEN = "the-operator-of-these-tests"
COMPANY = "acme"

_numbers = itertools.count(1)


class Operator:
    """Asks `Credits` for what tests need.

    Args:
        stub: On the gateway's admin address.
    """

    def __init__(self, stub: "CreditsAsyncStub") -> None:
        self.stub = stub

    @classmethod
    @asynccontextmanager
    async def of(cls, admin_server: str, token: str = OPERATOR_TOKEN) -> AsyncIterator["Operator"]:
        """The operator of the gateway at an address."""
        async with open_channel(Address.parse(admin_server), token) as channel:
            yield cls(CreditsStub(channel))

    async def create_office(
        self, balance_micros: int, office_id: str = "", settings: Mapping[str, int] | None = None
    ) -> str:
        """Create an office with a balance; its id."""
        office_id = office_id or f"office-{next(_numbers)}-{time.time_ns()}"
        await self.stub.CreateCompany(pb.CreateCompanyRequest(company_id=COMPANY, name="Acme"))
        request = pb.CreateOfficeRequest(
            office_id=office_id, company_id=COMPANY, name=office_id, country="US", time_zone="America/New_York"
        )
        for name, value in (settings or {}).items():
            setattr(request, name, value)
        await self.stub.CreateOffice(request)
        if balance_micros:
            await self.adjust(office_id, balance_micros)
        return office_id

    async def create_switch_token(self, switch_id: str) -> str:
        """A token for a switch that may use all offices."""
        request = pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id=switch_id)
        return (await self.stub.CreateToken(request)).secret

    async def adjust(self, office_id: str, amount_micros: int) -> None:
        """Put money into an office, or take it out."""
        key = f"{office_id}-{next(_numbers)}-{time.time_ns()}"
        request = pb.AdjustBalanceRequest(
            office_id=office_id, amount_micros=amount_micros, reason="a test", idempotency_key=key
        )
        await self.stub.AdjustBalance(request)

    async def office(self, office_id: str) -> pb.Office:
        """An office as it is."""
        return await self.stub.GetOffice(pb.GetOfficeRequest(office_id=office_id))

    async def balance(self, office_id: str) -> int:
        """Its balance, in micros."""
        return (await self.office(office_id)).balance_micros

    async def live_calls(self, office_id: str) -> list[pb.Call]:
        """The calls that the gateway takes for live, or lapsed and not ended."""
        listed = await self.stub.ListCalls(pb.ListCallsRequest(office_id=office_id, page_size=1000))
        return list(listed.calls)

    async def usage(self, office_id: str) -> list[pb.UsageRecord]:
        """The usage records of this month and of the last, if it has just ended."""
        records: list[pb.UsageRecord] = []
        for month in sorted({time.strftime("%Y-%m", time.gmtime(time.time() - back)) for back in (0, 86_400)}):
            request = pb.ListUsageRequest(office_id=office_id, month=month, page_size=1000)
            records += (await self.stub.ListUsage(request)).records
        return records

    async def wait_usage(self, office_id: str, count: int, limit_seconds: float = 15.0) -> list[pb.UsageRecord]:
        """The usage records, once there are so many that are over.

        Raises:
            AssertionError: There are not in time.
        """
        deadline = time.monotonic() + limit_seconds
        while len(records := await self.usage(office_id)) < count:
            assert time.monotonic() < deadline, f"{len(records)} of {count} usage records: {records}"
            await asyncio.sleep(0.1)
        return records

    async def wait_settled(self, office_id: str, limit_seconds: float = 15.0) -> pb.Office:
        """The office, once nothing of it is reserved.

        Raises:
            AssertionError: Something still is.
        """
        deadline = time.monotonic() + limit_seconds
        while (office := await self.office(office_id)).reserved_micros:
            if time.monotonic() > deadline:
                raise AssertionError(f"{office.reserved_micros} reserved: {await self.live_calls(office_id)}")
            await asyncio.sleep(0.05)
        return office


def assert_audit_is_clean(data_dir: Path, **variables: str) -> None:
    """Ledger, outbox and store agree to the micro.

    Args:
        data_dir: Of the gateway.
        **variables: Its settings, where its store is not the embedded one.

    Raises:
        AssertionError: They do not; with what the audit says.
    """
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "audit", "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**variables),
    )
    assert done.returncode == 0, done.stdout + done.stderr
