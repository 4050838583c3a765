"""docs/operating/fail-over.md, done: a primary dies, its replica is promoted by the commands that stand there."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.doctor.examination import examine
from gateway.cli.doctor.findings import Finding, Verdict
from tests.support.audits import assert_clean
from tests.support.back import running_back
from tests.support.clusters import kill_server
from tests.support.gateway_process import LISTENERS
from tests.support.servers import StartStore, StoreServer, wait_until

PAGE = Path(__file__).parents[2] / "docs/operating/fail-over.md"
BALANCE, SPENT = 5_000_000, 30_000

pytestmark = pytest.mark.slow


def commands() -> Iterator[list[str]]:
    """What the page says to type on the replica, in its order."""
    section = PAGE.read_text().partition("## A primary with a replica, by hand")[2].partition("\n## ")[0]
    for line in re.findall(r"redis-cli -h REPLICA (.+)", section):
        yield line.split()


def type_in(server: StoreServer, command: list[str]) -> None:
    with server.client() as client:
        assert client.execute_command(*command) in (True, b"OK", "OK"), command


def is_followed(server: StoreServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["connected_slaves"])


def start_replica(start_store: StartStore, primary: StoreServer) -> StoreServer:
    replica = start_store(replicaof=f"{primary.host} {primary.port}")
    assert wait_until(lambda: is_followed(primary))

    def has_all() -> bool:
        with replica.client() as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    assert wait_until(has_all)
    return replica


def test_a_replica_is_promoted_by_hand(
    start_store: StartStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoting, careful = list(commands())[:4], list(commands())[4:]
    assert [each[0] for each in promoting] == ["REPLICAOF", "CONFIG", "CONFIG", "CONFIG"]
    primary = start_store(repl_diskless_sync_delay="0")
    replica = start_replica(start_store, primary)
    with primary.client() as client:
        client.config_set("min-replicas-to-write", 1)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    asyncio.run(work(primary, folder))
    kill_server(primary)

    for command in promoting:
        type_in(replica, command)
    for name in LISTENERS:
        monkeypatch.setenv(f"TOLLGATE_{name.upper()}", "127.0.0.1:0")
    monkeypatch.setenv("TOLLGATE_REDIS_URL", replica.url)
    monkeypatch.setenv("TOLLGATE_DATA_DIR", str(folder))
    assert failures() == []
    asyncio.run(go_on(replica, folder))

    type_in(replica, careful[0])
    (alone,) = (each for each in failures() if "demands a replica" in each.what)
    assert "min-replicas-to-write 0" in alone.cure
    start_replica(start_store, replica)
    assert wait_until(lambda: failures() == [])
    # The servers of tests have no file to write it to.
    assert careful[1:] == [["CONFIG", "REWRITE"]]


def failures() -> list[Finding]:
    return [each for each in asyncio.run(examine(None, None)) if each.verdict is Verdict.FAIL]


async def work(primary: StoreServer, folder: Path) -> None:
    """Spend twice; the ledger knows of the first."""
    async with running_back(primary, folder) as back:
        await back.open_office(balance=BALANCE)
        await back.spend(SPENT, "in the ledger")
        while await back.journaler.turn():
            pass
        await back.spend(SPENT, "in the outbox")
        with primary.client() as client:
            assert client.wait(1, 5_000) == 1


async def go_on(replica: StoreServer, folder: Path) -> None:
    async with running_back(replica, folder, flush=False) as back:
        await assert_clean(back)
        assert (await back.get_office()).balance_micros == BALANCE - 2 * SPENT
        await back.spend(SPENT, "after it")
        while await back.journaler.turn():
            pass
        await assert_clean(back)
