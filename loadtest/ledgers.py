"""The databases that the journal is measured on: SQLite in a file, and PostgreSQL where there is one.

Both wait for the disk at each commit, as in production. Each round begins with a copy of one database in which the
offices are.
"""

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import insert, select

from gateway.domain.office import OfficeSettings
from gateway.ledger.companies import Companies
from gateway.ledger.database import open_database
from gateway.ledger.models import OfficeRow
from gateway.ledger.offices import Offices
from loadtest.machine import process_cpu_seconds
from loadtest.postgres import PostgresServer, find_postgres, running_postgres

COMPANY: Final = "bench"
CURRENCY: Final = "USD"
ACTOR: Final = "bench"
TEMPLATE: Final = "template"

_OPTIONS: Final = {"shared_buffers": "128MB"}
"""That is PostgreSQL's own default, given a name here since it is what the figures depend on; fsync is on."""


class Ledgers(ABC):
    """Databases of one kind.

    Attributes:
        name: Of the kind.
    """

    name: str

    @abstractmethod
    def copy(self, name: str) -> str:
        """Make a database with the offices in it; returns its address."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove a database that nobody uses any more."""

    @abstractmethod
    def server_cpu_seconds(self) -> float:
        """CPU time of the database so far where it is a process of its own, else 0."""

    @abstractmethod
    def template_url(self) -> str:
        """The address of the database that the others are copies of."""

    async def prepare(self, offices: Sequence[str], *, now_ms: int) -> None:
        """Make the database that the others are copies of."""
        database = await open_database(self.template_url())
        try:
            await Companies(database).create(COMPANY, COMPANY, actor=ACTOR, now_ms=now_ms)
            first = OfficeSettings(offices[0], COMPANY, offices[0], "US", CURRENCY, "America/New_York")
            await Offices(database, CURRENCY).create(first, actor=ACTOR, now_ms=now_ms)
            # The others like it, in one transaction: thousands that wait for the disk one by one would take minutes.
            async with database.write() as session:
                row = (await session.execute(select(OfficeRow.__table__))).mappings().one()
                others = [{**row, "office_id": name, "name": name} for name in offices[1:]]
                await session.execute(insert(OfficeRow), others)
        finally:
            await database.close()


class SqliteLedgers(Ledgers):
    """Files in a directory."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """The file of a database."""
        return self._directory / f"{name}.db"

    def template_url(self) -> str:
        """Of its file."""
        return f"sqlite:///{self.path(TEMPLATE)}"

    def copy(self, name: str) -> str:
        """Copy the file."""
        # Whoever closed it last has emptied its write-ahead log into it.
        shutil.copyfile(self.path(TEMPLATE), self.path(name))
        return f"sqlite:///{self.path(name)}"

    def drop(self, name: str) -> None:
        """Remove the file."""
        self.path(name).unlink()

    def server_cpu_seconds(self) -> float:
        """None: SQLite runs in the threads of who uses it."""
        return 0.0


class PostgresLedgers(Ledgers):
    """Databases of one server."""

    name = "postgresql"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        server.create(TEMPLATE)

    def template_url(self) -> str:
        """On its server."""
        return self._server.url(TEMPLATE)

    def copy(self, name: str) -> str:
        """Let the server copy it."""
        self._server.create(name, TEMPLATE)
        return self._server.url(name)

    def drop(self, name: str) -> None:
        """Let the server remove it."""
        self._server.drop(name)

    def server_cpu_seconds(self) -> float:
        """Of the processes that serve connections, and of those that write to the disk."""
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        return sum(process_cpu_seconds(int(pid)) for pid in children)


@contextmanager
def running_ledgers(directory: Path) -> Iterator[list[Ledgers]]:
    """Every kind there is on this machine; files go into the directory."""
    with ExitStack() as stack:
        kinds: list[Ledgers] = [SqliteLedgers(directory)]
        programs = find_postgres()
        if programs is not None:
            kinds.append(PostgresLedgers(stack.enter_context(running_postgres(programs, _OPTIONS))))
        yield kinds


async def copy_of(ledgers: Ledgers, name: str) -> str:
    """As `Ledgers.copy`, in a thread."""
    return await asyncio.to_thread(ledgers.copy, name)
