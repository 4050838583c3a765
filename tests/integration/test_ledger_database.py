import asyncio
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from gateway.errors import Unavailable
from gateway.ledger import migrations
from gateway.ledger.database import Database, open_database
from gateway.ledger.errors import DatabaseError, DatabaseUnusable
from gateway.ledger.models import Base, CompanyRow
from tests.support.ledger import NOW, WHO, Ledger, ledger_of, sqlite_url, with_ledger


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def async_url(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")


def refused(url: str) -> str:
    async def run() -> None:
        database = await open_database(url)
        await database.close()

    with pytest.raises(DatabaseUnusable) as caught:
        asyncio.run(run())
    assert isinstance(caught.value, Unavailable)
    return str(caught.value)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without any table, of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_url(request.getfixturevalue("tmp_path"))
    return str(request.getfixturevalue("empty_postgres_url"))


# Two indexes are by an expression, which SQLAlchemy and Alembic read back from PostgreSQL, but not from SQLite.
unread_indexes = pytest.mark.filterwarnings(
    "ignore:Skipped unsupported reflection of expression-based index",
    "ignore:autogenerate skipping metadata-specified expression-based index",
)


@unread_indexes
async def test_the_migrations_lead_from_nothing_to_the_models(empty_url: str) -> None:
    await (await open_database(empty_url)).close()
    engine = create_async_engine(async_url(empty_url))
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.check(migrations.config(sync)))
        tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    await engine.dispose()
    assert set(Base.metadata.tables) <= tables


@unread_indexes
def test_a_difference_between_models_and_migrations_would_be_seen(tmp_path: Path) -> None:
    with_ledger(tmp_path, _nothing)
    engine = create_engine(url_of(tmp_path / "ledger.db"))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE company ADD COLUMN motto VARCHAR(9)"))
        with pytest.raises(Exception, match="motto"):
            command.check(migrations.config(connection))
    engine.dispose()


def test_the_tables_can_be_made_on_postgresql() -> None:
    dialect = PGDialect()  # type: ignore[no-untyped-call]
    for table in Base.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))


def test_money_is_on_the_disk_when_a_commit_returns(tmp_path: Path) -> None:
    async def scenario(ledger: Ledger) -> None:
        async with ledger.database.write() as session:
            pragmas = {
                name: (await session.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        # A writer does its waiting itself, before its transaction begins.
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 0}

    with_ledger(tmp_path, scenario)


def test_several_processes_may_open_a_new_database_at_once(empty_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from gateway.ledger.database import open_database\n"
        "async def run():\n"
        "    database = await open_database(sys.argv[1])\n"
        "    await database.ping()\n"
        "    await database.close()\n"
        "asyncio.run(run())\n"
    )
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, empty_url],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    async def first(ledger: Ledger) -> None:
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)

    async def second(ledger: Ledger) -> None:
        assert (await ledger.companies.get("c1")).name == "Acme"

    with_ledger(tmp_path, first)
    with_ledger(tmp_path, second)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no URL"),
        ("nonsense", "no URL"),
        ("sqlite://", "lost with the process"),
        ("sqlite:///:memory:", "lost with the process"),
        ("sqlite:////no/such/folder/ledger.db", "no directory /no/such/folder"),
        ("oracel://host/name", "needs a driver"),
    ],
)
def test_a_url_that_cannot_be_opened_says_why(url: str, message: str) -> None:
    assert message in refused(url)


def test_a_message_never_shows_a_password(tmp_path: Path) -> None:
    assert "hunter2" not in refused("oracel://me:hunter2@host/name")
    assert "hunter2" not in refused("postgresql+nodriver://me:hunter2@host/name?password=hunter2")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but somebody's notes. " * 100)
    assert "cannot be opened" in refused(url_of(path))
    assert path.read_bytes() == b"not a database, but somebody's notes. " * 100


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def and_then_fail(connection: object) -> None:
        upgrade(connection)  # type: ignore[arg-type]
        raise OSError("the disk is full")

    upgrade = migrations.upgrade
    monkeypatch.setattr(migrations, "upgrade", and_then_fail)
    assert "the disk is full" in refused(url_of(tmp_path / "ledger.db"))
    connection = sqlite3.connect(tmp_path / "ledger.db")
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_a_database_that_is_locked_for_too_long_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.sqlite._BUSY_TIMEOUT_MS", 100)

    async def scenario(ledger: Ledger) -> None:
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            async with ledger.database.read() as session:
                await session.execute(text("SELECT 1"))  # Readers do not wait for writers.
            with pytest.raises(DatabaseError, match="try again") as caught:
                await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
            assert "locked" in str(caught.value.__cause__)
            assert "locked" not in str(caught.value)
        finally:
            other.execute("ROLLBACK")
            other.close()
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)

    with_ledger(tmp_path, scenario)


def test_who_migrates_waits_longer_for_another_who_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ledger(tmp_path, _nothing)
    monkeypatch.setattr("gateway.ledger.sqlite._BUSY_TIMEOUT_MS", 50)

    async def run() -> None:
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            opening = asyncio.create_task(open_database(url_of(tmp_path / "ledger.db")))
            await asyncio.wait([opening], timeout=0.5)
            assert not opening.done()
            other.execute("ROLLBACK")
            database = await opening
        finally:
            other.close()
        async with database.read() as session:
            assert (await session.execute(text("PRAGMA busy_timeout"))).scalar_one() == 50
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError):
            await ledger_of(database).companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        other.close()
        await database.close()

    asyncio.run(run())


def test_a_writer_finds_the_moment_that_a_busy_process_leaves(tmp_path: Path) -> None:
    """As a journaler with a backlog does: it holds the lock nearly all the time, for 60 ms at a time."""
    stop, held = threading.Event(), threading.Event()
    held_times = itertools.count()

    def hold() -> None:
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, timeout=10)
        while not stop.is_set():
            other.execute("BEGIN IMMEDIATE")
            next(held_times)
            held.set()
            stop.wait(0.06)
            other.execute("ROLLBACK")
            stop.wait(0.004)
        other.close()

    async def scenario(ledger: Ledger) -> None:
        holder = threading.Thread(target=hold)
        holder.start()
        try:
            await asyncio.to_thread(held.wait)
            before = next(held_times)
            await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
            # SQLite's own way of waiting would have asked two or three times meanwhile.
            assert next(held_times) - before < 8
        finally:
            stop.set()
            await asyncio.to_thread(holder.join)

    with_ledger(tmp_path, scenario)


def test_a_cancelled_writer_leaves_nothing_behind_and_blocks_nobody(tmp_path: Path) -> None:
    async def scenario(ledger: Ledger) -> None:
        began = asyncio.Event()

        async def never_ends() -> None:
            async with ledger.database.write() as session:
                session.add(CompanyRow(company_id="c1", name="Acme", created_at=NOW))
                await session.flush()
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(never_ends())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await ledger.companies.create("c1", "Other", actor=WHO, now_ms=NOW)).name == "Other"

    with_ledger(tmp_path, scenario)


def test_a_reader_that_is_cancelled_again_and_again_leaves_nothing_that_is_waited_for(tmp_path: Path) -> None:
    """An rpc whose client goes, in a process that ends."""
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT sum(i) FROM n"

    async def scenario(ledger: Ledger) -> None:
        async def read() -> None:
            async with ledger.database.read() as session:
                began.set()
                await session.execute(text(slow))

        before = asyncio.all_tasks()
        for turns in range(12):
            began = asyncio.Event()
            task = asyncio.create_task(read())
            await began.wait()
            await asyncio.sleep(0.001)
            # The first ends the statement, the second falls into the closing of its connection.
            for _ in range(3):
                task.cancel()
                for _ in range(turns):
                    await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(30):
            await asyncio.gather(*(asyncio.all_tasks() - before))

    with_ledger(tmp_path, scenario)


def test_a_connection_whose_user_goes_while_it_is_opened_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread answers to the event loop, which ends after the database is closed."""
    asked, answer = threading.Event(), threading.Event()
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def slowly(path: str, **options: Any) -> sqlite3.Connection:
        asked.set()
        assert answer.wait(10)
        return connect(path, **options)

    async def scenario(ledger: Ledger) -> None:
        async with ledger.database.read() as session:
            await session.execute(text("SELECT 1"))  # The connection that is there is in use.
            monkeypatch.setattr("sqlite3.connect", slowly)
            reader = asyncio.create_task(ledger.database.ping())
            assert await asyncio.to_thread(asked.wait, 10)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        closing = asyncio.create_task(ledger.database.close())
        await asyncio.wait([closing], timeout=0.1)
        assert not closing.done()
        answer.set()
        await closing

    with_ledger(tmp_path, scenario)


def test_two_services_on_one_file_wait_for_each_other(tmp_path: Path) -> None:
    async def scenario(ledger: Ledger) -> None:
        second: Database = await open_database(url_of(tmp_path / "ledger.db"))
        try:
            others = ledger_of(second)
            await asyncio.gather(
                *(
                    (ledger if n % 2 else others).companies.create(f"c{n}", "Acme", actor=WHO, now_ms=NOW)
                    for n in range(40)
                ),
                *(
                    (ledger if n % 2 else others).companies.create("same", "Acme", actor=WHO, now_ms=NOW)
                    for n in range(10)
                ),
            )
        finally:
            await second.close()
        async with ledger.database.read() as session:
            assert (await session.execute(text("SELECT count(*) FROM company"))).scalar_one() == 41
            assert (await session.execute(text("SELECT count(*) FROM audit_log"))).scalar_one() == 41

    with_ledger(tmp_path, scenario)


async def _nothing(ledger: Ledger) -> None:
    await ledger.database.ping()
