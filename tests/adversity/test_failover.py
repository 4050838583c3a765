"""A primary killed under load, its replica behind: what was not replicated never happened, and nothing else is lost."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import redis

from gateway.store.keys import office_keys
from gateway.store.members import slot_of
from tests.support.clusters import kill_server, running_cluster, running_sentinels
from tests.support.fault_scene import FAULT_SETTINGS, FaultScene
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, assert_audit_is_clean
from tests.support.servers import StoreServer
from tests.support.switch_books import patient_client

pytestmark = pytest.mark.slow

BEHIND_SECONDS = 1.0
"""How long the replica does not follow before its primary dies. Longer, and min-replicas-max-lag stops the primary."""

FILLER_BYTES = 32 << 20
"""More than the kernel keeps for a connection on its both sides."""

RESUMED_WITHIN_SECONDS = 30.0
"""Some five are usual: 2 to 4 until the others agree that it is dead, and one to find the new one."""

Pair: TypeAlias = tuple[StoreServer, StoreServer]
"""A primary and its replica."""


@dataclass(frozen=True)
class Store:
    """A store of one primary or of three, each with a replica.

    Attributes:
        url: As TOLLGATE_REDIS_URL takes it.
        pair_of: Who has an office, while all of them live.
    """

    url: str
    pair_of: Callable[[str], Pair]


@contextmanager
def running(form: str, directory: Path) -> Iterator[Store]:
    """Run a primary behind sentinels, or a cluster."""
    if form == "sentinels":
        with running_sentinels("valkey", directory) as group:
            yield Store(group.url, lambda _: (group.primary, group.replica))
        return
    with running_cluster("valkey", directory, with_replicas=True) as cluster:

        def pair_of(office_id: str) -> Pair:
            primary = cluster.owner_of(slot_of(office_keys(office_id).office))
            return primary, cluster.replicas[cluster.primaries.index(primary)]

        yield Store(cluster.url, pair_of)


@contextmanager
def falling_behind(pair: Pair) -> Iterator[None]:
    """Let the replica stand still while the block runs; what the primary does meanwhile does not leave it.

    The kernel would take the writes of a second, and the replica read them afterwards: it is filled up before.
    """
    primary, replica = pair
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        with primary.client() as client:
            for number in itertools.count():
                with suppress(redis.ResponseError):  # Another primary has the slot of this name.
                    client.set(f"filler-{number}", "")
                    client.set(f"filler-{number}", bytes(FILLER_BYTES))
                    break
        yield
    finally:
        os.kill(replica.pid, signal.SIGCONT)


@pytest.mark.parametrize("form", ["cluster", "sentinels"])
def test_a_promoted_replica_goes_on(tmp_path: Path, form: str) -> None:
    with running(form, tmp_path / "store") as store:
        settings = {"TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN, "TOLLGATE_REDIS_URL": store.url, **FAULT_SETTINGS}
        with running_gateway(tmp_path, **settings) as gateway:
            asyncio.run(play(gateway, store))
            assert_audit_is_clean(gateway.data_dir, TOLLGATE_REDIS_URL=store.url)


async def play(gateway: GatewayProcess, store: Store) -> None:
    """Kill a primary while its replica is behind; then hold the books of the switch against the gateway's."""
    scene = await FaultScene.create(gateway, offices=5)
    # That of the office that is refilled.
    pair = store.pair_of(scene.refilled)
    of_the_primary = {office_id for office_id in scene.office_ids if store.pair_of(office_id) == pair}
    async with patient_client(gateway.server) as client:
        async with scene.books.working(client):
            await scene.books.more(200)
            with falling_behind(pair):
                behind_since = time.monotonic()
                await asyncio.sleep(BEHIND_SECONDS)
                await asyncio.to_thread(kill_server, pair[0])
            killed_at = time.monotonic()
            await scene.books.more(20, of_the_primary)
            resumed_seconds = time.monotonic() - killed_at
        lost = await scene.lost_by(gateway)
        await scene.is_exact(gateway)
    print(f"decided again after {resumed_seconds:.1f} s; {len(lost)} of {len(scene.books.paid)} settled anew")
    assert resumed_seconds < RESUMED_WITHIN_SECONDS
    assert lost, "nothing was lost, so nothing was shown"
    assert {paid.office_id for paid in lost} <= of_the_primary
    assert all(behind_since <= paid.at for paid in lost), "more was lost than what was not replicated"
