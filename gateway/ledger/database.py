"""Opening the database: engine, connections, transactions, and the errors of all three."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from gateway.ledger import migrations
from gateway.ledger.errors import DatabaseBusy, DatabaseError, DatabaseUnusable
from gateway.ledger.sqlite import MIGRATES, READS, SqliteConnections

T = TypeVar("T")

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

_ATTEMPTS = 5

# What a statement can meet that is neither a bug of ours nor a broken rule of the tables.
_FAULTS = (DBAPIError, PoolTimeoutError, OSError)
_BUGS_AND_RULES = (IntegrityError, ProgrammingError, DataError)


class Database:
    """One database, and the only way to its sessions.

    SQLite has one writer at a time. The writers of this process queue up in the order they came, so that none starves
    and none spins; those of several processes (back and journaler, a command) ask again and again for the lock.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writers = async_sessionmaker(engine, expire_on_commit=False)
        self._readers = async_sessionmaker(engine.execution_options(**{READS: True}), expire_on_commit=False)
        sqlite = engine.dialect.name == "sqlite"
        self._sqlite = SqliteConnections(engine) if sqlite else None
        self._turn: contextlib.AbstractAsyncContextManager[Any] = asyncio.Lock() if sqlite else contextlib.nullcontext()

    @property
    def dialect(self) -> str:
        """Which database it is: sqlite or postgresql."""
        return self._engine.dialect.name

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

    async def bring_up_to_date(self) -> None:
        """Make or migrate the tables; several processes may do so at once.

        Raises:
            UnknownRevision: A newer Tollgate has migrated them, so that this one cannot work on them.
            Exception: As the driver has it, where the database cannot be used.
        """
        async with self._engine.execution_options(**{MIGRATES: True}).begin() as connection:
            self.schema = await connection.run_sync(_migrate)

    async def look_at_schema(self) -> migrations.Schema:
        """See how the tables stand to this version; changes nothing.

        Raises:
            DatabaseError: The database did not answer.
        """
        with _translated():
            async with self._engine.execution_options(**{READS: True}).connect() as connection:
                return await connection.run_sync(migrations.look_at_schema)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        if self._sqlite is not None:
            await self._sqlite.finish()


async def open_database(url: str, make: Callable[[AsyncEngine], Database] = Database) -> Database:
    """Open a database and bring its tables up to date; safe for several processes at once.

    Args:
        url: `sqlite:////absolute/path` or `postgresql://user:password@host/name`; a driver may be named.
        make: The class, or what adds to it.

    Raises:
        DatabaseUnusable: It cannot be opened; the message says what to change.
    """
    parsed = _parse(url)
    database = make(_engine(parsed))
    try:
        await database.bring_up_to_date()
    except migrations.UnknownRevision as error:
        await database.close()
        raise DatabaseUnusable(
            f"The database {_public(parsed)} was migrated by a newer Tollgate: {error}. Install that version, or "
            "restore the backup from before (docs/operating/upgrade.md)."
        ) from error
    except _FAULTS as error:
        await database.close()
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnusable(f"The database {_public(parsed)} cannot be opened: {cause}") from error
    except BaseException:
        await database.close()
        raise
    return database


def database_as_it_is(url: str) -> Database:
    """A database whose tables are left as they are, for who only looks; the caller closes it. Connects when asked.

    Raises:
        DatabaseUnusable: The URL is none.
    """
    return Database(_engine(_parse(url)))


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
        return create_async_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseUnusable(
            f"The database {_public(url)} needs a driver that is not installed: {error}. Install it with pip."
        ) from error


def _migrate(connection: Connection) -> migrations.Schema:
    if connection.dialect.name == "postgresql":
        # Two processes that start at once migrate one after the other. SQLite does that by BEGIN IMMEDIATE.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7265746761746501)")
    return migrations.upgrade(connection)


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
