"""What the locust process is to do, in a file that the command writes and the process reads."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from loadtest.load.offices import Offices
from loadtest.users.profiles import CEILING, PROFILES, Profile

PLAN_VARIABLE: Final = "TOLLGATE_LOAD_PLAN"
"""Names the file in the environment of the locust process."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        server: Of CallAuthorization.
        token: A switch's.
        run_id: Goes into the ids of calls and messages.
        offices: Who pays.
        profile: By name; empty: the ceiling.
        users: At the most.
        seconds: How long, without the climb.
        scale: Seconds of talk in a second of the run.
        aim_ms: Of p99, for a profile that climbs.
        step_seconds: Of each of its steps.
        seed: Of all chances.
        supervisor_pid: Whose front an outage kills.
        result: Where the process writes what came of it.
    """

    server: str
    token: str
    run_id: str
    offices: Offices
    profile: str
    users: int
    seconds: float
    scale: float
    aim_ms: float
    step_seconds: float
    seed: int
    supervisor_pid: int | None
    result: Path = Path()

    @property
    def shape(self) -> Profile:
        """The profile itself."""
        return PROFILES[self.profile] if self.profile else CEILING

    def write(self, path: Path) -> None:
        """Write it for the process; nobody else may read it, since the token is in it."""
        path.touch(mode=0o600)
        path.write_text(json.dumps({**asdict(self), "result": str(self.result)}))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what the command has written."""
        said = json.loads(path.read_text())
        offices = Offices(**{kind: tuple(names) for kind, names in said.pop("offices").items()})
        return cls(**{**said, "offices": offices, "result": Path(said["result"])})
