"""Faults of a store that is alone, and of the way to it."""

import asyncio
import signal
from random import Random
from typing import ClassVar

from loadtest.chaos.fault import Fault, Part, Strokes
from loadtest.chaos.means import Means
from loadtest.chaos.stores.form import Form
from loadtest.chaos.stores.one import OneStore


class OneStoreFault(Fault):
    """What can be done to one store, and to the way to it."""

    part = Part.STORE
    forms = (Form.ONE,)

    @property
    def store(self) -> OneStore:
        """The site's."""
        assert isinstance(self._site.store, OneStore)
        return self._site.store


class StoreKilled(OneStoreFault):
    """The store's process dies; the machine, and what the kernel has of its file, goes on."""

    name = "store killed"
    about = "kill -9 of the store; started again on its append-only file at the end"
    lasts_seconds = (0.2, 1.5)
    may_lose_seconds = 2.0

    async def begin(self) -> None:
        """Kill it."""
        self.store.server.kill()

    async def end(self) -> None:
        """Start it again."""
        self.store.server.start()
        await asyncio.to_thread(self.store.server.wait_ready)


class StoreSlow(OneStoreFault):
    """Everything that is sent to the store comes there late."""

    name = "store slow"
    about = "each request reaches the store 100 ms late"
    delay_ms: ClassVar[int] = 100

    async def begin(self) -> None:
        """Slow it down."""
        self.store.proxy.delay(self.delay_ms)

    async def end(self) -> None:
        """Pass everything on again."""
        self.store.proxy.pass_on()


class StoreCutBeforeSend(Strokes, OneStoreFault):
    """Requests that the store never sees."""

    name = "store cut before the send"
    about = "again and again the connection closes in the place of a request that goes to the store"

    async def strike(self, chance: Random) -> None:
        """Cut at one of the next requests."""
        self.store.proxy.cut_before_send(skip=chance.randrange(20))

    async def end(self) -> None:
        """Pass everything on again."""
        await super().end()
        self.store.proxy.pass_on()


class StoreCutAfterSend(StoreCutBeforeSend):
    """Requests that the store runs, and whose answers are lost: nobody knows what happened."""

    name = "store cut after the send"
    about = "again and again the connection closes in the place of the store's answer"

    async def strike(self, chance: Random) -> None:
        """Cut at the answer to one of the next requests."""
        self.store.proxy.cut_after_send(skip=chance.randrange(20))


class StorePartitioned(OneStoreFault):
    """A network that swallows: connections stay, and what was sent arrives when it is over, long given up."""

    name = "store partitioned"
    about = "nothing passes between gateway and store, and no connection closes; what was sent arrives at the end"

    async def begin(self) -> None:
        """Hold everything."""
        self.store.proxy.partition()

    async def end(self) -> None:
        """Let it go."""
        self.store.proxy.mend()


class StoreReadOnly(OneStoreFault):
    """A store that takes no writes, as one that a failover has left behind."""

    name = "store read-only"
    about = "the store is made a replica of nobody, and refuses writes"

    async def begin(self) -> None:
        """Make it a replica of a primary that does not exist, so that it keeps what it has."""
        await asyncio.to_thread(self.store.server.ask, "REPLICAOF", "127.0.0.1", "1")

    async def end(self) -> None:
        """Make it a primary again."""
        await asyncio.to_thread(self.store.server.ask, "REPLICAOF", "NO", "ONE")


class StoreFull(OneStoreFault):
    """A store without memory: it stops selling, and goes on settling."""

    name = "store out of memory"
    about = "maxmemory below what the store uses"

    async def begin(self) -> None:
        """Leave it no memory."""
        await asyncio.to_thread(self.store.server.ask, "CONFIG", "SET", "maxmemory", "1")

    async def end(self) -> None:
        """Give it all of it."""
        await asyncio.to_thread(self.store.server.ask, "CONFIG", "SET", "maxmemory", "0")


class StoreStopped(OneStoreFault):
    """A store that stands still, as on a machine that swaps or whose clock was stopped."""

    name = "store stopped"
    about = "SIGSTOP of the store, SIGCONT at the end"

    async def begin(self) -> None:
        """Stop it."""
        self.store.server.signal(signal.SIGSTOP)

    async def end(self) -> None:
        """Let it go on."""
        self.store.server.signal(signal.SIGCONT)


class DiskFull(OneStoreFault):
    """A disk without room for the append-only file: the store refuses to write, and goes on when there is some."""

    name = "disk full"
    about = "the disk of the store's append-only file has not a page left"
    needs = Means.SMALL_DISK

    async def begin(self) -> None:
        """Take all of it."""
        assert self.store.disk is not None
        await asyncio.to_thread(self.store.disk.fill)

    async def end(self) -> None:
        """Give it back."""
        assert self.store.disk is not None
        self.store.disk.make_room()
