"""What every result says of its run: when, where, and by which code figures were taken."""

import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from loadtest.machine import describe_commit, describe_machine

SCHEMA: Final = 1
"""Of the JSON files: raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A run.

    Attributes:
        at: When it began.
        since: The same by the monotonic clock.
        machine: As `describe_machine` says; more may be added.
    """

    at: datetime
    since: float
    machine: dict[str, Any]

    @classmethod
    def now(cls, directory: Path | None = None) -> Self:
        """It begins now.

        Args:
            directory: Where the stores keep their append-only files; None: where temporary files are.
        """
        return cls(datetime.now(UTC), time.monotonic(), describe_machine(directory or Path(tempfile.gettempdir())))

    def head(self) -> dict[str, Any]:
        """What a result begins with, at the end of the run."""
        return {
            "schema": SCHEMA,
            "taken_at": self.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "commit": describe_commit(),
            "machine": {**self.machine, "load_average_after": round(os.getloadavg()[0], 2)},
        }

    def seconds(self) -> float:
        """How long it has taken so far."""
        return round(time.monotonic() - self.since, 1)
