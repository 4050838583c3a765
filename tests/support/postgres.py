"""Debian's PostgreSQL, for the tests that need one: a server a worker, a database a test.

It does not wait for the disk: what a test has written need not outlive a power cut.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from gateway.ledger.database import open_database
from loadtest.postgres import PostgresServer, find_postgres, running_postgres
from tests.support.servers import missing_server, wait_until

_MIGRATED: Final = "migrated"
_STOP_SECONDS: Final = 20.0
_OPTIONS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
}


def postgres_programs() -> Path:
    """Where the newest PostgreSQL is; skips the test where there is none, or fails it when CI=true."""
    programs = find_postgres()
    if programs is None:
        missing_server("postgresql: no server on this machine (apt-get install postgresql)")
    return programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server; tests make databases of their own on it. Mark what uses it `servers`."""
    with running_postgres(postgres_programs(), _OPTIONS) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> PostgresServer:
    """The server with a database that has our tables, to make others from: quicker than migrating each."""

    async def migrate() -> None:
        await (await open_database(postgres.url(_MIGRATED))).close()

    postgres.create(_MIGRATED)
    asyncio.run(migrate())
    return postgres


@pytest.fixture
def postgres_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """A database of the test's own, with our tables and nothing in them."""
    with _database(migrated_postgres, _MIGRATED) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A database of the test's own, without any table."""
    with _database(postgres, "template0") as url:
        yield url


class StoppablePostgres:
    """A server of the test's own that it may stop, and start again with all that it had.

    Args:
        server: As it was started first.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._again: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop it as an operator does: whoever is connected is cut off, whoever connects is refused."""
        os.kill(self.server.pid if self._again is None else self._again.pid, signal.SIGINT)
        assert wait_until(lambda: not (self.server.directory / "data/postmaster.pid").exists(), _STOP_SECONDS)

    def start(self) -> None:
        """Start it again; it listens soon afterwards."""
        directory = self.server.directory
        command = [str(self.server.programs / "postgres"), "-D", str(directory / "data"), "-k", str(directory)]
        command += ["--listen_addresses=", *(f"--{name}={value}" for name, value in _OPTIONS.items())]
        with (directory / "server.log").open("ab") as output:
            self._again = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                user=directory.stat().st_uid if os.getuid() == 0 else None,
                start_new_session=True,
            )

    def end(self) -> None:
        """End what `start` has started."""
        if self._again is not None:
            self._again.send_signal(signal.SIGQUIT)
            self._again.wait()


@contextmanager
def stoppable_postgres() -> Iterator[StoppablePostgres]:
    """Run a server that the test may stop, until the block ends."""
    with running_postgres(postgres_programs(), _OPTIONS) as server:
        stoppable = StoppablePostgres(server)
        try:
            yield stoppable
        finally:
            stoppable.end()


@contextmanager
def _database(server: PostgresServer, template: str) -> Iterator[str]:
    name = "of_the_test"
    server.create(name, template)
    try:
        yield server.url(name)
    finally:
        server.drop(name)
