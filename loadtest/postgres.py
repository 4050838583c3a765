"""Debian's PostgreSQL as a server of one's own, for the tests and for the benchmark.

It listens on a unix socket in a directory that is its user's alone, so that there is no port to be taken and no
password to be kept.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_USER: Final = "tollgate"
_PROGRAMS: Final = Path("/usr/lib/postgresql")
_COMMAND_SECONDS: Final = 60.0
_START_SECONDS: Final = 30.0
_ASK_EVERY_SECONDS: Final = 0.02


class PostgresError(Exception):
    """The server did not start; with what it said."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running PostgreSQL that whoever started it owns.

    Attributes:
        programs: Where its commands are.
        directory: Where its socket is.
        pid: Of its first process, of which all others are children.
    """

    programs: Path
    directory: Path
    pid: int

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


def find_postgres() -> Path | None:
    """Where the programs of the newest PostgreSQL are; None: there is none on this machine."""
    found = [path.parent for path in _PROGRAMS.glob("*/bin/postgres")]
    return max(found, key=lambda programs: float(programs.parent.name), default=None)


@contextmanager
def running_postgres(programs: Path, options: Mapping[str, str]) -> Iterator[PostgresServer]:
    """Run a server of one's own until the block ends; it is ended by its pid, whatever happens in the block.

    Args:
        programs: As `find_postgres` found them.
        options: Of the server, by name.

    Raises:
        PostgresError: With the server's log.
    """
    # Not among other temporary directories of ours, where another user cannot come; and the path of a socket is short.
    directory = Path(tempfile.mkdtemp(prefix="tollgate-pg-"))
    try:
        user = _unprivileged_user(directory)
        _initialize(programs, directory, user)
        log = directory / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(programs / "postgres", "-D", directory / "data", "-k", directory, "--listen_addresses="),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                user=user,
                # A group of its own: Ctrl-C reaches us alone, and we then end the server in order.
                process_group=0,
            )
        try:
            _wait_until_ready(programs, directory, process)
            yield PostgresServer(programs, directory, process.pid)
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
        raise PostgresError(done.stderr)


def _wait_until_ready(programs: Path, directory: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PostgresError(f"exit code {process.returncode}\n{_log_tail(directory)}")
        asked = subprocess.run([programs / "pg_isready", "-q", "-h", directory], check=False, timeout=_COMMAND_SECONDS)
        if asked.returncode == 0:
            return
        time.sleep(_ASK_EVERY_SECONDS)
    raise PostgresError(f"not ready after {_START_SECONDS:g} s\n{_log_tail(directory)}")


def _log_tail(directory: Path) -> str:
    return (directory / "server.log").read_text(errors="replace")[-2000:]
