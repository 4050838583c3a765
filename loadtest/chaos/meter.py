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
        unanswered: Fault -> times that a caller heard that there is no answer now, or heard none.
        helped: Emergency calls by the switches' Sessions.
        helped_directly: The same, asked of the gateway itself.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._funded: asyncio.Future[float] | None = None
        self.decisions: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.helped = Helped()
        self.helped_directly = Helped()

    def decided(self, reason: int) -> None:
        """A call or message was decided, for the reason that was answered."""
        self.decisions[self._books.current] += 1
        if reason == pb.FUNDED and self._funded is not None and not self._funded.done():
            self._funded.set_result(monotonic())

    def not_answered(self) -> None:
        """A caller has to ask again."""
        self.unanswered[self._books.current] += 1

    def next_funded(self) -> "asyncio.Future[float]":
        """When the next funded decision from now on is answered, by the monotonic clock."""
        self._funded = asyncio.get_running_loop().create_future()
        return self._funded
