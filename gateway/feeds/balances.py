"""Balances for those who watch: each watched office is read twice a second, however many watch it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from gateway.domain.vocabulary import RefillState
from gateway.projection.offices import OfficeLost
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock

SAMPLE_EVERY_SECONDS: Final = 0.5
_READS_AT_ONCE: Final = 200


class Sample(NamedTuple):
    """What is shown of a balance."""

    balance_micros: int
    reserved_micros: int
    available_micros: int
    refill_state: RefillState


class _Watched:
    """An office with at least one watcher: the last sample, when it was taken, and the number of the change."""

    __slots__ = ("at_ms", "changed", "sample", "watchers")

    def __init__(self, sample: Sample, at_ms: int) -> None:
        self.sample = sample
        self.at_ms = at_ms
        self.watchers = 0
        self.changed = asyncio.Event()


class BalanceFeed:
    """Samples the balances that are watched."""

    def __init__(self, store: BalanceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    async def watch(self, office_id: str) -> AsyncGenerator[tuple[Sample, int], None]:
        """Yield the balance and its instant at once, and again whenever a sample differs; a slow reader skips some.

        Raises:
            OfficeLost: The store does not hold the office.
            StoreUnavailable: The store did not answer.
        """
        if office_id not in self._watched:
            sample = await self._read(office_id)
            if sample is None:
                raise OfficeLost(office_id)
            self._watched.setdefault(office_id, _Watched(sample, self._clock.now_ms()))
        with self._watching(office_id) as watched:
            shown: Sample | None = None
            while True:
                if watched.sample != shown:
                    shown = watched.sample
                    yield shown, watched.at_ms
                else:
                    await watched.changed.wait()

    async def turn(self) -> bool:
        """Take a sample of every watched office.

        Raises:
            StoreUnavailable: The store did not answer; the watchers hear nothing meanwhile.
        """
        office_ids = list(self._watched)
        for start in range(0, len(office_ids), _READS_AT_ONCE):
            some = office_ids[start : start + _READS_AT_ONCE]
            samples = await asyncio.gather(*map(self._read, some))
            for office_id, sample in zip(some, samples, strict=True):
                watched = self._watched.get(office_id)
                if watched is not None and sample is not None and sample != watched.sample:
                    watched.sample, watched.at_ms = sample, self._clock.now_ms()
                    watched.changed.set()
                    watched.changed = asyncio.Event()
        return False

    @contextmanager
    def _watching(self, office_id: str) -> Iterator[_Watched]:
        watched = self._watched[office_id]
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if watched.watchers == 0:
                self._watched.pop(office_id, None)

    async def _read(self, office_id: str) -> Sample | None:
        office = await self._store.read_office(office_id)
        if office is None:
            return None
        return Sample(office.balance_micros, office.reserved_micros, office.available_micros, office.refill_state)
