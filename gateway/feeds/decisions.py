"""Decisions a second for those who watch, as this machine's gateways count them.

It covers the gateways whose metrics this process serves: those of this machine. What gateways on other machines decide
is in their own metrics; a Prometheus adds them up.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.domain.vocabulary import Decision, Reason
from gateway.metric_sums import DecisionCounts
from gateway.store.clock import Clock

SAMPLE_EVERY_SECONDS: Final = 1.0
HISTORY_SAMPLES: Final = 300
"""Five minutes."""

WANTED_MS: Final = 60_000
"""How long samples are taken after the last who asked: a page that is opened again finds its curve."""


@dataclass(frozen=True, slots=True)
class DecisionSample:
    """What was decided between two looks at the counters, in decisions a second.

    Attributes:
        at_ms: The second look, in Unix milliseconds.
        by_reason: What did not come is not in it.
        by_operation: Of "call" and "message", likewise.
        live_calls: Calls that are ringing or talking then, over all offices of the store.
        reserved_micros: Held for them; some seconds old.
    """

    at_ms: int
    by_reason: Mapping[Reason, float]
    by_operation: Mapping[str, float]
    live_calls: int
    reserved_micros: int

    @property
    def per_second(self) -> float:
        """All decisions."""
        return sum(self.by_reason.values())

    @property
    def granted_per_second(self) -> float:
        """Those that let a call or message through."""
        return self._of(Decision.GRANTED)

    @property
    def denied_per_second(self) -> float:
        """Those that did not."""
        return self._of(Decision.DENIED)

    def _of(self, decision: Decision) -> float:
        return sum(rate for reason, rate in self.by_reason.items() if reason.decision is decision)


class _Look(NamedTuple):
    at_ms: int
    counts: DecisionCounts


class DecisionFeed:
    """Samples the decisions of this machine's gateways, while somebody watches and for a minute after.

    Args:
        read: Reads the sums of the counters, in a thread; None: not now.
        clock: The store's.
    """

    def __init__(self, read: Callable[[], DecisionCounts | None], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._samples: deque[DecisionSample] = deque(maxlen=HISTORY_SAMPLES)
        self._last: _Look | None = None
        self._watchers = 0
        self._wanted_until_ms = 0
        self._changed = asyncio.Event()

    async def watch(self) -> AsyncGenerator[DecisionSample, None]:
        """Yield the latest sample, if there is one, and then each new one; a slow reader skips some."""
        with self._watching():
            shown: DecisionSample | None = None
            while True:
                if self._samples and self._samples[-1] is not shown:
                    shown = self._samples[-1]
                    yield shown
                else:
                    await self._changed.wait()

    def history(self) -> Sequence[DecisionSample]:
        """The samples of the last five minutes, oldest first; to ask for them counts as watching.

        It is empty for two seconds after a while in which nobody did.
        """
        self._want()
        return tuple(self._samples)

    async def turn(self) -> bool:
        """Take a sample, if somebody wants one."""
        if not self._watchers and self._clock.now_ms() >= self._wanted_until_ms:
            # Whoever comes next begins anew: a rate over the time in between would be of no second of it.
            self._samples.clear()
            self._last = None
            return False
        counts = await asyncio.to_thread(self._read)
        if counts is None:
            return False
        look = _Look(self._clock.now_ms(), counts)
        before, self._last = self._last, look
        if before is not None and look.at_ms > before.at_ms:
            self._samples.append(_between(before, look))
            self._changed.set()
            self._changed = asyncio.Event()
        return False

    def _want(self) -> None:
        self._wanted_until_ms = self._clock.now_ms() + WANTED_MS

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self._want()


def _between(before: _Look, after: _Look) -> DecisionSample:
    seconds = (after.at_ms - before.at_ms) / 1000
    by_reason: dict[Reason, float] = defaultdict(float)
    by_operation: dict[str, float] = defaultdict(float)
    for key, count in after.counts.decisions.items():
        # A sum falls when the file of a process is gone; how many there were meanwhile nobody knows.
        rate = max(0, count - before.counts.decisions.get(key, 0)) / seconds
        if rate:
            operation, reason = key
            by_reason[reason] += rate
            by_operation[operation] += rate
    return DecisionSample(
        after.at_ms, dict(by_reason), dict(by_operation), after.counts.live_calls, after.counts.reserved_micros
    )
