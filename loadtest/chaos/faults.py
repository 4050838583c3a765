"""The faults, each with how it begins and how it ends, in one table."""

import asyncio
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from random import Random
from typing import ClassVar, Final

from loadtest.chaos.site import Site

SEED: Final = "seed"
"""The parameter of faults that leave something to chance while they last."""


class Part(Enum):
    """What a fault is in; two of one part would undo each other's work."""

    GATEWAY = "its processes"
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
        lasts_seconds: The shortest and the longest time from its beginning to its end.
        may_lose_seconds: What was acknowledged so long before its beginning may be lost; 0: nothing. Whatever is more
            than 0 is explained in docs/operating/faults.md.
        stops_fronts: Whether no front decides while it lasts, emergency calls included.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    part: ClassVar[Part]
    lasts_seconds: ClassVar[tuple[float, float]] = (1.0, 2.5)
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


class _Stroke(Fault):
    """Happens in one moment; who looks after what was struck has it up again by itself."""

    lasts_seconds = (0.2, 1.0)

    async def end(self) -> None:
        """It is over already."""


class _Strokes(Fault):
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


class WorkerKilled(_Stroke):
    """One of the processes that decide dies."""

    name = "worker killed"
    about = "kill -9 of one of the front workers; the supervisor starts another"
    part = Part.GATEWAY

    @classmethod
    def draw(cls, chance: Random) -> dict[str, int]:
        """Which of them."""
        return {"worker": chance.randrange(1 << 16)}

    async def begin(self) -> None:
        """Kill it."""
        self._site.kill_child("front", self._parameters["worker"])


class BackKilled(_Stroke):
    """The process with the SQL side dies."""

    name = "back killed"
    about = "kill -9 of the back: journal, refills, Credits; the supervisor starts another"
    part = Part.GATEWAY

    async def begin(self) -> None:
        """Kill it."""
        self._site.kill_child("back", 0)


class GatewayKilled(Fault):
    """All processes of the gateway die at once; the store goes on."""

    name = "gateway killed"
    about = "kill -9 of supervisor, back and fronts together; started again at the end"
    part = Part.GATEWAY
    lasts_seconds = (0.2, 1.0)
    stops_fronts = True

    async def begin(self) -> None:
        """Kill them."""
        self._site.gateway.kill()

    async def end(self) -> None:
        """Start the gateway again, on the same data."""
        await self._site.start_gateway()


class StoreKilled(Fault):
    """The store's process dies; the machine, and what the kernel has of its file, goes on."""

    name = "store killed"
    about = "kill -9 of the store; started again on its append-only file at the end"
    part = Part.STORE
    lasts_seconds = (0.2, 1.5)
    may_lose_seconds = 2.0

    async def begin(self) -> None:
        """Kill it."""
        self._site.store.kill()

    async def end(self) -> None:
        """Start it again."""
        self._site.store.start()
        await asyncio.to_thread(self._site.store.wait_ready)


class StoreSlow(Fault):
    """Everything that is sent to the store comes there late."""

    name = "store slow"
    about = "each request reaches the store 100 ms late"
    part = Part.STORE
    delay_ms: ClassVar[int] = 100

    async def begin(self) -> None:
        """Slow it down."""
        self._site.store_proxy.delay(self.delay_ms)

    async def end(self) -> None:
        """Pass everything on again."""
        self._site.store_proxy.pass_on()


class StoreCutBeforeSend(_Strokes):
    """Requests that the store never sees."""

    name = "store cut before the send"
    about = "again and again the connection closes in the place of a request that goes to the store"
    part = Part.STORE

    async def strike(self, chance: Random) -> None:
        """Cut at one of the next requests."""
        self._site.store_proxy.cut_before_send(skip=chance.randrange(20))

    async def end(self) -> None:
        """Pass everything on again."""
        await super().end()
        self._site.store_proxy.pass_on()


class StoreCutAfterSend(StoreCutBeforeSend):
    """Requests that the store runs, and whose answers are lost: nobody knows what happened."""

    name = "store cut after the send"
    about = "again and again the connection closes in the place of the store's answer"

    async def strike(self, chance: Random) -> None:
        """Cut at the answer to one of the next requests."""
        self._site.store_proxy.cut_after_send(skip=chance.randrange(20))


class StorePartitioned(Fault):
    """A network that swallows: connections stay, and what was sent arrives when it is over, long given up."""

    name = "store partitioned"
    about = "nothing reaches the store and no connection closes; what was sent arrives at the end"
    part = Part.STORE

    async def begin(self) -> None:
        """Hold everything."""
        self._site.store_proxy.stall(times=sys.maxsize)

    async def end(self) -> None:
        """Let it go."""
        self._site.store_proxy.pass_on()
        self._site.store_proxy.resume()


class StoreReadOnly(Fault):
    """A store that takes no writes, as one that a failover has left behind."""

    name = "store read-only"
    about = "the store is made a replica of nobody, and refuses writes"
    part = Part.STORE

    async def begin(self) -> None:
        """Make it a replica of a primary that does not exist, so that it keeps what it has."""
        await asyncio.to_thread(self._site.store.ask, "REPLICAOF", "127.0.0.1", "1")

    async def end(self) -> None:
        """Make it a primary again."""
        await asyncio.to_thread(self._site.store.ask, "REPLICAOF", "NO", "ONE")


class StoreFull(Fault):
    """A store without memory: it stops selling, and goes on settling."""

    name = "store out of memory"
    about = "maxmemory below what the store uses"
    part = Part.STORE

    async def begin(self) -> None:
        """Leave it no memory."""
        await asyncio.to_thread(self._site.store.ask, "CONFIG", "SET", "maxmemory", "1")

    async def end(self) -> None:
        """Give it all of it."""
        await asyncio.to_thread(self._site.store.ask, "CONFIG", "SET", "maxmemory", "0")


class StoreStopped(Fault):
    """A store that stands still, as on a machine that swaps or whose clock was stopped."""

    name = "store stopped"
    about = "SIGSTOP of the store, SIGCONT at the end"
    part = Part.STORE

    async def begin(self) -> None:
        """Stop it."""
        self._site.store.signal(signal.SIGSTOP)

    async def end(self) -> None:
        """Let it go on."""
        self._site.store.signal(signal.SIGCONT)


class SwitchCut(_Strokes):
    """Switches that lose their streams."""

    name = "switch cut"
    about = "again and again the connections of all Sessions are reset"
    part = Part.CALLERS
    every_seconds = 0.4

    async def strike(self, chance: Random) -> None:  # noqa: ARG002 - all of them
        """Reset them."""
        self._site.switch_proxy.cut_all()


class Retries(_Strokes):
    """Switches that have heard nothing, or believe so: everything comes again, and not in its order."""

    name = "retries"
    about = "what was settled last is asked again, ten times each and out of order"
    part = Part.CALLERS
    lasts_seconds = (0.5, 1.5)
    every_seconds = 0.3

    async def strike(self, chance: Random) -> None:
        """Ask it all again."""
        await self._site.ask_again(chance)


class Garbage(_Strokes):
    """Whoever finds the port open."""

    name = "garbage"
    about = "connections to the gRPC port that speak no HTTP/2, break off in it, or say nothing"
    part = Part.CALLERS
    every_seconds = 0.05
    most_silent: ClassVar[int] = 200

    async def begin(self) -> None:
        """Keep what is silent open until the end."""
        self._silent: list[asyncio.StreamWriter] = []
        await super().begin()

    async def strike(self, chance: Random) -> None:
        """Send something, and wait for nothing."""
        address = self._site.server
        with suppress(OSError):
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(_GARBAGE[chance.randrange(len(_GARBAGE))] + chance.randbytes(chance.randrange(2_000)))
            await writer.drain()
            if chance.random() < 0.5 and len(self._silent) < self.most_silent:
                self._silent.append(writer)
            else:
                writer.transport.abort()

    async def end(self) -> None:
        """Close what is left."""
        try:
            await super().end()
        finally:
            for writer in self._silent:
                writer.transport.abort()


_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_GARBAGE: Final = (
    b"",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    _PREFACE,
    # A frame of settings that says it is longer than any may be.
    _PREFACE + b"\xff\xff\xff\x04\x00\x00\x00\x00\x00",
    # Headers of stream 1 that end in the middle, behind lawful settings.
    _PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x40\x01\x04\x00\x00\x00\x01\x83\x86",
)


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


FAULTS: Final[Mapping[str, type[Fault]]] = {
    each.name: each
    for each in (
        WorkerKilled,
        BackKilled,
        GatewayKilled,
        StoreKilled,
        StoreSlow,
        StoreCutBeforeSend,
        StoreCutAfterSend,
        StorePartitioned,
        StoreReadOnly,
        StoreFull,
        StoreStopped,
        SwitchCut,
        Retries,
        Garbage,
        SqlLocked,
    )
}
"""All of them, by name, in the order of the report."""


def may_overlap(one: type[Fault], other: type[Fault]) -> bool:
    """Whether two faults may go on at the same time. Where no front decides there is nothing to be seen of another."""
    return one.part is not other.part and not (one.stops_fronts or other.stops_fronts)
