"""Several workers on one port, under load: one is killed, all are replaced, and no call fails or is paid for twice."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from gateway.client import Client, FailureHandling, LinkTimes
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.adversity.test_killed_gateway import CREDIT_MICROS, METADATA, OFFICE, TOKEN, open_office
from tests.support.gateway_process import GatewayProcess, running_gateway

WORKERS = 3
CLIENTS = 6
AT_ONCE = 8
CALLS_BETWEEN = 400
PRICE_MICROS = 40_000
"""Of 61 seconds to London by the default deck."""


def events(gateway: GatewayProcess, name: str) -> list[dict[str, Any]]:
    """The log lines of one event, complete ones only."""
    found = []
    for line in gateway.log.read_text().splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] == name:
                found.append(event)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is waited for is said in a log, or counted
            await asyncio.sleep(0.05)


class Load:
    """Switches that place calls until they are told to stop."""

    def __init__(self) -> None:
        self.ended = 0
        self._stopped = False

    async def call_on(self, client: Client, name: str) -> None:
        number = 0
        while not self._stopped:
            call: Any = {"office_id": OFFICE, "call_id": f"{name}-{number}"}
            granted = await client.authorize_call(**call, direction=pb.OUTBOUND, called_number="+442079460958")
            assert granted.reason == pb.FUNDED, granted
            await client.answer_call(**call)
            ended = await client.end_call(**call, duration_seconds=61)
            assert ended.debited_micros == PRICE_MICROS
            self.ended += 1
            number += 1

    async def run(self, gateway: GatewayProcess, disturb: Callable[["Load"], Awaitable[None]], **options: Any) -> None:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client(gateway.server, TOKEN, switch_id=f"sw{number}", **options))
                for number in range(CLIENTS)
            ]
            async with asyncio.TaskGroup() as calling:
                for number, client in enumerate(clients):
                    for line in range(AT_ONCE):
                        calling.create_task(self.call_on(client, f"{number}-{line}"))
                await disturb(self)
                self._stopped = True


async def books_are_right(gateway: GatewayProcess, load: Load) -> None:
    async with grpc.aio.insecure_channel(gateway.admin_server) as channel:
        asked = credits_pb2.GetOfficeRequest(office_id=OFFICE)
        office = await CreditsStub(channel).GetOffice(asked, metadata=METADATA)
    assert office.balance_micros == CREDIT_MICROS - load.ended * PRICE_MICROS
    assert (office.reserved_micros, office.concurrent_calls) == (0, 0)


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path: Path) -> None:
    with running_gateway(tmp_path, "--workers", str(WORKERS), TOLLGATE_OPERATOR_TOKEN=TOKEN) as gateway:

        async def kill_each(load: Load) -> None:
            fronts = [each for each in events(gateway, "child_started") if each["child"].startswith("front-")]
            assert len(fronts) == WORKERS
            for killed, front in enumerate(fronts):
                seen = load.ended
                await until(lambda seen=seen: load.ended > seen + CALLS_BETWEEN)  # type: ignore[misc]
                os.kill(front["pid"], signal.SIGKILL)
                # The others take over at once, and it comes back.
                await until(lambda n=WORKERS + 2 + killed: len(events(gateway, "child_ready")) >= n)  # type: ignore[misc]

        async def play() -> None:
            await open_office(gateway)
            load = Load()
            await load.run(gateway, kill_each, deadline_seconds=10.0)
            await books_are_right(gateway, load)

        asyncio.run(play())


@pytest.mark.slow
def test_all_are_replaced_and_no_call_fails(tmp_path: Path) -> None:
    # Nobody repeats anything here, so a machine that is busy with the starts must not pass for a store that is away.
    settings = {"TOLLGATE_OPERATOR_TOKEN": TOKEN, "TOLLGATE_STORE_TIMEOUT_MS": "10000"}
    with running_gateway(tmp_path, "--workers", str(WORKERS), **settings) as gateway:

        async def replace(load: Load) -> None:
            await until(lambda: load.ended > CALLS_BETWEEN)
            gateway.process.send_signal(signal.SIGUSR1)
            await until(lambda: bool(events(gateway, "gateway_replaced")))
            seen = load.ended
            await until(lambda: load.ended > seen + CALLS_BETWEEN)

        async def play() -> None:
            await open_office(gateway)
            load = Load()
            # Nothing is asked twice: what was sent to a worker that goes is answered by it before. And none is given up
            # for being slow, as a new one may be on a busy machine.
            patient = LinkTimes(stall_seconds=10.0)
            await load.run(
                gateway, replace, deadline_seconds=20.0, times=patient, failure_handling=FailureHandling.TERMINATE
            )
            await books_are_right(gateway, load)

        asyncio.run(play())
        replaced = [each["child"] for each in events(gateway, "child_replaced")]
        assert replaced == ["back", *(f"front-{number + 1}" for number in range(WORKERS)), "journaler"]
        assert [each["exit_code"] for each in events(gateway, "child_replaced")] == [0] * (WORKERS + 2)
