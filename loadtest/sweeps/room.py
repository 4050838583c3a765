"""Whether a point fits into this machine: one that does not is left out, and said to be."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

BYTES_AN_OFFICE: Final = 420
BYTES_A_CALL: Final = 420
"""In the store, the due entry included; a little more than is measured."""

OUTBOX_BYTES_A_CALL: Final = 320
"""While the calls end, until their entries are dropped: all of them at worst."""

FORK_SHARE: Final = 1.5
"""The store forks to rewrite its file, and what changes meanwhile is there twice."""

FRONT_BYTES: Final = 600 * 2**20
"""Gateway, empty handler, generator and the benchmark, with the offices that the front keeps in mind."""

FILE_BYTES_AN_OPERATION: Final = 900
"""In the append-only file, before it is rewritten."""


def memory_needed(offices: int, live_calls: int) -> int:
    """Bytes of memory that a scene needs at its fullest."""
    store = offices * BYTES_AN_OFFICE + live_calls * (BYTES_A_CALL + OUTBOX_BYTES_A_CALL)
    return int(store * FORK_SHARE) + FRONT_BYTES


def disk_needed(offices: int, live_calls: int) -> int:
    """Bytes of disk: making an office takes two operations, a live call's life three."""
    return FILE_BYTES_AN_OPERATION * (2 * offices + 3 * live_calls)


def why_not(memory: int, disk: int) -> str | None:
    """The reason why so much does not fit now; None: it does."""
    free = available_bytes()
    if memory > free:
        return f"not taken: needs about {_gib(memory)} of memory, and {_gib(free)} are free"
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if disk > free:
        return f"not taken: needs about {_gib(disk)} of disk, and {_gib(free)} are free"
    return None


def available_bytes() -> int:
    """Memory that can be had without swapping, as the kernel estimates it, within the limit of this control group."""
    free = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no such file, or "max"
        return free


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
