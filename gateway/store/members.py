"""The servers that a store is made of, and which of them has a key."""

import asyncio
import binascii
import random
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, Protocol

import structlog

from gateway.store.address import StoreAddress
from gateway.store.discovery import SlotRange, find_primary, find_slots
from gateway.store.faults import StoreUnavailable
from gateway.store.location import StoreLocation
from gateway.store.node import Node

log = structlog.get_logger(__name__)

SLOTS: Final = 16_384

LOOK_EVERY_SECONDS: Final = 10.0
"""How often a cluster is asked for its slots, and it is asked at once where a server says that they have moved."""

LOOK_SOON_SECONDS: Final = 0.5
"""The same while one of its primaries is not there; and how often sentinels are asked for the primary."""

_GUEST_SECONDS: Final = 60.0
"""How long a server is kept that only a redirection has named."""

MakeNode = Callable[[StoreAddress], Node]


class Members(Protocol):
    """What a store is made of."""

    @property
    def nodes(self) -> Collection[Node]:
        """The primaries that are known."""
        ...

    def node_of(self, key: bytes) -> Node:
        """Who has a key. Raises StoreUnavailable: nobody, as far as is known."""
        ...

    def node_at(self, host: str, port: int, slot: int | None) -> Node | None:
        """Where a server sends whoever asks for a slot, for this once, or (`slot`) for good; None: nobody may be."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether every key is known to be somewhere."""
        ...

    def start(self) -> None:
        """Begin connecting."""
        ...

    def look(self) -> None:
        """A server is gone: find out at once who has its keys now."""
        ...

    async def watch(self) -> None:
        """Follow for ever who the members are."""
        ...


class OneServer:
    """A store that is a single server."""

    def __init__(self, node: Node) -> None:
        self.nodes: Collection[Node] = (node,)
        self._node = node

    def node_of(self, key: bytes) -> Node:  # noqa: ARG002 - all keys are there
        """The server."""
        return self._node

    def node_at(self, host: str, port: int, slot: int | None) -> None:  # noqa: ARG002 - it is no cluster's
        """A server that says MOVED is a cluster's, and TOLLGATE_REDIS_URL should say so."""
        return

    @property
    def is_whole(self) -> bool:
        """All keys are there."""
        return True

    def start(self) -> None:
        """Begin connecting."""
        self._node.start()

    def look(self) -> None:
        """There is nobody else."""

    async def watch(self) -> None:
        """There is nothing to follow."""


class SentinelGroup(OneServer):
    """A primary with replicas, of which sentinels promote one when the primary fails.

    Args:
        location: Where the sentinels are.
        node: The primary, wherever they say that it is.
    """

    def __init__(self, location: StoreLocation, node: Node) -> None:
        super().__init__(node)
        self._location = location

    async def watch(self) -> None:
        """Leave a primary that is one no longer, also where nobody closes the connection to it."""
        while True:
            await asyncio.sleep(LOOK_SOON_SECONDS)
            if self._node.wire is None:
                continue
            with suppress(StoreUnavailable):
                primary = await find_primary(self._location)
                if primary != self._node.address:
                    self._node.drop(f"the primary is {primary} now")


class Cluster:
    """A store that is spread over the primaries of a cluster, by slots."""

    def __init__(self, location: StoreLocation, make_node: MakeNode) -> None:
        self._location = location
        self._make_node = make_node
        self._nodes: dict[StoreAddress, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._guests: dict[StoreAddress, float] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()

    @property
    def nodes(self) -> Collection[Node]:
        """The primaries that are known, and servers that a redirection has named."""
        return self._nodes.values()

    @property
    def is_whole(self) -> bool:
        """Whether every slot is known to have an owner."""
        return None not in self._owners

    def node_of(self, key: bytes) -> Node:
        """Who has a key.

        Raises:
            StoreUnavailable: Nobody, as far as is known.
        """
        node = self._owners[slot_of(key)]
        if node is None:
            raise StoreUnavailable("no member of the cluster is known to have the key's slot")
        return node

    def node_at(self, host: str, port: int, slot: int | None) -> Node:
        """Whoever a redirection names; with `slot`, who has that from now on."""
        address = self._location.primary_at(host, port)
        node = self._node(address)
        self._guests[address] = asyncio.get_running_loop().time() + _GUEST_SECONDS
        if slot is not None:
            self._owners[slot] = node
            self._look.set()
        return node

    def start(self) -> None:
        """Nobody is known yet."""

    async def watch(self) -> None:
        """Ask for the slots again and again."""
        while True:
            self._look.clear()
            try:
                self._use(await find_slots(self._location, self._whom_to_ask()))
            except StoreUnavailable as error:
                log.warning("cluster not known", error=error.detail)
            known = bool(self._nodes) and all(node.wire is not None for node in self._nodes.values())
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS if known else LOOK_SOON_SECONDS):
                    await self._look.wait()
            # What moves moves in hundreds of slots: not every one of them is asked about.
            await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - to spread them

    def look(self) -> None:
        """Ask at once."""
        self._look.set()

    def _whom_to_ask(self) -> list[StoreAddress]:
        connected = [address for address, node in self._nodes.items() if node.wire is not None]
        return connected or list(dict.fromkeys([*self._location.servers, *self._nodes]))

    def _use(self, ranges: tuple[SlotRange, ...]) -> None:
        owners: list[Node | None] = [None] * SLOTS
        for first, last, primary in ranges:
            owners[first : last + 1] = [self._node(primary)] * (last - first + 1)
        self._owners = owners
        now = asyncio.get_running_loop().time()
        self._guests = {address: until for address, until in self._guests.items() if until > now}
        for address in set(self._nodes) - {each.primary for each in ranges} - set(self._guests):
            log.info("cluster member left", address=str(address))
            leaving = asyncio.get_running_loop().create_task(self._nodes.pop(address).close())
            self._closing.add(leaving)
            leaving.add_done_callback(self._closing.discard)

    def _node(self, address: StoreAddress) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make_node(address)
            node.start()
        return node


def slot_of(key: bytes) -> int:
    """The slot of a key, 0 to 16,383: of what stands in its first braces, where something does (Redis Cluster)."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS
