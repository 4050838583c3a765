"""`tollgate doctor`: each check both ways, on real stores, databases, ports and files."""

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from gateway.cli.connection import ConnectionFile
from gateway.cli.doctor.examination import examine
from gateway.cli.doctor.findings import Finding, Verdict, worst_of
from gateway.cli.doctor.machine import examine_file_limit, examine_interpreter
from gateway.ledger.migrations import FLOOR
from gateway.store.embedded import EmbeddedStore
from gateway.store.keys import EPOCH_KEY, REBUILD_KEY, SHARDS_KEY, outbox_key
from gateway.store.scripts import load_library
from tests.support.back import running_back
from tests.support.clusters import running_cluster
from tests.support.commands import run_command
from tests.support.gateway_process import LISTENERS, running_gateway
from tests.support.servers import StartStore, StoreServer, free_port, wait_until
from tests.support.tls import Authority

SetEnvironment = Callable[..., None]

# Half a second each, and there are many.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def set_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SetEnvironment:
    """Settings by their names; at first none but free ports, and no gateway of whoever runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith("TOLLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def set_them(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"TOLLGATE_{name.upper()}", str(value))

    set_them(**{name: f"127.0.0.1:{free_port()}" for name in LISTENERS})
    return set_them


@pytest.fixture
def data_dir(tmp_path: Path, set_environment: SetEnvironment) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    set_environment(data_dir=folder)
    return folder


@pytest.fixture
def worked(valkey: StoreServer, data_dir: Path, set_environment: SetEnvironment) -> StoreServer:
    """A store and a database on which a gateway has worked, and ended."""
    set_environment(redis_url=valkey.url)

    async def work() -> None:
        async with running_back(valkey, data_dir) as back:
            await back.open_office(balance=5_000_000)
            await back.journaler.turn()

    asyncio.run(work())
    return valkey


def found(subject: str) -> list[Finding]:
    """What an examination says of a subject."""
    return [each for each in asyncio.run(examine(None, None)) if each.subject == subject]


def bad(subject: str) -> list[Finding]:
    """What it says is not well."""
    return [each for each in found(subject) if each.verdict is not Verdict.OK]


def the_bad(subject: str) -> tuple[Verdict, str]:
    """The one thing that is not well, in a sentence with its cure."""
    (finding,) = bad(subject)
    assert finding.cure
    return finding.verdict, finding.sentence


@pytest.mark.usefixtures("worked", "logging_restored")
def test_the_command_says_it_in_lines_and_in_json(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    outcome = run_command(capsys, "doctor")
    assert (outcome.code, outcome.err) == (1, "")
    lines = outcome.out.splitlines()
    assert f"ok    data        {data_dir} has mode 0700" in lines
    (payments,) = [line for line in lines if " payments " in line]
    assert payments.startswith("warn  payments    cards are not charged")
    assert payments.endswith("  -> for real money set TOLLGATE_PAYMENT_PROVIDER=stripe")
    told = json.loads(run_command(capsys, "doctor", "--json").out)
    assert told["verdict"] == "warn"
    assert len(told["findings"]) == len(lines)
    assert {each["subject"] for each in told["findings"]} == {
        "settings", "python", "files", "data", "store", "database", "payments", "listeners", "public url",
    }  # fmt: skip


@pytest.mark.usefixtures("logging_restored")
def test_settings_that_make_no_sense_are_all_that_is_looked_at(
    capsys: pytest.CaptureFixture[str], set_environment: SetEnvironment
) -> None:
    set_environment(workers="many", store_timeout_ms=0)
    outcome = run_command(capsys, "doctor")
    assert outcome.code == 2
    assert [line.split()[:3] for line in outcome.out.splitlines()] == [
        ["fail", "settings", "TOLLGATE_STORE_TIMEOUT_MS:"],
        ["fail", "settings", "TOLLGATE_WORKERS:"],
    ]


def test_nothing_is_changed_where_nothing_is_yet(data_dir: Path) -> None:
    findings = asyncio.run(examine(None, None))
    assert worst_of(findings) is Verdict.WARN
    # The last two say how this machine was set up.
    expected = {"payments", "public url", "binary", "python"}
    assert {each.subject for each in findings if each.verdict is not Verdict.OK} <= expected
    assert list(data_dir.iterdir()) == []
    data_dir.rmdir()
    assert [each.verdict for each in found("data")] == [Verdict.OK]
    assert not data_dir.exists()


def test_a_file_with_secrets_is_for_its_owner(tmp_path: Path, set_environment: SetEnvironment) -> None:
    file = tmp_path / "tollgate.toml"
    file.write_text('operator_token = "s3cr3t"\nlog_level = "info"\n')
    set_environment(config=file)
    file.chmod(0o640)
    assert bad("settings") == []
    file.chmod(0o644)
    verdict, sentence = the_bad("settings")
    assert verdict is Verdict.FAIL
    assert sentence.endswith(f"every user of the machine can read operator_token  -> chmod o= {file}")
    assert "s3cr3t" not in sentence
    file.write_text('log_level = "info"\n')
    assert bad("settings") == []


def test_more_workers_than_cores(set_environment: SetEnvironment) -> None:
    set_environment(workers=64)
    assert the_bad("settings")[1].startswith("TOLLGATE_WORKERS is 64, and this machine has")


@pytest.mark.parametrize(
    ("prefix", "arguments", "verdict"),
    [
        ("/usr", "'--enable-shared' '--prefix=/usr'", Verdict.OK),
        ("/opt/python", "'--enable-optimizations' '--with-lto'", Verdict.OK),
        ("/opt/python", "'--enable-shared' '--prefix=/opt/python'", Verdict.WARN),
        ("/opt/python", None, Verdict.WARN),
    ],
)
def test_how_python_was_built(
    monkeypatch: pytest.MonkeyPatch, prefix: str, arguments: str | None, verdict: Verdict
) -> None:
    monkeypatch.setattr("sys.base_prefix", prefix)
    monkeypatch.setattr("sysconfig.get_config_var", {"CONFIG_ARGS": arguments}.get)
    (finding,) = examine_interpreter()
    assert finding.verdict is verdict
    assert ("without optimisations" in finding.what, "--enable-optimizations" in finding.cure) == (
        (verdict is Verdict.WARN,) * 2
    )


def test_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1_024, 4_096))
    (finding,) = examine_file_limit(None)
    assert finding.verdict is Verdict.WARN
    assert "this shell may have 1024 files open" in finding.what
    assert "LimitNOFILE" in finding.cure
    ours = ConnectionFile(os.getpid(), *(None,) * 2, "", None)  # type: ignore[arg-type]
    (finding,) = examine_file_limit(ours)
    assert "the gateway may have" in finding.what


def test_a_data_directory_that_is_open_to_others(data_dir: Path) -> None:
    assert bad("data") == []
    data_dir.chmod(0o755)
    verdict, sentence = the_bad("data")
    assert (verdict, sentence.endswith(f"-> chmod 700 {data_dir}")) == (Verdict.FAIL, True)
    (data_dir / "somebody's").touch()
    assert "holds files that are not the gateway's" in the_bad("data")[1]
    data_dir.chmod(0o700)
    assert bad("data") == []


@pytest.mark.parametrize(("share", "verdict"), [(0.05, Verdict.WARN), (0.0001, Verdict.FAIL)])
def test_a_disk_that_fills(data_dir: Path, monkeypatch: pytest.MonkeyPatch, share: float, verdict: Verdict) -> None:
    total = 100 << 30
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(total, 0, int(total * share)))
    assert the_bad("data")[0] is verdict


def test_the_program_of_the_embedded_store(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "runs: " in found("binary")[0].what
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("gateway.store.embedded.binary.packaged_binary", lambda: broken)
    verdict, sentence = the_bad("binary")
    assert verdict is Verdict.FAIL
    assert f"{broken} does not run (exit code 3)" in sentence
    monkeypatch.setattr("gateway.store.embedded.binary.packaged_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "no Valkey for this platform" in the_bad("binary")[1]


def test_an_embedded_store_that_outlived_its_gateway(data_dir: Path) -> None:
    async def scenario() -> list[Finding]:
        store = EmbeddedStore(data_dir)
        await store.start()
        try:
            return await examine(None, None)
        finally:
            await store.stop()

    findings = [each for each in asyncio.run(scenario()) if each.subject == "store"]
    assert worst_of(findings) is Verdict.OK
    assert any("is Valkey" in each.what for each in findings)


def test_a_store_that_is_well(worked: StoreServer) -> None:
    findings = found("store")
    assert [each for each in findings if each.verdict is not Verdict.OK] == []
    told = "\n".join(each.what for each in findings)
    for expected in (
        "noeviction, with its append-only file",
        "takes writes and functions",
        f"has {load_library().name}",
        "100 PINGs",
        "the clock of",
        "it is of epoch 1, as the ledger",
        "the ledger has every outbox entry",
    ):
        assert expected in told


def test_looking_loads_nothing_into_a_store(
    start_store: StartStore, store_engine: str, data_dir: Path, set_environment: SetEnvironment
) -> None:
    server = start_store(store_engine)
    set_environment(redis_url=server.url)
    assert bad("store") == []
    with server.client() as client:
        assert (client.function_list(), client.keys()) == ([], [])


def test_a_store_that_forgets(start_store: StartStore, data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(redis_url=start_store(appendonly="no", maxmemory_policy="allkeys-lru").url)
    eviction, file = bad("store")
    assert eviction.verdict is file.verdict is Verdict.FAIL
    assert "maxmemory-policy is allkeys-lru" in eviction.what
    assert eviction.cure.startswith("CONFIG SET maxmemory-policy noeviction")
    assert file.cure.startswith("CONFIG SET appendonly yes")


def test_a_store_that_is_full_or_waits_for_a_replica(
    start_store: StartStore, data_dir: Path, set_environment: SetEnvironment
) -> None:
    server = start_store()
    set_environment(redis_url=server.url)
    with server.client() as client:
        client.set("ballast", b"x" * (4 << 20))
        client.config_set("maxmemory", 3 << 20)
        full = bad("store")
        assert [each.verdict for each in full] == [Verdict.FAIL] * 2
        assert "% of maxmemory" in full[0].what
        assert "refuses writes (OOM" in full[1].what
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 1)
        waiting = bad("store")
        assert "demands a replica that keeps up and has none" in waiting[0].what
        assert "NOREPLICAS" in waiting[1].what


def test_a_replica_is_no_primary_and_a_primary_tells_of_its_replicas(
    start_store: StartStore, data_dir: Path, set_environment: SetEnvironment
) -> None:
    primary = start_store(min_replicas_to_write="1", repl_diskless_sync_delay="0")
    replica = start_store(replicaof=f"{primary.host} {primary.port}")

    def follows() -> bool:
        with primary.client() as client:
            return bool(client.info("replication").get("min_slaves_good_slaves"))

    assert wait_until(follows)
    set_environment(redis_url=primary.url)
    findings = found("store")
    assert worst_of(findings) is Verdict.OK
    assert any("has 1 replica that keep" in each.what for each in findings)
    set_environment(redis_url=replica.url)
    assert "it is a replica, which takes no writes" in bad("store")[0].what


def test_a_user_without_the_rights(worked: StoreServer, set_environment: SetEnvironment) -> None:
    with worked.client() as client:
        client.acl_setuser("reader", enabled=True, passwords=["+pass"], keys=["*"], categories=["+@read", "+@admin"],
                           commands=["+info", "+ping", "+time", "+auth", "+multi", "+discard"])  # fmt: skip
        try:
            set_environment(redis_url=f"redis://reader:pass@{worked.host}:{worked.port}/0")
            findings = bad("store")
        finally:
            client.acl_deluser("reader")
    assert any("refuses writes (NOPERM" in each.what and ", functions (NOPERM" in each.what for each in findings)
    assert "pass@" not in str(findings)


def test_a_store_that_cannot_write_its_file(
    start_store: StartStore, data_dir: Path, set_environment: SetEnvironment
) -> None:
    server = start_store()
    set_environment(redis_url=server.url)
    with server.client() as client:
        client.config_set("save", "3600 1")
        (server.data_dir / "temp").mkdir()
        # A file is to be renamed to what is a directory.
        (server.data_dir / "dump.rdb").mkdir()
        with pytest.raises(redis.ResponseError):
            client.save()
        client.bgsave()
        assert wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        findings = bad("store")
    assert "cannot write its files (rdb_last_bgsave_status)" in findings[0].what
    assert "MISCONF" in findings[1].what


def test_a_dead_store(data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(redis_url=f"redis://127.0.0.1:{free_port()}")
    verdict, sentence = the_bad("store")
    assert verdict is Verdict.FAIL
    assert "does not answer as a store" in sentence
    set_environment(redis_url=f"redis+sentinel://127.0.0.1:{free_port()}/main")
    assert "no sentinel of" in the_bad("store")[1]


def test_a_store_of_another_kind_of_mind(worked: StoreServer) -> None:
    with worked.client() as client:
        client.set(REBUILD_KEY, 2)
        assert "is being rebuilt from the ledger" in the_bad("store")[1]
        client.delete(REBUILD_KEY)
        client.set(SHARDS_KEY, 32)
        assert "divided into 32 shards and this gateway into 64" in the_bad("store")[1]
        client.set(SHARDS_KEY, 64)
        client.set(EPOCH_KEY, 0)
        assert "it is empty, and the ledger has 1 offices" in the_bad("store")[1]


def test_a_store_from_before_a_rebuild(worked: StoreServer, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "tollgate.db") as database:
        database.execute("UPDATE outbox_position SET epoch = 3")
    database.close()
    assert "The store is of epoch 1, and the ledger has read epoch 3" in the_bad("store")[1]


def test_outboxes_that_nobody_takes(worked: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked.client() as client:
        client.xadd(outbox_key(0), {"kind": "tick"})
    assert any(each.what.startswith("1 outbox entries are not in the ledger") for each in found("store"))
    monkeypatch.setattr("gateway.cli.doctor.store.MANY_ENTRIES", 0)
    assert the_bad("store")[0] is Verdict.WARN


def test_a_slow_store_and_a_far_clock(worked: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.doctor.primary.SLOW_PING_MS", 0.0)
    assert "each decision is such a round trip" in the_bad("store")[1]
    monkeypatch.setattr("gateway.cli.doctor.primary.SLOW_PING_MS", 1e9)

    def shift(seconds: float) -> None:
        """Let this machine's clock be somewhere else."""
        moved = SimpleNamespace(time=lambda: time.time() + seconds, perf_counter=time.perf_counter)
        monkeypatch.setattr("gateway.cli.doctor.primary.time", moved)

    shift(-10)
    verdict, sentence = the_bad("store")
    assert (verdict, "s ahead of this one" in sentence) == (Verdict.WARN, True)
    shift(100)
    verdict, sentence = the_bad("store")
    assert (verdict, "s behind this one" in sentence) == (Verdict.FAIL, True)


@pytest.mark.slow
def test_a_cluster_that_has_lost_a_primary(tmp_path: Path, data_dir: Path, set_environment: SetEnvironment) -> None:
    with running_cluster("valkey", tmp_path / "cluster") as cluster:
        set_environment(redis_url=cluster.url)
        findings = found("store")
        assert worst_of(findings) is Verdict.OK, findings
        assert any("has all slots, on 3 primaries" in each.what for each in findings)
        first = cluster.primaries[0]
        with first.client() as client:
            client.execute_command("CLUSTER DELSLOTS", 0)
        assert wait_until(lambda: any("slots answer" in each.what for each in bad("store")))


def test_a_database_that_is_not_migrated(worked: StoreServer, data_dir: Path) -> None:
    assert bad("database") == []
    revise(data_dir, "0008")
    verdict, sentence = the_bad("database")
    assert verdict is Verdict.WARN
    assert "its tables are at revision 0008, and this version has" in sentence
    assert revision(data_dir) == "0008"


def test_a_database_of_a_newer_version(worked: StoreServer, data_dir: Path) -> None:
    revise(data_dir, "9999")
    verdict, sentence = the_bad("database")
    assert (verdict, "works on them" in sentence) == (Verdict.WARN, True)
    revise(data_dir, "9999", floor=9998)
    verdict, sentence = the_bad("database")
    assert (verdict, "cannot work on" in sentence) == (Verdict.FAIL, True)


def revise(data_dir: Path, version: str, floor: int | None = None) -> None:
    with sqlite3.connect(data_dir / "tollgate.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        if floor is not None:
            database.execute("UPDATE sequence SET value = ? WHERE name = ?", (floor, FLOOR))
    database.close()


def revision(data_dir: Path) -> str:
    with sqlite3.connect(data_dir / "tollgate.db") as database:
        (found_,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    return str(found_)


def test_a_database_that_does_not_answer(data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(database_url=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/tollgate")
    verdict, sentence = the_bad("database")
    assert verdict is Verdict.FAIL
    assert "hunter2" not in sentence
    (data_dir / "tollgate.db").write_bytes(b"somebody's notes" * 100)
    set_environment(database_url=f"sqlite:///{data_dir / 'tollgate.db'}")
    assert the_bad("database")[0] is Verdict.FAIL


@pytest.mark.servers
def test_postgresql(postgres_url: str, data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(database_url=postgres_url)
    findings = found("database")
    assert worst_of(findings) is Verdict.OK, findings
    assert any("its clock is" in each.what for each in findings)


@pytest.mark.servers
def test_postgresql_without_tables(empty_postgres_url: str, data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(database_url=empty_postgres_url)
    assert "it has no tables yet" in the_bad("database")[1]
    assert "it has no tables yet" in the_bad("database")[1]  # It was not made by looking.


@asynccontextmanager
async def http_that_says(status: int, port: int) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


def test_listeners_are_free_or_taken_or_not_serving(data_dir: Path, set_environment: SetEnvironment) -> None:
    assert bad("listeners") == []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        set_environment(metrics_listen=f"127.0.0.1:{other.getsockname()[1]}")
        verdict, sentence = the_bad("listeners")
        assert (verdict, "is taken by another process" in sentence) == (Verdict.FAIL, True)
    port = free_port()
    set_environment(metrics_listen=f"127.0.0.1:{port}")

    async def look(status: int) -> list[Finding]:
        async with http_that_says(status, port):
            return [each for each in await examine(None, None) if each.subject == "listeners"]

    assert any("is not serving" in each.what for each in asyncio.run(look(503)))
    findings = asyncio.run(look(200))
    # Of four listeners one answers, and it is no gateway's of this data directory.
    assert [each.verdict for each in findings] == [Verdict.FAIL] * 3 + [Verdict.OK, Verdict.WARN]


def test_a_listener_for_other_machines(data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(listen=f"0.0.0.0:{free_port()}", metrics_listen=f"0.0.0.0:{free_port()}")
    verdict, sentence = the_bad("listeners")
    assert verdict is Verdict.WARN
    assert "TOLLGATE_LISTEN" in sentence
    assert "does not encrypt" in sentence


@pytest.mark.slow
def test_listeners_that_encrypt_are_asked_so(tmp_path: Path, set_environment: SetEnvironment) -> None:
    files = Authority().write(tmp_path / "own", "gateway.example.com")
    mtls_listen = f"127.0.0.1:{free_port()}"
    given = files.server_flags() | {"tls_client_ca": str(files.ca), "mtls_listen": mtls_listen}
    with running_gateway(tmp_path, **{f"TOLLGATE_{name.upper()}": value for name, value in given.items()}) as gateway:
        set_environment(
            data_dir=gateway.data_dir,
            listen=gateway.server,
            admin_listen=gateway.admin_server,
            http_listen=gateway.http,
            metrics_listen=gateway.metrics,
            **given,
        )
        findings = found("listeners")
    assert [each.verdict for each in findings] == [Verdict.OK] * (len(LISTENERS) + 1), findings
    set_environment(tls_key=tmp_path / "nowhere.pem")
    assert "TOLLGATE_TLS_KEY" in the_bad("settings")[1]


def test_where_browsers_are_sent(data_dir: Path, set_environment: SetEnvironment) -> None:
    assert "which only this machine may reach" in the_bad("public url")[1]
    port = free_port()
    set_environment(public_url=f"http://127.0.0.1:{port}")
    plain, silent = bad("public url")
    assert "is not encrypted" in plain.what
    assert "does not answer from this machine" in silent.what

    async def look(status: int) -> list[Finding]:
        async with http_that_says(status, port):
            return [each for each in await examine(None, None) if each.subject == "public url"]

    assert "leads to a gateway" in asyncio.run(look(200))[-1].what
    assert "answering with 404" in asyncio.run(look(404))[-1].what


def test_amounts_that_cannot_be_charged(data_dir: Path, set_environment: SetEnvironment) -> None:
    set_environment(refill_amount_micros=50_000_001)
    assert any("TOLLGATE_REFILL_AMOUNT_MICROS" in each.what for each in bad("payments"))
