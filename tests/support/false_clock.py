"""A wall clock that a test sets while processes run by it: libfaketime of Debian's `faketime`, preloaded.

The monotonic clock stays as it is, as on a machine whose clock somebody sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import missing_server

_LIBRARY = "faketime/libfaketimeMT.so.1"
_PLACES = Path("/usr/lib")
_SHARED = Path("/dev/shm")


def find_library() -> Path | None:
    """What processes preload in order to go by a false clock; None: it is not on this machine."""
    return next(_PLACES.glob(f"*/{_LIBRARY}"), None)


@dataclass(frozen=True, slots=True)
class FalseClock:
    """The clock of the processes that are started with its environment.

    Args:
        file: Where it is kept how wrong the clock is; made by the first `set`.
    """

    file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in order to go by it; skips the test where the library is missing."""
        library = find_library()
        if library is None:
            missing_server("faketime: not on this machine (apt-get install faketime)")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # With its cure for a glibc of 2017 gRPC's threads do not sleep.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, seconds: int) -> None:
        """Set it so many seconds ahead of the right time, or behind it."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.rename(self.file)

    def forget(self, pid: int) -> None:
        """Remove what the library keeps of a process that was killed: another one with its pid would not start."""
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (_SHARED / name).unlink(missing_ok=True)
