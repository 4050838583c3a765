"""How much is decided during each fault, how fast emergencies are granted, and when funded calls are again."""

import asyncio
from collections import Counter
from time import monotonic

from gateway.v1 import authorization_pb2 as pb
from loadtest.chaos.books import Books


class Helped:
    """Emergency calls that were granted.

    Attributes:
        granted: Fault -> how many that were asked for during it.
        slowest_seconds: Fault -> what the slowest of them waited.
    """

    def __init__(self) -> None:
        self.granted: Counter[str] = Counter()
        self.slowest_seconds: dict[str, float] = {}

    def note(self, fault: str, seconds: float) -> None:
        """One was granted, after so long."""
        self.granted[fault] += 1
        self.slowest_seconds[fault] = max(self.slowest_seconds.get(fault, 0.0), seconds)


class Meter:
    """Counts by the fault that goes on.

    Args:
        books: They say which one that is.

    Attributes:
        decisions: Fault -> calls and messages that were decided meanwhile, denials too.
        unavailable: Fault -> times that a caller heard that there is no answer now, or heard none.
        helped: Emergency calls by the switches' Sessions.
        helped_directly: The same, asked of the gateway itself.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._funded = asyncio.Event()
        self.decisions: Counter[str] = Counter()
        self.unavailable: Counter[str] = Counter()
        self.helped = Helped()
        self.helped_directly = Helped()

    def decided(self, reason: int) -> None:
        """A call or message was decided, for the reason that was answered."""
        self.decisions[self._books.current] += 1
        if reason == pb.FUNDED:
            self._funded.set()

    def not_answered(self) -> None:
        """A caller has to ask again."""
        self.unavailable[self._books.current] += 1

    async def next_funded(self) -> float:
        """Wait for the next funded decision; returns when it was answered, by the monotonic clock."""
        self._funded.clear()
        await self._funded.wait()
        return monotonic()
