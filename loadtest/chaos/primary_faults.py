"""Faults of stores that have replicas: their primaries die, and a replica is promoted."""

import asyncio
from random import Random
from time import monotonic

from loadtest.chaos.books import Occurrence
from loadtest.chaos.fault import Fault, Part
from loadtest.chaos.meter import Decided
from loadtest.chaos.stores.form import Form
from loadtest.chaos.stores.replicated import MAY_LOSE_SECONDS, ON_ITS_WAY_SECONDS, ReplicatedStore


class PrimaryKilled(Fault):
    """A primary's machine dies, and comes back as a replica of the one that was promoted in its place."""

    name = "primary killed"
    about = "kill -9 of the primary that sentinels watch; it comes back as a replica when one has been promoted"
    part = Part.STORE
    forms = (Form.SENTINELS,)
    # What was on its way is answered meanwhile; all else waits for the promotion, which is recovery.
    lasts_seconds = (0.3, 0.6)
    recovers_seconds = 4.0
    may_lose_seconds = MAY_LOSE_SECONDS

    @classmethod
    def draw(cls, chance: Random) -> dict[str, int]:
        """The office whose primary it is; it has funds, so that its next decision shows recovery."""
        return {"office": chance.randrange(1 << 16)}

    async def begin(self) -> None:
        """Kill it."""
        offices = self._site.offices
        self._office_id = offices.funded[self._parameters["office"] % len(offices.funded)]
        self._killed = await asyncio.to_thread(self._store.primary_of, self._office_id)
        self._of_the_killed = await asyncio.to_thread(self._store.offices_of, self._killed, offices.all())
        self._killed.kill()
        self._killed_at = monotonic()

    async def end(self) -> None:
        """Bring it back as a replica, as soon as it has a primary.

        Raises:
            BenchError: None was promoted, or it did not start.
        """
        await asyncio.to_thread(self._store.wait_promoted, self._killed, self._office_id)
        await asyncio.to_thread(self._store.bring_back, self._killed)

    def occurrence(self, began_at: float) -> Occurrence:  # noqa: ARG002 - what counts is when it died
        """Of its offices alone."""
        return Occurrence(self.name, self._killed_at, self.may_lose_seconds, ON_ITS_WAY_SECONDS, self._of_the_killed)

    def hits(self, decided: Decided) -> bool:
        """Its offices alone."""
        return decided.office_id in self._of_the_killed

    @property
    def _store(self) -> ReplicatedStore:
        assert isinstance(self._site.store, ReplicatedStore)
        return self._site.store


class ClusterPrimaryKilled(PrimaryKilled):
    """One of several; the offices of the others notice nothing."""

    name = "primary of a Cluster killed"
    about = "kill -9 of one of three primaries; it comes back as a replica when its own has been promoted"
    forms = (Form.CLUSTER,)
