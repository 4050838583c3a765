"""Programs of Debian that tests run as processes of their own: ended by their pid, with their output in a file."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.gateway_process import clean_environment
from tests.support.servers import missing_server, wait_until

STOP_SECONDS = 10.0


def find_program(name: str, package: str) -> str:
    """Find a program; skip the test where it is missing, or fail it when CI=true."""
    found = shutil.which(
        name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/kannel/test:/usr/lib/rabbitmq/bin"
    )
    if found is None:
        missing_server(f"{name}: not on this machine (apt-get install {package})")
    return found


@contextmanager
def running_program(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program, and all that it starts, until the block ends.

    It gets a session of its own, so that what it leaves behind is ended with it by the session's process group.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=clean_environment(**(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_program(process, stop_seconds)


def end_program(process: "subprocess.Popen[bytes]", stop_seconds: float = STOP_SECONDS) -> None:
    """End a program of `running_program`: politely, and then not."""
    if process.returncode is not None:
        return  # It was waited for, so its pid may be another's by now.
    process.terminate()
    try:
        process.wait(timeout=stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):  # Nothing was left of its group.
        os.killpg(process.pid, signal.SIGKILL)


def await_port(port: int, process: "subprocess.Popen[bytes]", log: Path, deadline_seconds: float = 30.0) -> None:
    """Wait until somebody listens on a loopback port.

    Raises:
        AssertionError: The program ended, or did not listen in time; with its log.
    """

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(lambda: process.poll() is not None or listens(), deadline_seconds)
    assert process.poll() is None, f"{process.args!r} ended:\n{log.read_text(errors='replace')[-4000:]}"
    assert listens(), f"{process.args!r} does not listen on {port}:\n{log.read_text(errors='replace')[-4000:]}"
