"""Where the embedded store listens: a unix socket in its data directory, or as near to it as its name fits."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gateway.startup import StartupError

MAX_SOCKET_PATH_BYTES = 100
"""The kernel takes 107 bytes (103 on macOS), but Redis 7.0 cuts a longer path off at 106 without a word."""

SOCKET_NAME = "store.sock"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The unix socket of a running embedded store."""

    socket_path: Path

    @property
    def url(self) -> str:
        """The address as TOLLGATE_REDIS_URL and redis-py's from_url take it."""
        return "unix://" + quote(str(self.socket_path))


class SocketDirectoryError(StartupError):
    """The short directory for the socket is not ours to use."""


def choose_socket_path(data_dir: Path, runtime_dir: Path | None = None) -> Path:
    """The path for the socket of a store that is about to start.

    It is in the data directory where it fits. Else it is in a private directory (0700) under $XDG_RUNTIME_DIR or
    /tmp, named by a hash of the data directory, and a symbolic link in the data directory points to it. The link
    serves the next gateway, which may have another XDG_RUNTIME_DIR.

    Args:
        data_dir: Absolute and resolved.
        runtime_dir: Where to put the private directory instead.

    Raises:
        SocketDirectoryError: Somebody else has made the directory.
    """
    link = data_dir / SOCKET_NAME
    if _fits(link):
        return link
    base = runtime_dir or _runtime_directory()
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    directory = base / f"tollgate-{os.getuid()}-{digest}"
    _make_private(directory)
    path = directory / SOCKET_NAME
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return path


def recorded_socket_path(data_dir: Path) -> Path:
    """The path of the socket of a store that may be running: what the link points to, or the link's own place."""
    link = data_dir / SOCKET_NAME
    return link.readlink() if link.is_symlink() else link


def forget_socket(data_dir: Path) -> None:
    """Remove socket, link and private directory of a store that has ended."""
    path = recorded_socket_path(data_dir)
    path.unlink(missing_ok=True)
    if path.parent != data_dir:
        (data_dir / SOCKET_NAME).unlink(missing_ok=True)
        if path.parent.is_dir():
            path.parent.rmdir()


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def _runtime_directory() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # Ours by its definition; but a set-uid or sudo shell may carry another user's.
    if given and Path(given).is_dir() and os.access(given, os.W_OK) and len(os.fsencode(given)) <= 40:
        return Path(given)
    # Not tempfile.gettempdir(): TMPDIR may be as long as the data directory that did not fit.
    return Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108 - made private below


def _make_private(directory: Path) -> None:
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    # /tmp is everybody's: another user may have made the directory first, or put a link in its place.
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SocketDirectoryError(
            f"{directory} is not a private directory of this user; remove it, or choose a TOLLGATE_DATA_DIR of at "
            f"most {MAX_SOCKET_PATH_BYTES - len(SOCKET_NAME) - 1} bytes"
        )
