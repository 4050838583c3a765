"""Profiles: how many users there are when, of which kinds, and what happens to the gateway meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final


class Kind(StrEnum):
    """Kinds of users."""

    CALLS = "calls"
    MESSAGES = "messages"
    UNFUNDED = "unfunded"
    CAMPAIGN = "campaign"
    REFILLED = "refilled"
    CEILING = "ceiling"


@dataclass(frozen=True, slots=True)
class Profile:
    """A load over time. Times are shares of the run, 0 to 1.

    Attributes:
        about: What it is like, in a line.
        mix: Kind -> its share of the users, in whole parts.
        load: Points in time and the share of all users there is then; in a straight line between them.
        surge: From when to when the campaign and the refilled offices send; None: never.
        outage_at: When the gateway's front is killed; None: never.
        climbs: Whether the number of users is found by climbing: the most with which the latency stays below the aim.
    """

    about: str
    mix: Mapping[Kind, int]
    load: tuple[tuple[float, float], ...] = ((0.0, 1.0), (1.0, 1.0))
    surge: tuple[float, float] | None = None
    outage_at: float | None = None
    climbs: bool = False

    def users_at(self, time: float, most: int) -> int:
        """How many users there are at a time; one at least."""
        for (begin, before), (end, after) in pairwise(self.load):
            if time <= end:
                share = before + (after - before) * (time - begin) / (end - begin)
                return max(1, round(share * most))
        return max(1, round(self.load[-1][1] * most))

    def is_surge(self, time: float) -> bool:
        """Whether it is the time of the surge."""
        return self.surge is not None and self.surge[0] <= time < self.surge[1]


_EVERYDAY: Final = {Kind.CALLS: 7, Kind.MESSAGES: 2, Kind.UNFUNDED: 1}

PROFILES: Final[Mapping[str, Profile]] = {
    "steady": Profile("calls and messages at one rate, among them offices without funds", _EVERYDAY),
    "morning": Profile(
        "the ramp of a morning: from a twentieth to everybody in six tenths of the run",
        _EVERYDAY,
        load=((0.0, 0.05), (0.2, 0.15), (0.4, 0.55), (0.6, 1.0), (1.0, 1.0)),
    ),
    "campaign": Profile(
        "from three to seven tenths of the run offices send messages in bursts, without a pause",
        {Kind.CALLS: 5, Kind.MESSAGES: 1, Kind.UNFUNDED: 1, Kind.CAMPAIGN: 3},
        surge=(0.3, 0.7),
    ),
    "refills": Profile(
        "a refill storm: from two tenths of the run on many offices fall below their threshold together",
        {Kind.CALLS: 5, Kind.MESSAGES: 1, Kind.UNFUNDED: 1, Kind.REFILLED: 3},
        surge=(0.2, 0.9),
    ),
    "outage": Profile(
        "at four tenths of the run the front is killed, and all ask again with the same ids until it is back",
        _EVERYDAY,
        outage_at=0.4,
    ),
    "highest": Profile(
        "climbs until p99 exceeds the aim, then goes at the highest rate that did not for the whole time",
        _EVERYDAY,
        climbs=True,
    ),
}

CEILING: Final = Profile("no pauses, against a server that answers a constant", {Kind.CEILING: 1})
"""What locust itself is capable of."""


@dataclass
class Climb:
    """The search for the highest number of users.

    Goes up a step at a time. A step too high is tried again, since another process may have been what disturbed it; the
    third time the highest good one is it, less a margin: the whole run is longer than a step, and meets more. Where it
    meets still more than that, it gives way and begins anew. Where the first step is too high already, it is halved,
    down to an eighth.

    Args:
        aim_ms: What p99 must stay below.
        first: Users of the first step.
        most: Where it ends at the latest.
    """

    aim_ms: float
    first: int
    most: int
    users: int = field(init=False)
    found: int | None = field(default=None, init=False)
    steps: list[tuple[int, float]] = field(default_factory=list, init=False)
    _good: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)

    GROWTH: Final = 1.3
    MARGIN: Final = 0.9
    TRIES: Final = 3
    GIVES_WAY: Final = 0.85
    LEAST: Final = 8
    """The first step divided by this is the smallest one."""

    def __post_init__(self) -> None:
        self.users = min(self.first, self.most)

    def judge(self, p99_ms: float) -> None:
        """Take what was measured with `users`, and choose the next, or `found`."""
        self.steps.append((self.users, p99_ms))
        if p99_ms < self.aim_ms:
            self._good, self._failures = self.users, 0
            if self.users >= self.most:
                self._end()
            else:
                self.users = min(self.most, max(self.users + 1, round(self.users * self.GROWTH)))
        else:
            self._failures += 1
            if self._failures == self.TRIES:
                half = self.users // 2
                if self._good or half < max(1, self.first // self.LEAST):
                    self._end()
                else:
                    self.users, self._failures = half, 0

    def give_way(self, p99_ms: float) -> bool:
        """Have a whole run that does not keep the aim begin anew with fewer; False: with fewer it makes no sense."""
        fewer = int(self.GIVES_WAY * self.users)
        if fewer < max(1, self.first // self.LEAST):
            return False
        self.steps.append((self.users, p99_ms))
        self.found = self.users = fewer
        return True

    def _end(self) -> None:
        # Where no step was good, it goes on with less than the first, and the result says that it was too much.
        self.found = self.users = max(1, round(self.MARGIN * (self._good or self.first)))
