"""The data directory: private, and held by one gateway at a time."""

import asyncio
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.startup import StartupError

GATEWAY_LOCK = "gateway.lock"
STORE_LOCK = "store.lock"

PATIENCE_SECONDS = 2.0
"""How long a held directory is waited for: the processes of a killed gateway need a moment to end."""

RETRY_SECONDS = 0.02


class DataDirectoryError(StartupError):
    """The data directory cannot be used; the text says why and what to do."""


class DirectoryHeldError(DataDirectoryError):
    """Another gateway holds the data directory."""


def try_lock(path: Path) -> int | None:
    """Take the lock of a file if it is free.

    A flock belongs to the open file, not to the process: it lasts until every process that inherited the descriptor
    has closed it or ended, however it ended. The file stays for ever, since removing it would let two processes lock
    two files of one name.

    Returns:
        A descriptor that holds the lock, not inherited by default; or None when somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class DataDirectory:
    """One gateway's hold on its data directory.

    Args:
        path: The directory; made when missing.
        utc_now: The time that is written into the lock file.
    """

    def __init__(self, path: Path, utc_now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        # Resolved, so that two names of one directory are one.
        self.path = path.resolve()
        self._utc_now = utc_now
        self._descriptor: int | None = None

    @property
    def lock_descriptor(self) -> int | None:
        """The descriptor of the lock while held.

        Child processes inherit it, so that the next gateway waits until the last process of this one has gone.
        """
        return self._descriptor

    def is_at(self, path: bytes) -> bool:
        """Whether another name, as a store reports it, is this directory's."""
        try:
            return self.path.samefile(os.fsdecode(path))
        except OSError:
            return False

    async def hold(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Make the directory private and take its lock; holding it already is no error.

        Raises:
            DirectoryHeldError: Another gateway held it all the time; the text names its pid and host, and since when.
            DataDirectoryError: The directory cannot be made or is not this gateway's alone.
        """
        if self._descriptor is not None:
            return
        self.make_private()
        with self._explained():
            self._descriptor = await self._lock(patience_seconds)

    def make_private(self) -> None:
        """Make the directory, or close it to others, without taking its lock.

        Raises:
            DataDirectoryError: It cannot be made or is not this gateway's alone.
        """
        with self._explained():
            try:
                self.path.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                self._check_existing()

    def release(self) -> None:
        """Let the directory go; releasing it twice is no error."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _lock(self, patience_seconds: float) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        while (descriptor := try_lock(self.path / GATEWAY_LOCK)) is None:
            if loop.time() >= deadline:
                raise DirectoryHeldError(
                    f"TOLLGATE_DATA_DIR: {self.path} is held by another gateway ({self._holder()}); stop that one, or "
                    "give this one a data directory of its own"
                )
            await asyncio.sleep(RETRY_SECONDS)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _iso(self._utc_now())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
        return descriptor

    def _holder(self) -> str:
        try:
            holder: dict[str, Any] = json.loads((self.path / GATEWAY_LOCK).read_text())
            return f"pid {holder['pid']} on host {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            # The holder is just writing it.
            return "it has not yet said who it is"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirectoryError(
                f"TOLLGATE_DATA_DIR: {self.path} cannot be used ({(error.strerror or str(error)).lower()}); "
                "name a directory on a local disk that this user may write to"
            ) from error

    def find_fault(self) -> str | None:
        """Why no gateway takes the directory as it is; None: one would, and would close it to others if it is its own.

        Raises:
            OSError: It cannot be looked at.
        """
        status = self.path.stat()
        if not status.st_mode & 0o077:
            return None
        if status.st_uid != os.getuid():
            # A volume that a container is given belongs to root and is opened to it by a group.
            if status.st_mode & 0o002:
                return (
                    f"everybody may write to {self.path}, which another user owns; name a directory of the gateway's "
                    "own"
                )
        elif not (self.path / GATEWAY_LOCK).exists() and any(self.path.iterdir()):
            # Never chmod what may be a home directory or /tmp.
            return (
                f"{self.path} is open to others and holds files that are not the gateway's; name a directory of its "
                f"own, or close this one: chmod 700 {self.path}"
            )
        return None

    def _check_existing(self) -> None:
        if (fault := self.find_fault()) is not None:
            raise DataDirectoryError(f"TOLLGATE_DATA_DIR: {fault}")
        status = self.path.stat()
        if status.st_mode & 0o077 and status.st_uid == os.getuid():
            self.path.chmod(0o700)


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
