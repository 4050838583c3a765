"""Faults of those who connect to the gateway."""

import asyncio
from contextlib import suppress
from random import Random
from typing import ClassVar, Final

from loadtest.chaos.fault import Fault, Part, Strokes
from loadtest.chaos.meter import Decided


class SwitchFault(Fault):
    """What can be done to the way from the switches to the gateway."""

    part = Part.CALLERS

    def hits(self, decided: Decided) -> bool:
        """Sessions alone."""
        return decided.by_session


class SwitchCut(Strokes, SwitchFault):
    """Switches that lose their streams."""

    name = "switch cut"
    about = "again and again the connections of all Sessions are reset"
    every_seconds = 0.4

    async def strike(self, chance: Random) -> None:  # noqa: ARG002 - all of them
        """Reset them."""
        self._site.switch_proxy.cut_all()


class SwitchPartitioned(SwitchFault):
    """A network between the switches and the gateway that swallows: neither side is told anything."""

    name = "switch partitioned"
    about = "nothing passes between the switches' Sessions and the gateway, and no connection closes"

    async def begin(self) -> None:
        """Hold everything."""
        self._site.switch_proxy.partition()

    async def end(self) -> None:
        """Let it go."""
        self._site.switch_proxy.mend()


class Retries(Strokes):
    """Switches that have heard nothing, or believe so: everything comes again, and not in its order."""

    name = "retries"
    about = "what was settled last is asked again, ten times each and out of order"
    part = Part.CALLERS
    lasts_seconds = (0.5, 1.5)
    every_seconds = 0.3

    async def strike(self, chance: Random) -> None:
        """Ask it all again."""
        await self._site.ask_again(chance)


class Garbage(Strokes):
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
