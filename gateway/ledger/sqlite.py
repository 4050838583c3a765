"""SQLite's connections: how they are set up, and that each is opened and closed to its end."""

import asyncio
import sqlite3
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util.concurrency import await_, greenlet_spawn, in_greenlet

from gateway.ledger.errors import DatabaseUnusable

T = TypeVar("T")

READS = "tollgate_reads"
"""Execution option of a connection whose transactions only read."""

MIGRATES = "tollgate_migrates"
"""Execution option of a connection that makes or migrates the tables: it waits longer for others who do."""

_BUSY_TIMEOUT_MS = 5_000
_MIGRATION_TIMEOUT_MS = 60_000
_AGAIN_SECONDS = 0.002
"""SQLite's own way of waiting for another process asks only ten times a second in the end. The journaler, when it has
much to write, leaves the lock for a few milliseconds at a time: whoever waits is to find that."""

_PATIENCE = "tollgate_busy_timeout"


class SqliteConnections:
    """The connections of one engine.

    Each has a thread of the driver, which answers to the event loop. An rpc whose client goes is cancelled, and so is
    what it waits for; a connection that were left in the middle of its opening or closing would keep a thread that
    nobody waits for, and that finds the loop gone when the process ends. SQLAlchemy moreover stops one that it is
    closing a second time, by force, after which the closing waits for a thread that has ended, for ever. So both run
    as tasks to their end, however often who asked for them is cancelled, and `finish` waits for them.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._terminate_by_force = engine.dialect.do_terminate
        engine.dialect.do_terminate = self._terminate  # type: ignore[assignment, method-assign]
        event.listen(engine.sync_engine, "do_connect", self._connect)
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "begin", _begin)

    async def finish(self) -> None:
        """Wait for what is still being opened or closed; the engine is disposed of."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    def _connect(self, dialect: Dialect, _record: object, args: Any, options: Any) -> DBAPIConnection:
        opening = self._task(greenlet_spawn(dialect.connect, *args, **options))
        try:
            return await_(asyncio.shield(opening))
        except asyncio.CancelledError:
            self._task(_close_unwanted(opening))
            raise

    def _terminate(self, connection: DBAPIConnection) -> None:
        if in_greenlet():
            await_(asyncio.shield(self._task(connection.driver_connection.close())))
        else:  # the garbage collector can wait for nothing
            self._terminate_by_force(connection)

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task


async def _close_unwanted(opening: asyncio.Task[DBAPIConnection]) -> None:
    connection = await opening
    await connection.driver_connection.close()


def _prepare(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, late and never for DDL; from here on `_begin` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        mode = cursor.fetchone()[0]
        if mode != "wal":
            raise DatabaseUnusable(f"The database cannot use its write-ahead log (it says {mode!r}): use a local disk.")
        cursor.execute("PRAGMA synchronous = FULL")  # A commit is on the disk when it returns: this is money.
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(READS, False):
        _be_patient(connection, _BUSY_TIMEOUT_MS)
        connection.exec_driver_sql("BEGIN")
        return
    _be_patient(connection, 0)
    patience_ms = _MIGRATION_TIMEOUT_MS if options.get(MIGRATES, False) else _BUSY_TIMEOUT_MS
    deadline = time.monotonic() + patience_ms / 1000
    while True:
        try:
            # The lock at once: a writer that had read first could only fail when another had written meanwhile.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
        await_(asyncio.sleep(_AGAIN_SECONDS))


def _is_busy(error: OperationalError) -> bool:
    # The lowest byte; the others say why.
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _be_patient(connection: Connection, timeout_ms: int) -> None:
    """How long SQLite waits by itself in statements of this connection, from now on."""
    if connection.info.get(_PATIENCE) != timeout_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout_ms}")
        connection.info[_PATIENCE] = timeout_ms
