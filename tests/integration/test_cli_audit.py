"""`tollgate audit` and `tollgate rebuild`, on a store elsewhere and on the embedded one."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway.cli.errors import EXIT_FAILED, EXIT_UNAVAILABLE
from gateway.store.embedded.directory import GATEWAY_LOCK, STORE_LOCK, try_lock
from gateway.store.keys import office_keys
from tests.support.back import OFFICE, running_back
from tests.support.commands import run_command
from tests.support.servers import StoreServer, free_port

pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture
def data_dir(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data directory of a gateway that has worked on the store of `valkey`, and ended."""
    for name in ("CONFIG", "DATA_DIR", "DATABASE_URL"):
        monkeypatch.delenv(f"TOLLGATE_{name}", raising=False)
    monkeypatch.setenv("TOLLGATE_REDIS_URL", valkey.url)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)

    async def work() -> None:
        async with running_back(valkey, folder) as back:
            await back.open_office(balance=5_000_000)
            await back.spend(30_000)
            await back.journaler.turn()
            await back.spend(20_000, "in the outbox")

    asyncio.run(work())
    return str(folder)


def test_they_agree(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "audit", "--data-dir", data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "offices          1",
        "live calls       0",
        "usage records    1",
        "outbox entries   1 not in the ledger yet",
        "credits to come  0 (0.00)",
        "newest entry     2025-06-16 12:00:00Z",
        "ledger, outbox and store agree",
    ]
    told = json.loads(run_command(capsys, "audit", "--json", "--office", OFFICE, "--data-dir", data_dir).out)
    assert (told["is_clean"], told["differences"], told["credits_to_come_micros"]) == (True, [], "0")


def test_they_differ(valkey: StoreServer, data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with valkey.client() as client:
        client.delete(office_keys(OFFICE).office)
        client.set(office_keys("stranger").office, b"x")
    outcome = run_command(capsys, "audit", "--data-dir", data_dir)
    assert outcome.code == EXIT_FAILED
    first = f"OFFICE_MISSING {OFFICE}: offices in SQL 1, in the store 0 (-1)"
    assert outcome.out.splitlines()[-1] == f"first difference: {first}"
    assert outcome.err == "error: 2 differences; docs/operating/audit-and-rebuild.md says what helps\n"
    outcome = run_command(capsys, "audit", "--all", "--data-dir", data_dir)
    assert outcome.out.splitlines()[-2:] == [
        first,
        "OFFICE_UNKNOWN stranger: offices in SQL 0, in store or book 1 (+1)",
    ]
    told = json.loads(run_command(capsys, "audit", "--json", "--data-dir", data_dir).out)
    assert (told["is_clean"], told["difference_count"]) == (False, 2)
    assert told["differences"][0] == {
        "check": "OFFICE_MISSING",
        "office_id": OFFICE,
        "subject": "",
        "is_money": False,
        "expected": {"source": "offices in SQL", "value": "1"},
        "found": {"source": "in the store", "value": "0"},
        "difference": "-1",
    }


def test_a_lost_store_is_rebuilt_once(valkey: StoreServer, data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "rebuild", "--data-dir", data_dir)
    assert (outcome.code, outcome.out) == (EXIT_FAILED, "")
    assert "This store is not empty" in outcome.err
    assert "STORE_IN_USE" in outcome.err
    valkey.flush()
    outcome = run_command(capsys, "rebuild", "--data-dir", data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.value("offices") == "1, balances 4.97 in all"
    assert outcome.value("epoch") == "2"
    assert "knows everything up to 2025-06-16 12:00:00Z" in outcome.out
    assert run_command(capsys, "audit", "--data-dir", data_dir).code == 0
    assert run_command(capsys, "rebuild", "--data-dir", data_dir).code == EXIT_FAILED
    valkey.flush()
    told = json.loads(run_command(capsys, "rebuild", "--json", "--data-dir", data_dir).out)
    assert (told["epoch"], told["offices"], told["balance_micros"], told["went_on"]) == (3, 1, "4970000", False)


def test_an_embedded_store_is_started_and_ended(
    data_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOLLGATE_REDIS_URL")
    assert run_command(capsys, "rebuild", "--data-dir", data_dir).value("offices") == "1, balances 4.97 in all"
    assert run_command(capsys, "audit", "--data-dir", data_dir).code == 0
    for name in (GATEWAY_LOCK, STORE_LOCK):
        lock = try_lock(Path(data_dir) / name)
        assert lock is not None, f"{name} is held"
        os.close(lock)


@pytest.mark.parametrize("command", ["audit", "rebuild"])
def test_what_is_not_there(
    data_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    outcome = run_command(capsys, command, "--data-dir", str(tmp_path / "nowhere"))
    assert (outcome.code, outcome.out) == (EXIT_FAILED, "")
    assert "there is no database" in outcome.err
    monkeypatch.setattr("gateway.cli.installation._CONNECT_SECONDS", 0.2)
    monkeypatch.setenv("TOLLGATE_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    outcome = run_command(capsys, command, "--data-dir", data_dir)
    assert (outcome.code, outcome.out) == (EXIT_UNAVAILABLE, "")
    assert outcome.err.startswith("error: the store does not answer: 127.0.0.1:")
    monkeypatch.setenv("TOLLGATE_REDIS_URL", "mysql://127.0.0.1")
    assert "TOLLGATE_REDIS_URL" in run_command(capsys, command, "--data-dir", data_dir).err


def test_an_office_that_is_none(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "audit", "--office", "nobody", "--data-dir", data_dir)
    assert outcome.code == EXIT_FAILED
    assert "OFFICE_NOT_FOUND" in outcome.err
