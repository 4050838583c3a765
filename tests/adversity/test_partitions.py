"""Networks that part, each side in a namespace: the gateway from its store, and a switch from its gateway."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.v1 import credits_pb2
from tests.adversity.test_clock_jumps import DECK, SECOND_MICROS
from tests.adversity.test_workers import until
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.namespaces import Namespace, namespace
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.plain_switch import PlainSwitch
from tests.support.programs import end_program, running_program
from tests.support.servers import STORE_OPTIONS, server_binary
from tests.support.switch_books import SwitchBooks, patient_client

pytestmark = [pytest.mark.slow, pytest.mark.servers]

OPENING_MICROS = 1_000 * DOLLARS
GRACE_SECONDS = 3
DEADLINE_SECONDS = 1.0
STORE_PORT = 6379
CALL = "far away"


@contextmanager
def running_store_in(space: Namespace, directory: Path) -> Iterator[str]:
    """Run a Valkey in a namespace until the block ends; its URL from here."""
    directory.mkdir()
    command = [str(server_binary("valkey")), "--bind", space.there, "--port", str(STORE_PORT), "--dir", str(directory)]
    for name, value in {**STORE_OPTIONS, "protected-mode": "no"}.items():
        command += [f"--{name}", value]
    with running_program(space.command(*command), directory / "server.log"):
        yield f"redis://{space.there}:{STORE_PORT}/0"


def test_partitions(tmp_path: Path) -> None:
    deck = tmp_path / "deck.csv"
    deck.write_text(DECK)
    with (
        namespace() as of_the_store,
        namespace() as of_the_switch,
        running_store_in(of_the_store, tmp_path / "store") as url,
    ):
        settings = {
            "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "TOLLGATE_REDIS_URL": url,
            "TOLLGATE_RATES": str(deck),
            "TOLLGATE_LIVE_CALLS_SECONDS": "1",
            "TOLLGATE_GRACE_SECONDS": str(GRACE_SECONDS),
        }
        with running_gateway(tmp_path, host=of_the_switch.here, **settings) as gateway:
            asyncio.run(play(gateway, of_the_store, of_the_switch, tmp_path / "switch.log"))
            assert_audit_is_clean(gateway.data_dir, TOLLGATE_REDIS_URL=url)


async def play(gateway: GatewayProcess, of_the_store: Namespace, of_the_switch: Namespace, log: Path) -> None:
    async with Operator.of(gateway.admin_server) as operator, patient_client(gateway.server) as client:
        office_id, remote = await operator.create_office(OPENING_MICROS), await operator.create_office(OPENING_MICROS)
        books = SwitchBooks([office_id])
        async with books.working(client):
            await books.more(30)
            async with PlainSwitch.of(gateway.server, office_id, deadline_seconds=DEADLINE_SECONDS) as plain:
                assert await plain.reasons() == ("EMERGENCY", "FREE", "FUNDED")
                of_the_store.cut()
                # An answer each, within the caller's deadline: one that passes would be DEADLINE_EXCEEDED.
                assert await plain.reasons() == ("EMERGENCY", "FREE", "UNAVAILABLE")
                await until(lambda: gateway.metric("tollgate_store_connected") == 0)
                assert await plain.reasons() == ("EMERGENCY", "FREE", "UNAVAILABLE")
                of_the_store.mend()
                await books.more(30)
                await plain.hang_up()
            await lose_a_switch(gateway, operator, remote, of_the_switch, log)
        assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - books.spent()[office_id]


async def lose_a_switch(
    gateway: GatewayProcess, operator: Operator, office_id: str, space: Namespace, log: Path
) -> None:
    """Its call goes on for the grace, lapses, and is settled by its duration when the switch is back."""
    command = [sys.executable, "-m", "tests.support.remote_switch", gateway.server, office_id, CALL]
    with running_program(space.command(*command), log) as switch:
        await until(lambda: "answered" in log.read_text())
        space.cut()
        cut_at = time.monotonic()
        lapsed = await becomes(operator, office_id, credits_pb2.CALL_STATE_LAPSED)
        assert time.monotonic() - cut_at >= GRACE_SECONDS, "it lapsed before the grace was over"
        assert not lapsed.held_micros
        assert lapsed.debited_micros == SECOND_MICROS * max(1, lapsed.confirmed_seconds)
        space.mend()
        await becomes(operator, office_id, credits_pb2.CALL_STATE_ANSWERED)
        await asyncio.to_thread(end_program, switch)
    told = json.loads((await asyncio.to_thread(log.read_text)).splitlines()[-1])
    assert told["debited_micros"] == SECOND_MICROS * told["talked_seconds"], told
    assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - told["debited_micros"]


async def becomes(
    operator: Operator, office_id: str, state: "credits_pb2.CallState.ValueType", limit_seconds: float = 40.0
) -> credits_pb2.Call:
    """Wait until the call that is far away is in a state; the call as it is then."""
    request = credits_pb2.GetCallRequest(office_id=office_id, call_id=CALL)
    async with asyncio.timeout(limit_seconds):
        while (call := await operator.stub.GetCall(request)).state != state:  # noqa: ASYNC110  # it is asked for
            await asyncio.sleep(0.05)
    return call
