"""Debian's PostgreSQL, for the tests that need one: a server a worker, a database a test.

It listens on a unix socket in a directory that is its user's alone, so that there is no port to be taken and no
password to be kept. It does not wait for the disk: what a test has written need not outlive a power cut.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from gateway.ledger.database import open_database
from tests.support.servers import START_DEADLINE_SECONDS, ServerStartError, missing_server, wait_until

_USER: Final = "tollgate"
_MIGRATED: Final = "migrated"
_PROGRAMS: Final = Path("/usr/lib/postgresql")
_COMMAND_SECONDS: Final = 60.0

_OPTIONS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running PostgreSQL that a fixture owns.

    Attributes:
        programs: Where its commands are.
        directory: Where its socket is.
    """

    programs: Path
    directory: Path

    def url(self, database: str) -> str:
        """The address of a database as TOLLGATE_DATABASE_URL takes it."""
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def create(self, database: str, template: str = "template0") -> None:
        """Make a database, empty or as another one is."""
        self._command("createdb", f"--template={template}", database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._command("dropdb", "--force", database)

    def _command(self, name: str, *arguments: str) -> None:
        command = [str(self.programs / name), f"--host={self.directory}", f"--username={_USER}", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=_COMMAND_SECONDS)


def postgres_programs() -> Path:
    """Find the newest PostgreSQL there is; skip the test where there is none, or fail it when CI=true."""
    found = [path.parent for path in _PROGRAMS.glob("*/bin/postgres")]
    if not found:
        missing_server("postgresql: no server on this machine (apt-get install postgresql)")
    return max(found, key=lambda programs: float(programs.parent.name))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server of one's own until the block ends; it is ended by its pid, whatever happens in the block.

    Raises:
        ServerStartError: With the server's log.
    """
    programs = postgres_programs()
    # Not among pytest's own directories, where another user cannot come; and the path of a socket has to be short.
    directory = Path(tempfile.mkdtemp(prefix="tollgate-pg-"))
    try:
        user = _unprivileged_user(directory)
        _initialize(programs, directory, user)
        log = directory / "server.log"
        with log.open("wb") as output:
            options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
            process = subprocess.Popen(
                [programs / "postgres", "-D", directory / "data", "-k", directory, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                user=user,
                # A session of its own: Ctrl-C reaches pytest alone, whose fixtures then end the server in order.
                start_new_session=True,
            )
        try:
            _wait_until_ready(programs, directory, process)
            yield PostgresServer(programs, directory)
        finally:
            process.send_signal(signal.SIGQUIT)  # At once: nothing of it is kept.
            process.wait()
    finally:
        shutil.rmtree(directory)


def _unprivileged_user(directory: Path) -> int | None:
    """Whom the server runs as: it refuses to run as root. None: as ourselves. The directory becomes that user's."""
    if os.getuid() != 0:
        return None
    user = pwd.getpwnam("postgres")  # The package makes it.
    os.chown(directory, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _initialize(programs: Path, directory: Path, user: int | None) -> None:
    # Only its user, and root, can come to the socket: that is why whoever does is trusted.
    command = [str(programs / "initdb"), "--pgdata", str(directory / "data"), "--username", _USER]
    command += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
    done = subprocess.run(
        command, cwd=directory, user=user, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS
    )
    if done.returncode != 0:
        raise ServerStartError(done.stderr)


def _wait_until_ready(programs: Path, directory: Path, process: "subprocess.Popen[bytes]") -> None:
    def is_ready() -> bool:
        if process.poll() is not None:
            raise ServerStartError(f"exit code {process.returncode}\n{_log_tail(directory)}")
        asked = subprocess.run([programs / "pg_isready", "-q", "-h", directory], check=False, timeout=_COMMAND_SECONDS)
        return asked.returncode == 0

    if not wait_until(is_ready, START_DEADLINE_SECONDS):
        raise ServerStartError(f"not ready after {START_DEADLINE_SECONDS:g} s\n{_log_tail(directory)}")


def _log_tail(directory: Path) -> str:
    return (directory / "server.log").read_text(errors="replace")[-2000:]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server; tests make databases of their own on it. Mark what uses it `servers`."""
    with running_postgres() as server:
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


@contextmanager
def _database(server: PostgresServer, template: str) -> Iterator[str]:
    name = "of_the_test"
    server.create(name, template)
    try:
        yield server.url(name)
    finally:
        server.drop(name)
