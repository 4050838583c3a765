"""What a measure runs against: an embedded store of its own, and child processes as the supervisor starts them.

Everything is stopped by its own pid when the block ends, however it ends. When the benchmark itself is killed, children
end with it (gateway/parent_watch.py).
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from gateway.parent_watch import PARENT_VARIABLE, READY_VARIABLE
from gateway.settings_problems import PREFIX
from gateway.store.embedded import EmbeddedStore
from gateway.store.embedded.launch import PID_NAME

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0


class BenchError(Exception):
    """A figure could not be taken, or what was measured was not what it should have been."""


@dataclass(frozen=True, slots=True)
class BenchStore:
    """A running embedded store.

    Attributes:
        url: As TOLLGATE_REDIS_URL takes it.
        socket_path: Its unix socket.
        pid: Of its process.
        directory: Its data directory, removed with it.
    """

    url: str
    socket_path: Path
    pid: int
    directory: Path

    def info(self, section: str) -> dict[str, Any]:
        """What the store says of itself."""
        with redis.Redis(unix_socket_path=str(self.socket_path), socket_timeout=30) as client:
            return dict(client.info(section))


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process.

    Attributes:
        pid: Of the process.
        said: What it reported beside being ready, by name.
    """

    pid: int
    said: Mapping[str, str]


@asynccontextmanager
async def running_store() -> AsyncIterator[BenchStore]:
    """Start the embedded store, with the options and the allocator it always has, on a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as name:
        directory = Path(name, "data")
        store = EmbeddedStore(directory)
        address = await store.start()
        try:
            pid = int((directory / PID_NAME).read_text())
            yield BenchStore(address.url, address.socket_path, pid, directory)
        finally:
            await store.stop()


@asynccontextmanager
async def running_child(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run `python -m ...` until the block ends, from when it reports that it is ready.

    Args:
        name: By which it reports.
        *arguments: Module and arguments.
        environment: Variables beside this process's own, from which the settings of a gateway are taken out.

    Raises:
        BenchError: It did not become ready, ended before it was told to, or did not drain; with the end of its log.
    """
    parent_reader, parent_writer = os.pipe()
    ready_reader, ready_writer = os.pipe()
    with tempfile.TemporaryFile(prefix=f"tollgate-bench-{name}-") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                env={
                    **{key: value for key, value in os.environ.items() if not key.upper().startswith(PREFIX)},
                    **(environment or {}),
                    READY_VARIABLE: str(ready_writer),
                    PARENT_VARIABLE: str(parent_reader),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(ready_writer, parent_reader),
                # As the supervisor starts them, in our session; uvloop knows no `process_group`.
                preexec_fn=os.setpgrp,
            )
        finally:
            os.close(ready_writer)
            os.close(parent_reader)
        try:
            reading = asyncio.create_task(asyncio.to_thread(_first_line, ready_reader))
            done, _ = await asyncio.wait([reading], timeout=START_SECONDS)
            words = reading.result().split() if done else []
            if words[:2] != ["ready", name]:
                raise BenchError(f"the {name} process did not start:\n{_tail(log.fileno())}")
            yield Child(process.pid, dict(word.split("=", 1) for word in words[2:]))
            died = process.returncode is not None
            await _end(process)
            if died or process.returncode:
                raise BenchError(f"the {name} process ended with {process.returncode}:\n{_tail(log.fileno())}")
        finally:
            await _end(process)
            os.close(parent_writer)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _first_line(descriptor: int) -> str:
    """What a child says when it is ready; empty if it ended without a word, which closes the pipe."""
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.readline().decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, 3000, max(0, size - 3000)).decode(errors="replace")
