"""Network namespaces: a program on a network of its own, with one cable to this machine that a test can pull.

Only root may make them; without the right the test is skipped.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import pytest

from tests.support.programs import find_program

NOBODY = "02:00:00:00:00:01"
"""The address of no card."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace with a cable to here.

    Attributes:
        name: As `ip netns` has it.
        here: Our address on the cable.
        there: Its address.
        cable: Our end of the cable; its end is called eth0.
    """

    name: str
    here: str
    there: str
    cable: str

    def command(self, *arguments: str) -> Sequence[str]:
        """A command, to be run in the namespace."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def cut(self) -> None:
        """Have nothing get through any more, without anybody being told, as behind a switch that died.

        Each end sends to a card that is not there. To set a link down would tell both sides at once.
        """
        for end in self._ends:
            _ip(*end[0], "neighbour", "replace", *end[1], "lladdr", NOBODY, "nud", "permanent")

    def mend(self) -> None:
        """Let everything through again."""
        for end in self._ends:
            _ip(*end[0], "neighbour", "delete", *end[1])

    @property
    def _ends(self) -> Sequence[tuple[Sequence[str], Sequence[str]]]:
        """Where the neighbours of each end are kept, and whom it is joined to."""
        return (((), (self.there, "dev", self.cable)), (("-n", self.name), (self.here, "dev", "eth0")))


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace of a name and a network that no other test has, until the block ends."""
    find_program("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("a network of its own: only root may make one")
    number = next(_numbers)
    # Of 10.0.0.0/8 a network of four addresses that follows from the pid: tests of other processes do not meet it.
    base = ((os.getpid() * 16 + number) * 4) % (1 << 24)
    here, there = (".".join(["10", *map(str, (base + each).to_bytes(3, "big"))]) for each in (1, 2))
    made = Namespace(f"tg-{os.getpid()}-{number}", here, there, f"tg{os.getpid()}-{number}")
    _ip("netns", "add", made.name)
    try:
        _ip("link", "add", made.cable, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("address", "add", f"{here}/30", "dev", made.cable)
        _ip("link", "set", made.cable, "up")
        _ip("-n", made.name, "address", "add", f"{there}/30", "dev", "eth0")
        _ip("-n", made.name, "link", "set", "eth0", "up")
        yield made
    finally:
        # The cable goes with it.
        _ip("netns", "delete", made.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)
