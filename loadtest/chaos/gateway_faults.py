"""Faults of the gateway's own machine: its processes, its clock, and its database."""

import asyncio
import subprocess
from random import Random
from typing import ClassVar, Final

from loadtest.chaos.fault import Fault, Part, Stroke
from loadtest.chaos.means import Means
from loadtest.chaos.stores.form import Form

HOUR_SECONDS: Final = 3_600


class ChildKilled(Stroke):
    """A process that the supervisor has started dies.

    Attributes:
        child: What it is called.
    """

    part = Part.GATEWAY
    child: ClassVar[str]

    async def begin(self) -> None:
        """Kill it."""
        self._site.kill_child(self.child, self._parameters.get("worker", 0))


class WorkerKilled(ChildKilled):
    """One of the processes that decide dies."""

    name = "worker killed"
    about = "kill -9 of one of the front workers; the supervisor starts another"
    child = "front"

    @classmethod
    def draw(cls, chance: Random) -> dict[str, int]:
        """Which of them."""
        return {"worker": chance.randrange(1 << 16)}


class BackKilled(ChildKilled):
    """The process with the SQL side dies."""

    name = "back killed"
    about = "kill -9 of the back: refills, Credits, HTTP; the supervisor starts another"
    child = "back"


class JournalerKilled(ChildKilled):
    """The process that takes the outboxes into the ledger dies, in the middle of a transaction as often as not."""

    name = "journaler killed"
    about = "kill -9 of the journaler; the supervisor starts another"
    child = "journaler"


class GatewayKilled(Fault):
    """All processes of the gateway die at once; the store goes on."""

    name = "gateway killed"
    about = "kill -9 of supervisor, back, journaler and fronts together; started again at the end"
    part = Part.GATEWAY
    # Its start takes longer than a promotion, and no store makes another fault of it.
    forms = (Form.ONE,)
    lasts_seconds = (0.2, 1.0)
    recovers_seconds = 5.0
    stops_fronts = True

    async def begin(self) -> None:
        """Kill them."""
        self._site.kill_gateway()

    async def end(self) -> None:
        """Start the gateway again, on the same data."""
        await self._site.start_gateway()


class ClockAhead(Fault):
    """A wall clock that somebody sets, or that is set right after it was wrong; the monotonic one stays as it is."""

    name = "clock ahead"
    about = "the gateway's clock jumps an hour ahead, and back at the end"
    part = Part.CLOCK
    needs = Means.FALSE_CLOCK
    # The processes look once a second how wrong it is.
    lasts_seconds = (2.0, 4.0)
    seconds: ClassVar[int] = HOUR_SECONDS

    async def begin(self) -> None:
        """Set it wrong."""
        self._set(self.seconds)

    async def end(self) -> None:
        """Set it right."""
        self._set(0)

    def _set(self, seconds: int) -> None:
        assert self._site.clock is not None
        self._site.clock.set(seconds)


class ClockBehind(ClockAhead):
    """The same the other way."""

    name = "clock behind"
    about = "the gateway's clock jumps an hour back, and ahead at the end"
    seconds = -HOUR_SECONDS


class SqlLocked(Fault):
    """Another program that writes into the database and does not end its transaction."""

    name = "SQL locked"
    about = "another process holds the SQLite database locked for all writers"
    part = Part.DATABASE
    lasts_seconds = (2.0, 4.0)

    async def begin(self) -> None:
        """Have it locked; returns when it is.

        Raises:
            BenchError: It could not be.
        """
        self._holder = await asyncio.to_thread(self._site.lock_database)

    async def end(self) -> None:
        """End the transaction, with its process."""
        await asyncio.to_thread(_end, self._holder)


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()
