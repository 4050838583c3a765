"""The embedded store of a running gateway from outside: its process, its socket and its append-only file."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.servers import wait_until


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """What the embedded store of a data directory has on the disk."""

    data_dir: Path

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        return int((self.data_dir / "store.pid").read_text())

    @property
    def append_only_file(self) -> Path:
        """The file that is being written: the last one of the increments."""
        return max((self.data_dir / "appendonlydir").glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[-3]))

    def client(self) -> "redis.Redis":
        """A blocking client; the caller closes it."""
        return redis.Redis(unix_socket_path=str(self.data_dir / "store.sock"), socket_timeout=5)

    def sync_no_more(self) -> int:
        """Have the store write and never sync, like a disk that is too slow; the size that may be on the disk."""
        with self.client() as client:
            client.config_set("appendfsync", "no")
        return self.append_only_file.stat().st_size

    def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not _runs(pid)), "the store does not die"

    def lose(self, synced_bytes: int) -> int:
        """Take away what was written last, as a loss of power does; how many bytes that was.

        What was synced stays, and some of what came behind it; where the rest begins is in the middle of a command.

        Args:
            synced_bytes: What may be on the disk.
        """
        file = self.append_only_file
        written = file.read_bytes()
        kept = synced_bytes + (len(written) - synced_bytes) // 4
        while written[kept - 1 : kept] == b"\n":
            kept += 1
        os.truncate(file, kept)
        return len(written) - kept


def _runs(pid: int) -> bool:
    """Whether a process still runs; one that is dead and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
