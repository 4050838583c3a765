"""What a fault is."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import Enum
from random import Random
from typing import ClassVar, Final

from loadtest.chaos.books import Occurrence
from loadtest.chaos.means import Means
from loadtest.chaos.meter import Decided
from loadtest.chaos.site import Site
from loadtest.chaos.stores.form import Form

SEED: Final = "seed"
"""The parameter of faults that leave something to chance while they last."""


class Part(Enum):
    """What a fault is in; two of one part would undo each other's work."""

    GATEWAY = "its processes"
    CLOCK = "what they take for the time"
    STORE = "the store, and the way to it"
    CALLERS = "those who connect"
    DATABASE = "SQL"


class Fault(ABC):
    """Something that goes wrong for a while.

    Args:
        site: Where.
        parameters: As `draw` drew them.

    Attributes:
        name: In the report.
        about: What happens, in a phrase.
        part: What it is in.
        forms: With which stores it can be had.
        needs: What it can be had with alone, and not every machine has; None: nothing.
        lasts_seconds: The shortest and the longest time from its beginning to its end.
        recovers_seconds: What its recovery takes on a quiet machine, where that is more than a moment: the plan leaves
            time for it.
        may_lose_seconds: What was acknowledged so long before its beginning may be lost; 0: nothing. Whatever is more
            than 0 is explained in docs/operating/faults.md.
        stops_fronts: Whether no front decides while it lasts, emergency calls included.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    part: ClassVar[Part]
    forms: ClassVar[Collection[Form]] = tuple(Form)
    needs: ClassVar[Means | None] = None
    lasts_seconds: ClassVar[tuple[float, float]] = (1.0, 2.5)
    recovers_seconds: ClassVar[float] = 0.0
    may_lose_seconds: ClassVar[float] = 0.0
    stops_fronts: ClassVar[bool] = False

    def __init__(self, site: Site, parameters: Mapping[str, int]) -> None:
        self._site = site
        self._parameters = parameters

    @classmethod
    def draw(cls, chance: Random) -> dict[str, int]:  # noqa: ARG003 - most leave nothing to chance
        """The parameters of one time, by name."""
        return {}

    @abstractmethod
    async def begin(self) -> None:
        """Make it go wrong."""

    @abstractmethod
    async def end(self) -> None:
        """Make it right again, as far as it does not get right by itself."""

    def occurrence(self, began_at: float) -> Occurrence:
        """What the books may blame it for, once it has begun.

        Args:
            began_at: When `begin` was called, by the monotonic clock.
        """
        return Occurrence(self.name, began_at, self.may_lose_seconds)

    def hits(self, decided: Decided) -> bool:  # noqa: ARG002 - most hit them all
        """Whether it keeps those from being answered who were decided so: they are whom recovery is waited for."""
        return True


class Stroke(Fault):
    """Happens in one moment; who looks after what was struck has it up again by itself."""

    lasts_seconds = (0.2, 1.0)

    async def end(self) -> None:
        """It is over already."""


class Strokes(Fault):
    """Happens again and again while it lasts."""

    every_seconds: ClassVar[float] = 0.15

    @classmethod
    def draw(cls, chance: Random) -> dict[str, int]:
        """What is left to chance meanwhile has a seed of its own."""
        return {SEED: chance.randrange(1 << 32)}

    async def begin(self) -> None:
        """Strike until `end`."""
        self._striking = asyncio.create_task(self._strike_again_and_again(Random(self._parameters[SEED])))

    async def end(self) -> None:
        """Strike no more; an error of the strokes is raised here."""
        self._striking.cancel()
        with suppress(asyncio.CancelledError):
            await self._striking

    @abstractmethod
    async def strike(self, chance: Random) -> None:
        """Once."""

    async def _strike_again_and_again(self, chance: Random) -> None:
        while True:
            await self.strike(chance)
            await asyncio.sleep(self.every_seconds * chance.uniform(0.5, 1.5))
