"""Opening the database: engine, connections, transactions, and the errors of all three."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util.concurrency import await_, in_greenlet

from gateway.ledger import migrations
from gateway.ledger.errors import DatabaseBusy, DatabaseError, DatabaseUnusable

T = TypeVar("T")

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

_BUSY_TIMEOUT_MS = 5_000
_ATTEMPTS = 5

# What a statement can meet that is neither a bug of ours nor a broken rule of the tables.
_FAULTS = (DBAPIError, PoolTimeoutError, OSError)
_BUGS_AND_RULES = (IntegrityError, ProgrammingError, DataError)


class Database:
    """One database, and the only way to its sessions.

    SQLite has one writer at a time. The writers of this process queue up in the order they came, so that none starves
    and none spins; those of other processes (a command beside the service) wait for each other by the busy timeout.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writers = async_sessionmaker(engine, expire_on_commit=False)
        self._readers = async_sessionmaker(engine.execution_options(tollgate_reads=True), expire_on_commit=False)
        one_writer = engine.dialect.name == "sqlite"
        self._turn: contextlib.AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if one_writer else contextlib.nullcontext()
        )

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one moment of the database (on SQLite) and changes nothing.

        Raises:
            DatabaseError: The database did not answer.
        """
        with _translated():
            async with self._readers() as session:
                yield session

    @contextlib.asynccontextmanager
    async def moment(self) -> AsyncIterator[AsyncSession]:
        """A `read` that sees one moment of the database on PostgreSQL too: for sums that must agree.

        Raises:
            DatabaseError: The database did not answer.
        """
        async with self.read() as session:
            if self._engine.dialect.name == "postgresql":
                await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction that is committed at the end of the block, or rolled back by an exception.

        On SQLite it has the write lock from its first statement on; on PostgreSQL it locks the rows that it selects
        `with_for_update()`. So whatever is read before a decision is still so when the decision is written.

        Raises:
            DatabaseError: The database did not answer. The transaction may have been committed, or not.
            sqlalchemy.exc.IntegrityError: A rule of the tables is broken; the repository knows what that means.
        """
        with _translated():
            async with self._turn, self._writers() as session, session.begin():
                yield session

    async def transact(self, operation: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run an operation in a `write()`, again if another writer took the same key meanwhile.

        The operation sees what the other wrote, and so decides anew. It must do nothing outside its session.

        Raises:
            DatabaseBusy: It happened too often in a row; nothing was changed.
            DatabaseError: As `write`.
        """
        for _ in range(_ATTEMPTS):
            try:
                async with self.write() as session:
                    return await operation(session)
            except IntegrityError as error:
                conflict = error
        raise DatabaseBusy("Others are changing the same thing: try again with the same id or key.") from conflict

    async def ping(self) -> None:
        """Ask the database for nothing.

        Raises:
            DatabaseError: It did not answer.
        """
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


async def open_database(url: str) -> Database:
    """Open a database and bring its tables up to date; safe for several processes at once.

    Args:
        url: `sqlite:////absolute/path` or `postgresql://user:password@host/name`; a driver may be named.

    Raises:
        DatabaseUnusable: It cannot be opened; the message says what to change.
    """
    parsed = _parse(url)
    engine = _engine(parsed)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
    except migrations.UnknownRevision as error:
        await engine.dispose()
        raise DatabaseUnusable(
            f"The database {_public(parsed)} was migrated by a newer Tollgate ({error}): install that version."
        ) from error
    except _FAULTS as error:
        await engine.dispose()
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnusable(f"The database {_public(parsed)} cannot be opened: {cause}") from error
    except BaseException:
        await engine.dispose()
        raise
    return Database(engine)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # The text is not repeated: there may be a password in it.
        raise DatabaseUnusable("The database URL is no URL: write sqlite:////path or postgresql://...") from error
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseUnusable("The database would be lost with the process: name a file, sqlite:////path.")
        folder = Path(parsed.database).parent
        if not folder.is_dir():
            raise DatabaseUnusable(f"The database cannot be opened: there is no directory {folder}. Create it.")
    return parsed


def _engine(url: URL) -> AsyncEngine:
    try:
        engine = create_async_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseUnusable(
            f"The database {_public(url)} needs a driver that is not installed: {error}. Install it with pip."
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        _stop_once(engine.dialect)
    return engine


def _stop_once(dialect: Dialect) -> None:
    """Have the thread of a connection whose user was cancelled stopped once.

    SQLAlchemy closes such a connection in a task that it shields, and where it is cancelled again it stops it by force
    as well. The driver's thread ends with the first stop, and the task waits for the second for ever: so does the
    process, whose event loop ends after its tasks. Here the task alone closes it, however often its user is cancelled.
    """
    by_force = dialect.do_terminate

    def terminate(connection: Any) -> None:
        if in_greenlet():
            await_(asyncio.shield(connection.driver_connection.close()))
        else:  # the garbage collector can wait for nothing
            by_force(connection)

    dialect.do_terminate = terminate  # type: ignore[assignment]


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, late and never for DDL; from here on `_begin_sqlite` does.
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


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that had read first could only fail when another had written meanwhile.
    reads = connection.get_execution_options().get("tollgate_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two processes that start at once migrate one after the other. SQLite does that by BEGIN IMMEDIATE.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7265746761746501)")
    migrations.upgrade(connection)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _BUGS_AND_RULES:
        raise
    except _FAULTS as error:
        raise DatabaseError(
            "The database did not answer: try again with the same id or key, which never does a thing twice."
        ) from error


def _public(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)
