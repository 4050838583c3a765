"""How people call: how long it rings, whether somebody answers, how long they talk, and where they call."""

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from loadtest.callers import PREFIXES

UNANSWERED: Final = 0.25
"""Share of calls that nobody answers."""

_MEDIAN_SECONDS: Final = 85.0
_SPREAD: Final = 1.1
_LONGEST_SECONDS: Final = 3_600
_LOCAL: Final = "+1212555"
"""With four more digits; a local call of the offices, which are in the US."""

IDLE_SECONDS: Final = 60.0
"""Between two calls of a user, on the average."""

MESSAGE_IDLE_SECONDS: Final = 30.0
"""Between two messages of a user, on the average."""


class Called(StrEnum):
    """What kind of number is called, by what it costs."""

    ABROAD = "abroad"
    LOCAL = "local"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call before it is placed.

    Attributes:
        called: The kind of number.
        called_number: As it is dialled.
        ring_seconds: Until it is answered, or the caller gives up.
        talk_seconds: From the answer; 0: nobody answers.
    """

    called: Called
    called_number: str
    ring_seconds: float
    talk_seconds: int


def plan_call(chance: Random) -> PlannedCall:
    """A call of somebody at random.

    Talk is log-normal, as measured talk times are: half of the calls end within a minute and a half, the mean is above
    two and a half, and few last an hour.
    """
    drawn = chance.random()
    if drawn < 0.7:
        called, number = Called.ABROAD, f"{chance.choice(PREFIXES)}{chance.randrange(100_000):05}"
    elif drawn < 0.99:
        called, number = Called.LOCAL, f"{_LOCAL}{chance.randrange(10_000):04}"
    else:
        called, number = Called.EMERGENCY, "911"
    talk = 0
    if chance.random() >= UNANSWERED:
        talk = min(_LONGEST_SECONDS, max(1, round(chance.lognormvariate(math.log(_MEDIAN_SECONDS), _SPREAD))))
    return PlannedCall(called, number, chance.uniform(3, 20), talk)


def plan_paid_call(chance: Random) -> PlannedCall:
    """One that costs something."""
    while (planned := plan_call(chance)).called is not Called.ABROAD:
        pass
    return planned


def plan_number(chance: Random) -> str:
    """Where a message goes: to the same country, mostly; it costs something everywhere."""
    return f"{_LOCAL}{chance.randrange(10_000):04}" if chance.random() < 0.8 else abroad(chance)


def abroad(chance: Random) -> str:
    """A mobile number in another country."""
    return f"+4477009{chance.randrange(100_000):05}"
