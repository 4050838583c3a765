"""How much is decided during each fault, how fast emergencies are granted, and when funded calls are again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from gateway.v1 import authorization_pb2 as pb
from loadtest.chaos.books import Books


class Decided(NamedTuple):
    """A call or message that was decided.

    Attributes:
        reason: That was answered.
        office_id: Who pays.
        by_session: Whether a switch's Session asked.
    """

    reason: int
    office_id: str
    by_session: bool


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
        self._waiting: list[tuple[Callable[[Decided], bool], asyncio.Future[float]]] = []
        self.decisions: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.helped = Helped()
        self.helped_directly = Helped()

    def decided(self, decided: Decided) -> None:
        """A call or message was."""
        self.decisions[self._books.current] += 1
        if decided.reason == pb.FUNDED:
            for hit, funded in self._waiting:
                if hit(decided) and not funded.done():
                    funded.set_result(monotonic())
            self._waiting = [each for each in self._waiting if not each[1].done()]

    def not_answered(self) -> None:
        """A caller has to ask again."""
        self.unanswered[self._books.current] += 1

    def next_funded(self, hit: Callable[[Decided], bool]) -> "asyncio.Future[float]":
        """When the next funded decision from now on is answered, by the monotonic clock.

        Args:
            hit: Whose decisions count.
        """
        funded: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((hit, funded))
        return funded
