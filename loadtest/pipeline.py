"""The cheapest client there is: packed commands made beforehand, one blocking connection, a window always in flight.

What it measures is the store: the client's share of a command is about a microsecond, on another core.
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import hiredis

from loadtest.machine import main_thread_cpu_seconds

WINDOW: Final = 256
"""Commands in flight: two chunks, of which the second is sent before the replies to the first are read."""

Word = bytes | str | int
Command = tuple[Word, ...]


class Run(NamedTuple):
    """What a run of commands took.

    Attributes:
        seconds: By the client's clock.
        cpu_seconds: CPU time of the store's main thread, which other processes on the machine disturb much less.
        replies: One a command, in order; an error is an exception.
    """

    seconds: float
    cpu_seconds: float
    replies: list[Any]

    @property
    def rate(self) -> float:
        """Commands a second."""
        return len(self.replies) / self.seconds

    @property
    def cpu_micros(self) -> float:
        """CPU time a command."""
        return 1e6 * self.cpu_seconds / len(self.replies)

    def __add__(self, other: "Run") -> "Run":  # type: ignore[override]
        """Both, one after the other."""
        return Run(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds, self.replies + other.replies)


class Pipeline:
    """One connection to a store.

    Args:
        path: Its unix socket.
        pid: Of its process.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()
        self._pid = pid

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, *command: Word) -> Any:
        """Run one command.

        Raises:
            hiredis.ReplyError: The store refused it.
        """
        self._socket.sendall(pack(command))
        replies: list[Any] = []
        self._read(replies, 1)
        if isinstance(replies[0], hiredis.ReplyError):
            raise replies[0]
        return replies[0]

    def now_ms(self) -> int:
        """The store's time, in Unix milliseconds."""
        seconds, micros = self.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def run(self, commands: Sequence[Command]) -> Run:
        """Run commands with a window in flight, and measure."""
        chunk = WINDOW // 2
        packed = [b"".join(map(pack, commands[at : at + chunk])) for at in range(0, len(commands), chunk)]
        replies: list[Any] = []
        cpu, started = main_thread_cpu_seconds(self._pid), perf_counter()
        for number, data in enumerate(packed):
            self._socket.sendall(data)
            # All but the chunk just sent: the store is never without work.
            self._read(replies, number * chunk)
        self._read(replies, len(commands))
        seconds = perf_counter() - started
        cpu = main_thread_cpu_seconds(self._pid) - cpu
        return Run(seconds, cpu, replies)

    def _read(self, replies: list[Any], until: int) -> None:
        reader = self._reader
        while len(replies) < until:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the store closed the connection")
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                replies.append(reply)


def pack(command: Command) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub allows only one argument
    return packed
