"""docs/operating/upgrade.md: an old and a new version on one store and one database, and calls that live through it."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.address import Address
from gateway.client_channel import open_channel
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.adversity.test_workers import events
from tests.support.gateway_process import GatewayProcess, clean_environment, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.servers import StoreServer, wait_until
from tests.support.versions import NEWER_REVISION, copy_of_this_version, make_newer, make_this_again

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

MINUTE_MICROS = 20_000
"""Of a call to London by the default deck."""

DOLLARS = 1_000_000
LONDON, NEW_YORK = "+442079460958", "+12125550142"

pytestmark = pytest.mark.slow


class Switch:
    """Asks one gateway about the calls of an office."""

    def __init__(self, stub: "CallAuthorizationAsyncStub", office_id: str) -> None:
        self._stub, self._office_id = stub, office_id

    @classmethod
    @asynccontextmanager
    async def of(cls, gateway: GatewayProcess, office_id: str) -> AsyncIterator["Switch"]:
        async with open_channel(Address.parse(gateway.server), OPERATOR_TOKEN) as channel:
            yield cls(CallAuthorizationStub(channel), office_id)

    def _named(self, call_id: str) -> dict[str, Any]:
        return {"office_id": self._office_id, "call_id": call_id}

    async def authorize(self, call_id: str, *, replayed: bool = False) -> None:
        request = pb.AuthorizeCallRequest(
            **self._named(call_id), direction=pb.OUTBOUND, calling_number=NEW_YORK, called_number=LONDON
        )
        answer = await self._stub.AuthorizeCall(request)
        assert (answer.reason, answer.replayed) == (pb.FUNDED, replayed), answer

    async def answer(self, call_id: str) -> None:
        await self._stub.AnswerCall(pb.AnswerCallRequest(**self._named(call_id)))

    async def tick(self, call_id: str, used_seconds: int) -> int:
        answer = await self._stub.TickCall(pb.TickCallRequest(**self._named(call_id), used_seconds=used_seconds))
        return answer.debited_micros

    async def end(self, call_id: str, seconds: int) -> int:
        answer = await self._stub.EndCall(pb.EndCallRequest(**self._named(call_id), duration_seconds=seconds))
        return answer.debited_micros

    async def message(self, message_id: str) -> bool:
        """Send one; whether it was sent before."""
        request = pb.AuthorizeMessageRequest(
            office_id=self._office_id, message_id=message_id, called_number=NEW_YORK, segments=1
        )
        answer = await self._stub.AuthorizeMessage(request)
        assert answer.reason == pb.FUNDED, answer
        return answer.replayed

    async def refund(self, message_id: str) -> int:
        request = pb.RefundMessageRequest(office_id=self._office_id, message_id=message_id)
        return (await self._stub.RefundMessage(request)).refunded_micros


async def hand_over(old: Switch, new: Switch, name: str) -> None:
    """Calls and messages that one begins and the other goes on with; two minutes are paid for."""
    await old.authorize(name)
    await new.authorize(name, replayed=True)
    await new.answer(name)
    assert await old.tick(name, 30) == MINUTE_MICROS
    assert await new.tick(name, 61) == 2 * MINUTE_MICROS
    assert await old.end(name, 90) == 2 * MINUTE_MICROS
    assert await new.end(name, 90) == 2 * MINUTE_MICROS
    assert not await old.message(name)
    assert await new.message(name)
    assert await new.refund(name) > 0


def revision(database: Path) -> str:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(found)


def doctor(gateway: GatewayProcess, **variables: str) -> str:
    """What `tollgate doctor` of this version says of a gateway's database."""
    command = [sys.executable, "-m", "gateway.cli", "doctor", "--data-dir", str(gateway.data_dir)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=clean_environment(**variables)
    )
    return "\n".join(line for line in done.stdout.splitlines() if " database " in line)


def test_calls_live_through_an_upgrade_and_the_way_back(valkey: StoreServer, tmp_path: Path) -> None:
    valkey.flush()
    database = tmp_path / "tollgate.db"
    shared = {
        "TOLLGATE_REDIS_URL": valkey.url,
        "TOLLGATE_DATABASE_URL": f"sqlite:///{database}",
        "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
    }
    first, second = (copy_of_this_version(tmp_path / name) for name in ("first", "second"))
    make_newer(second)

    def of(tree: Path) -> dict[str, str]:
        # What is in the working directory would come before it.
        return {**shared, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}

    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
    with running_gateway(tmp_path / "one", **of(first)) as one:
        before = revision(database)

        async def begin() -> str:
            async with Operator.of(one.admin_server) as operator:
                office_id = await operator.create_office(100 * DOLLARS)
            async with Switch.of(one, office_id) as switch:
                await switch.authorize("from the beginning")
                await switch.answer("from the beginning")
            return office_id

        office_id = asyncio.run(begin())
        with running_gateway(tmp_path / "two", **of(second)) as two:
            assert before != revision(database) == NEWER_REVISION
            with valkey.client() as client:
                assert len(client.function_list("tollgate_*")) == 2

            async def side_by_side() -> None:
                async with Switch.of(one, office_id) as old, Switch.of(two, office_id) as new:
                    await hand_over(old, new, "from the old")
                    await hand_over(new, old, "from the new")
                    assert await new.tick("from the beginning", 61) == 2 * MINUTE_MICROS
                async with Operator.of(one.admin_server) as operator:
                    # The old version writes into tables of the new one.
                    await operator.create_office(DOLLARS)
                    assert len(await operator.live_calls(office_id)) == 1
                    await operator.wait_usage(office_id, 4)

            asyncio.run(side_by_side())
        make_newer(first)
        replace(one, 1)
        asyncio.run(assert_debited(one, office_id, "from the beginning", 121, 3 * MINUTE_MICROS))
        make_this_again(first)
        replace(one, 2)
        (warned,) = events(one, "database_is_newer")
        assert (warned["revision"], warned["this_version_has"]) == (NEWER_REVISION, before)
        assert "works on them" in doctor(one, **shared)

        async def end() -> None:
            async with Switch.of(one, office_id) as switch:
                assert await switch.end("from the beginning", 180) == 3 * MINUTE_MICROS
            async with Operator.of(one.admin_server) as operator:
                await operator.wait_usage(office_id, 5)
                assert await operator.balance(office_id) == 100 * DOLLARS - 7 * MINUTE_MICROS

        asyncio.run(end())
    assert_audit_is_clean(one.data_dir, **shared)


async def assert_debited(gateway: GatewayProcess, office_id: str, call_id: str, seconds: int, micros: int) -> None:
    async with Switch.of(gateway, office_id) as switch:
        assert await switch.tick(call_id, seconds) == micros


def replace(gateway: GatewayProcess, times: int) -> None:
    """Have back and front replaced by what is installed now, as `systemctl reload` does."""
    gateway.process.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: len(events(gateway, "gateway_replaced")) == times, 60), gateway.log.read_text()
