"""A whole gateway of four workers on a Cluster of three primaries, under load, while it is taken apart."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Client
from gateway.store.keys import office_keys
from gateway.store.members import slot_of
from gateway.v1 import authorization_pb2 as pb
from tests.adversity.test_workers import PRICE_MICROS, events, until
from tests.support.clusters import ClusterServers, running_cluster
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean

CREDIT_MICROS = 1_000_000_000
OFFICES = 12
LINES = 24
CALLS_BETWEEN = 150


class Load:
    """Calls and messages of several offices, each to be paid for once."""

    def __init__(self, offices: list[str]) -> None:
        self.spent = dict.fromkeys(offices, 0)
        self.ended = 0
        self._stopped = False

    async def place(self, client: Client, line: int) -> None:
        dice, number = random.Random(line), 0
        while not self._stopped:
            office = dice.choice(list(self.spent))
            of: Any = {"office_id": office, "call_id": f"{line}-{number}"}
            granted = await client.authorize_call(**of, direction=pb.OUTBOUND, called_number="+442079460958")
            assert granted.reason == pb.FUNDED, granted
            await client.answer_call(**of)
            ended = await client.end_call(**of, duration_seconds=61)
            assert ended.debited_micros == PRICE_MICROS
            sent = await client.authorize_message(
                office_id=office, message_id=of["call_id"], called_number="+12175550102", segments=1
            )
            assert sent.reason == pb.FUNDED, sent
            self.spent[office] += PRICE_MICROS + sent.debited_micros
            self.ended += 1
            number += 1

    async def more(self) -> None:
        """Wait until so many calls more have ended."""
        seen = self.ended
        await until(lambda: self.ended > seen + CALLS_BETWEEN)

    def stop(self) -> None:
        self._stopped = True


async def take_apart(gateway: GatewayProcess, cluster: ClusterServers, load: Load) -> None:
    """Kill a worker, move the slots of two offices, kill another worker."""
    fronts = [each for each in events(gateway, "child_started") if each["child"].startswith("front-")]
    await load.more()
    os.kill(fronts[0]["pid"], signal.SIGKILL)
    for office in list(load.spent)[:2]:
        await load.more()
        await asyncio.to_thread(cluster.move, slot_of(office_keys(office).office))
    await load.more()
    os.kill(fronts[1]["pid"], signal.SIGKILL)
    await load.more()


@pytest.mark.slow
def test_nothing_is_lost_or_paid_for_twice(tmp_path: Path) -> None:
    with (
        running_cluster("valkey", tmp_path / "cluster") as cluster,
        running_gateway(
            tmp_path, "--workers", "4", TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN, TOLLGATE_REDIS_URL=cluster.url
        ) as gateway,
    ):
        asyncio.run(play(gateway, cluster))
        assert_audit_is_clean(gateway.data_dir, TOLLGATE_REDIS_URL=cluster.url)


async def play(gateway: GatewayProcess, cluster: ClusterServers) -> None:
    """Place calls while it is taken apart; then each office has paid for what was answered, and nothing is held."""
    async with Operator.of(gateway.admin_server) as operator:
        load = Load([await operator.create_office(CREDIT_MICROS) for _ in range(OFFICES)])
        async with (
            Client(gateway.server, OPERATOR_TOKEN, switch_id="sw", deadline_seconds=20.0) as client,
            asyncio.TaskGroup() as placing,
        ):
            for line in range(LINES):
                placing.create_task(load.place(client, line))
            await take_apart(gateway, cluster, load)
            load.stop()
        for office, spent in load.spent.items():
            assert (await operator.wait_settled(office)).balance_micros == CREDIT_MICROS - spent
