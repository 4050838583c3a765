"""Starting the embedded store's process: its options, its environment and its log file."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gateway.settings_problems import PREFIX
from gateway.store.embedded.binary import find_jemalloc

LOG_NAME = "store.log"
PID_NAME = "store.pid"

LOG_MAX_BYTES = 1 << 20
"""At a start a longer log is set aside as store.log.1, in place of the one before."""

LOG_TAIL_BYTES = 1500

# Both Valkey 9 and Redis 7.0 know all of these, and take them at run time too.
CHANGEABLE_OPTIONS: Mapping[str, str] = {
    "appendonly": "yes",
    # At most the last second or two is lost with the machine, nothing with the process; `always` would cost an
    # fsync for every call.
    "appendfsync": "everysec",
    # The append-only file is the only memory: a snapshot beside it would fork for nothing.
    "save": "",
    # A store that evicts forgets balances.
    "maxmemory-policy": "noeviction",
    # A packed call is longer than the default of 64 bytes, and would turn a hash of 320 bytes into one of 1,400.
    "hash-max-listpack-value": "256",
}

_FIXED_OPTIONS: Mapping[str, str] = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    # A process that was killed in the middle of a write leaves half an entry behind, which must not keep us down.
    "aof-load-truncated": "yes",
}


def launch_server(binary: Path, directory: Path, socket_path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the store on the directory, in a process group of its own: Ctrl-C in the gateway's terminal spares it.

    In the gateway's session: see `gateway.child_process`.

    Args:
        binary: valkey-server or redis-server.
        directory: The data directory; the caller holds its store lock.
        socket_path: At most 100 bytes.
        lock: The descriptor of the store lock. The process inherits it and so holds the lock exactly as long as it
            lives.

    Raises:
        OSError: The binary cannot be executed, or the log cannot be written.
    """
    options = {
        **_FIXED_OPTIONS,
        **CHANGEABLE_OPTIONS,
        "dir": str(directory),
        "unixsocket": str(socket_path),
        "pidfile": str(directory / PID_NAME),
    }
    arguments = [str(binary)]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    _set_long_log_aside(directory)
    with (directory / LOG_NAME).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the program is ours, and no shell reads the arguments
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=_environment(),
            pass_fds=(lock,),
            process_group=0,
            umask=0o077,
        )


def log_tail(directory: Path) -> str:
    """The end of the store's log, for an error about a store that did not start."""
    try:
        with (directory / LOG_NAME).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return "(no log)"


def _set_long_log_aside(directory: Path) -> None:
    log = directory / LOG_NAME
    if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
        log.replace(directory / f"{LOG_NAME}.1")


def _environment() -> dict[str, str]:
    """The gateway's environment without its settings, whose secrets are no business of the store."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    jemalloc = find_jemalloc()
    if jemalloc is not None:
        before = environment.get("LD_PRELOAD", "")
        environment["LD_PRELOAD"] = f"{jemalloc} {before}".strip()
    return environment
