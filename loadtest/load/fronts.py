"""The processes of a gateway, and the outage: those that decide about calls are killed, and started again."""

import os
import signal
from pathlib import Path

from loadtest.processes import BenchError


def kill_fronts(supervisor_pid: int) -> int:
    """End the processes that decide about calls at once; the supervisor starts them again. Returns how many it were.

    Raises:
        BenchError: There is none.
    """
    fronts = processes_of(supervisor_pid, "front")
    if not fronts:
        raise BenchError(f"process {supervisor_pid} is no `tollgate serve` with a front")
    for pid in fronts:
        os.kill(pid, signal.SIGKILL)
    return len(fronts)


def processes_of(supervisor_pid: int, name: str) -> list[int]:
    """The processes of a `tollgate serve` that are called front, back or journaler, at this moment."""
    command = f"gateway.process\0{name}".encode()
    return [pid for pid in children_of(supervisor_pid) if command in command_line_of(pid)]


def children_of(pid: int) -> list[int]:
    """Processes that a process has started; none, where it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_line_of(pid: int) -> bytes:
    """The command line of a process, its words ended by zero bytes; empty, where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
