"""Which versions may work on which tables: what adds is no obstacle, and nothing else passes for it."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from gateway.ledger import migrations
from gateway.ledger.database import open_database
from gateway.ledger.errors import DatabaseUnusable
from gateway.ledger.migrations import EXPANDS_ONLY, FLOOR, Schema, SchemaState, floor_of
from tests.support.ledger import (
    NOW,
    SQLITE_FILE,
    WHO,
    Ledger,
    credit,
    ledger_of,
    settings,
    sqlite_url,
    with_ledger,
    with_office,
)
from tests.support.migrated import place_migrated
from tests.support.schema_changes import contractions, tables_of

# Indexes by an expression cannot be read back from SQLite; none of them is unique.
pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """To a database without tables."""
    engine = create_engine(f"sqlite:///{tmp_path / 'scratch.db'}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def revisions(connection: Connection) -> list[Any]:
    """The migrations of this version, the oldest first."""
    return list(ScriptDirectory.from_config(migrations.config(connection)).walk_revisions())[::-1]


def is_newer(folder: Path, *, floor: int | None) -> None:
    """Let a newer version have migrated the database."""
    place_migrated(folder / SQLITE_FILE)
    with sqlite3.connect(folder / SQLITE_FILE) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("DELETE FROM sequence WHERE name = ?", (FLOOR,))
        if floor is not None:
            database.execute("INSERT INTO sequence (name, value) VALUES (?, ?)", (FLOOR, floor))
    database.close()


async def opened(folder: Path) -> Schema:
    """Open the database and write to it; how its tables stood."""
    database = await open_database(sqlite_url(folder))
    try:
        await ledger_of(database).companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        assert database.schema is not None
        return database.schema
    finally:
        await database.close()


def test_the_floor_is_written_down_with_the_tables(tmp_path: Path, connection: Connection) -> None:
    place_migrated(tmp_path / SQLITE_FILE)
    found = asyncio.run(opened(tmp_path))
    assert (found.state, found.revision) == (SchemaState.CURRENT, found.newest)
    assert found.floor == floor_of(revisions(connection)) <= int(found.newest)


def test_tables_that_a_newer_version_has_added_to_are_worked_on_and_left_alone(tmp_path: Path) -> None:
    is_newer(tmp_path, floor=9)
    found = asyncio.run(opened(tmp_path))
    assert (found.state, found.revision, found.floor) == (SchemaState.NEWER, "9999", 9)
    assert asyncio.run(opened(tmp_path)).revision == "9999"


@pytest.mark.parametrize("floor", [9998, None])
def test_tables_that_a_newer_version_has_changed_are_refused(tmp_path: Path, floor: int | None) -> None:
    is_newer(tmp_path, floor=floor)
    with pytest.raises(DatabaseUnusable) as caught:
        asyncio.run(opened(tmp_path))
    told = str(caught.value)
    assert "was migrated by a newer Tollgate: it is at revision 9999, which needs a version that has" in told
    assert "docs/operating/upgrade.md" in told
    with sqlite3.connect(tmp_path / SQLITE_FILE) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    database.close()


def test_the_floor_only_rises(connection: Connection) -> None:
    command.upgrade(migrations.config(connection), "0008")
    assert migrations.look_at_schema(connection).state is SchemaState.BEHIND
    connection.execute(text("INSERT INTO sequence (name, value) VALUES (:name, 1)"), {"name": FLOOR})
    floor = floor_of(revisions(connection))
    assert migrations.upgrade(connection).floor == floor
    connection.execute(text("UPDATE sequence SET value = 9998 WHERE name = :name"), {"name": FLOOR})
    assert migrations.upgrade(connection).floor == 9998


def test_a_database_without_tables(connection: Connection) -> None:
    found = migrations.look_at_schema(connection)
    assert (found.state, found.revision, found.floor) == (SchemaState.EMPTY, "", None)


def revision(number: str, **attributes: object) -> Any:
    return SimpleNamespace(revision=number, module=SimpleNamespace(**attributes))


def test_the_floor_is_the_newest_that_does_not_only_add() -> None:
    adds = {EXPANDS_ONLY: True}
    assert floor_of([revision("0001"), revision("0002", **adds), revision("0003"), revision("0004", **adds)]) == 3
    assert floor_of([revision("0001"), revision("0002", **{EXPANDS_ONLY: False})]) == 2


def test_each_migration_that_says_that_it_only_adds_does_only_add(connection: Connection) -> None:
    """Where this fails, set `expands_only = False` in the migration, or let it wait for the next major version."""
    wrong = []
    for each in revisions(connection):
        before = tables_of(connection)
        command.upgrade(migrations.config(connection), each.revision)
        if getattr(each.module, EXPANDS_ONLY, False):
            wrong += [f"{each.revision}: {line}" for line in contractions(before, tables_of(connection))]
    assert wrong == []


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["CREATE TABLE later (name VARCHAR(8) NOT NULL UNIQUE)"], []),
        (["ALTER TABLE thing ADD COLUMN motto VARCHAR(8)"], []),
        (["ALTER TABLE thing ADD COLUMN weight INTEGER NOT NULL DEFAULT 0"], []),
        (["CREATE INDEX ix_name ON thing (name)"], []),
        (["DROP TABLE thing"], ["thing.id is gone", "thing.name is gone", "thing.size is gone"]),
        (["ALTER TABLE thing DROP COLUMN size"], ["thing.size is gone"]),
        (["ALTER TABLE thing RENAME COLUMN size TO length"], ["thing.size is gone"]),
        (["CREATE UNIQUE INDEX ux_name ON thing (name)"], ["thing has a new rule: unique ['name']"]),
        (
            ["DROP TABLE thing", "CREATE TABLE thing (id INTEGER PRIMARY KEY, name VARCHAR(9), size INTEGER NOT NULL)"],
            ["thing.name was VARCHAR(8) and is VARCHAR(9)", "thing.size may no longer be empty"],
        ),
        (
            [
                "DROP TABLE thing",
                "CREATE TABLE thing (id INTEGER PRIMARY KEY, name VARCHAR(8), size INTEGER, age INTEGER NOT NULL)",
            ],
            ["thing.age must be given, which the version before does not know"],
        ),
    ],
)
def test_what_takes_away_is_seen(connection: Connection, statements: list[str], found: list[str]) -> None:
    connection.execute(text("CREATE TABLE thing (id INTEGER PRIMARY KEY, name VARCHAR(8), size INTEGER)"))
    before = tables_of(connection)
    for statement in statements:
        connection.execute(text(statement))
    assert sorted(contractions(before, tables_of(connection))) == found


def test_work_goes_on_while_a_newer_version_adds_columns(ledger_url: str) -> None:
    """PostgreSQL's statements are prepared, with the columns that there were."""

    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        before = await ledger.offices.get("o1")
        newer = await open_database(ledger_url)
        try:
            async with newer.write() as session:
                await session.execute(text("ALTER TABLE office ADD COLUMN motto VARCHAR(64)"))
                await session.execute(text("ALTER TABLE credit ADD COLUMN weight INTEGER NOT NULL DEFAULT 0"))
        finally:
            await newer.close()
        assert await ledger.offices.get("o1") == before
        await ledger.credits.new_credit(credit(), actor=WHO, now_ms=NOW)
        await ledger.offices.create(settings("o2"), actor=WHO, now_ms=NOW)

    with_ledger(ledger_url, scenario)
