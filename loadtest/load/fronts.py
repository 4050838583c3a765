"""The outage: the processes that decide about calls are killed, and their supervisor starts them again."""

import os
import signal
from pathlib import Path

from loadtest.processes import BenchError


def kill_fronts(supervisor_pid: int) -> int:
    """End the processes that decide about calls at once; the supervisor starts them again. Returns how many it were.

    Raises:
        BenchError: There is none.
    """
    fronts = children_of(supervisor_pid, "front")
    if not fronts:
        raise BenchError(f"process {supervisor_pid} is no `tollgate serve` with a front")
    for pid in fronts:
        os.kill(pid, signal.SIGKILL)
    return len(fronts)


def children_of(supervisor_pid: int, name: str) -> list[int]:
    """The processes of a `tollgate serve` that are called front or back, at this moment."""
    command = f"gateway.process\0{name}".encode()
    return [pid for pid in _children(supervisor_pid) if command in _command_line(pid)]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
