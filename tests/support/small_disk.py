"""A disk of a few megabytes that a test can fill: a tmpfs, which needs root to be mounted."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_MEGABYTE = 1 << 20
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted disk."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self) -> None:
        """Take every page of it that is free."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (_MEGABYTE, _PAGE):
                with suppress(OSError):
                    while True:
                        filler.write(bytes(size))

    def make_room(self) -> None:
        """Give back what `fill` has taken."""
        self._filler.unlink()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk at a path, made for it, until the block ends; skips the test without the right to."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own to fill up: only root may mount one")
    with mounted(path, megabytes) as disk:
        yield disk


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """The same where no test is to be skipped.

    Raises:
        subprocess.CalledProcessError: It may not be mounted here.
    """
    path.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=10)
    try:
        yield SmallDisk(path)
    finally:
        # Lazily: a process that has not ended yet keeps what it has open, and nobody else sees it.
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=10)


def may_mount() -> bool:
    """Whether disks can be mounted here: not every root may, in a container say."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with mounted(Path(directory, "disk"), 1):
                return True
        except (OSError, subprocess.SubprocessError):
            return False
