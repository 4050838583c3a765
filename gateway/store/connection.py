"""The way to the store: whatever it is made of, a command goes to who has its key.

The hot path is `run` and `Wire.send`. A script's keys are of one shard, and a shard is on one server; which one, a
Cluster says in its slots, and a server that is asked for what it has not says where that is.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import hiredis

from gateway.store.address import StoreAddress
from gateway.store.discovery import find_primary
from gateway.store.faults import StoreUnavailable, translated
from gateway.store.keys import SHARDS, outbox_key
from gateway.store.location import Kind, StoreLocation
from gateway.store.members import Cluster, Members, OneServer, SentinelGroup
from gateway.store.node import Node
from gateway.store.packing import pack, pack_script
from gateway.store.scripts import Library
from gateway.store.wire import Reply, Wire

_FUNCTION_NOT_FOUND: Final = "ERR Function not found"
_KEYS_BEGIN_WITH: Final = b"tg:"
_ASKING: Final = pack(("ASKING",))
_SCANNED: Final = 1_000

MOVING_SECONDS: Final = 0.025
"""How long a command waits whose keys are partly here and partly there, before it is sent again."""


class Server(NamedTuple):
    """A server that answers.

    Attributes:
        run_id: Its own name for the process: another one after a restart.
        shards: Those that it has.
    """

    run_id: str
    shards: tuple[int, ...]


class StoreConnection:
    """Keeps connections to the store open and runs scripts and commands on them.

    Args:
        location: Where the store is.
        library: Loaded on each connection before it is used.
        timeout_seconds: How long one reply may take. A connection that owes a reply for four times as long is replaced.
        on_connect: Called each time a server of the store can be used (again).
    """

    def __init__(
        self,
        location: StoreLocation,
        library: Library,
        *,
        timeout_seconds: float = 0.5,
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self._location = location
        self._library = library
        self._timeout = timeout_seconds
        self._on_connect = on_connect
        self._most_redirections = max(3, int(timeout_seconds / MOVING_SECONDS))
        self._members = self._make_members()
        # Of a store that is one server it need not be asked who has a key.
        self._only = None if location.kind is Kind.CLUSTER else next(iter(self._members.nodes))
        self._watching: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent now; of a cluster, to one of its primaries at least."""
        return any(node.wire is not None for node in self._members.nodes)

    async def start(self) -> None:
        """Begin connecting, and go on doing so until `close`; returns at once."""
        self._members.start()
        self._watching = asyncio.get_running_loop().create_task(self._members.watch(), name="store members")

    async def wait_connected(self) -> None:
        """Return when commands can be sent; of a cluster, to all primaries that answer."""
        await self._connected.wait()

    async def close(self) -> None:
        """Give up the connections; what is in flight fails with `StoreUnavailable`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await asyncio.gather(*[node.close() for node in list(self._members.nodes)])
        await asyncio.gather(*self._errands, return_exceptions=True)

    def servers(self) -> dict[StoreAddress, Server]:
        """The primaries that are connected."""
        shards: dict[Node, list[int]] = {node: [] for node in self._members.nodes}
        for shard in range(SHARDS):
            with suppress(StoreUnavailable):
                shards[self._members.node_of(outbox_key(shard))].append(shard)
        return {
            node.address: Server(node.run_id, tuple(those))
            for node, those in shards.items()
            if node.wire is not None and node.address is not None
        }

    def a_primary(self) -> StoreAddress:
        """One of the primaries, whichever.

        Raises:
            StoreUnavailable: None is known.
        """
        known = [node for node in self._members.nodes if node.address is not None]
        connected = [node for node in known if node.wire is not None]
        address = random.choice(connected or known).address if known else None  # noqa: S311 - to spread them
        if address is None:
            raise StoreUnavailable("no primary is known")
        return address

    def is_primary(self, address: StoreAddress) -> bool:
        """Whether a primary was there when last looked."""
        return any(node.address == address for node in self._members.nodes)

    def send(self, *command: bytes | str | int) -> Reply:
        """Send one command in the next flush, to who has the first of its keys.

        Raises:
            StoreUnavailable: There is no connection now. (The reply raises it too, for what happens later.)
        """
        packed = pack(command)
        return self._wire_for(command).send(packed, packed)

    def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Awaitable[Any]:
        """Run a script; its reply is awaited, raw.

        Raises:
            StoreUnavailable: No answer in time, or the store cannot write now.
            StoreFault: The script failed.
        """
        packed = pack_script(operation, self._library.functions[operation], keys, args)
        return _wire_of(self._only or self._members.node_of(keys[0])).send(packed, packed)

    def address_of(self, key: bytes) -> StoreAddress | None:
        """Where the server is that has a key, as far as is known.

        Raises:
            StoreUnavailable: No member of the cluster is known to have it.
        """
        return (self._only or self._members.node_of(key)).address

    def batch(self) -> "_Batch":
        """What is sent inside of a `with` block leaves when it ends, not a turn of the event loop later."""
        return _Batch([node.wire for node in self._members.nodes if node.wire is not None])

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send a plain command and return its reply.

        Raises:
            StoreUnavailable: No answer in time.
            StoreFault: The store refused the command.
        """
        return await self.send(*command)

    async def ask_all(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Send plain commands in one flush and return their replies in order; without a task for each.

        Raises:
            StoreUnavailable: One of them was not answered in time.
            StoreFault: The store refused one of them.
        """
        return await asyncio.gather(*[self.send(*command) for command in commands])

    async def ask_each(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Any]:
        """As `ask_all`, for whom the answers of some are worth having without the others.

        Returns:
            The replies in order; a `StoreUnavailable` or `StoreFault` stands where there is none.
        """
        replies: list[asyncio.Future[Any]] = []
        for command in commands:
            try:
                replies.append(self.send(*command))
            except StoreUnavailable as error:
                replies.append(asyncio.get_running_loop().create_future())
                replies[-1].set_exception(error)
        return await asyncio.gather(*replies, return_exceptions=True)

    async def ask_together(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Run plain commands as one transaction, in one round trip: nothing comes in between; for reads of one moment.

        All keys must be of one shard.

        Raises:
            StoreUnavailable: It was not answered in time.
            StoreFault: The store refused one of them.
        """
        listed = list(commands)
        wire = self._wire_for(listed[0])
        *_, replies = await asyncio.gather(
            *[wire.send(pack(command), None) for command in (("MULTI",), *listed, ("EXEC",))]
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise translated(reply)
        return list(replies)

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """All keys that match, some at a time, of every server; a few perhaps twice.

        Raises:
            StoreUnavailable: A server did not answer, or a slot of the cluster has no owner.
        """
        if not self._members.is_whole:
            raise StoreUnavailable("a part of the cluster has no primary")
        for node in list(self._members.nodes):
            cursor = b"0"
            while True:
                command = pack(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED))
                cursor, keys = await _wire_of(node).send(command, None)
                yield keys
                if cursor == b"0":
                    break

    def _make_members(self) -> Members:
        location = self._location
        if location.kind is Kind.CLUSTER:
            return Cluster(location, self._make_node)
        if location.kind is Kind.SENTINEL:
            return SentinelGroup(location, self._make_node(None, lambda: find_primary(location)))
        return OneServer(self._make_node(location.servers[0]))

    def _make_node(
        self, address: StoreAddress | None, find: Callable[[], Awaitable[StoreAddress]] | None = None
    ) -> Node:
        return Node(
            address,
            self._library,
            timeout_seconds=self._timeout,
            refuse=self._refuse,
            on_change=self._on_change,
            find=find,
        )

    def _on_change(self, node: Node) -> None:
        if node.wire is None:
            self._members.look()
        nodes = self._members.nodes
        if any(each.wire is not None for each in nodes) and all(each.tried for each in nodes):
            self._connected.set()
        else:
            self._connected.clear()
        if node.wire is not None:
            self._on_connect()

    def _wire_for(self, command: tuple[bytes | str | int, ...]) -> Wire:
        if self._only is not None:
            return _wire_of(self._only)
        for part in command:
            if isinstance(part, bytes) and part.startswith(_KEYS_BEGIN_WITH):
                return _wire_of(self._members.node_of(part))
        # TIME and the like: always the same server as long as that is there.
        connected = [node for node in self._members.nodes if node.wire is not None]
        if not connected:
            raise StoreUnavailable("not connected")
        return _wire_of(min(connected, key=lambda node: str(node.address)))

    def _refuse(self, node: Node, reply: Reply, error: hiredis.ReplyError) -> None:
        """Take an error: what did not run for lack of the library, or elsewhere would, is sent again."""
        text = str(error)
        if reply.command is not None:
            if text == _FUNCTION_NOT_FOUND:
                self._run_errand(self._load_and_repeat(node, reply))
                return
            kind, _, rest = text.partition(" ")
            if reply.redirections < self._most_redirections:
                reply.redirections += 1
                if kind == "TRYAGAIN":
                    self._run_errand(self._deliver(node, reply, asking=True, pause_seconds=MOVING_SECONDS))
                    return
                if kind in ("MOVED", "ASK") and self._redirect(node, kind, rest, reply):
                    return
        reply.settle(translated(error))

    async def _load_and_repeat(self, node: Node, reply: Reply) -> None:
        """It did not run: the functions were flushed behind our back."""
        command, reply.command = reply.command, None
        try:
            await node.load_library()
            if command is not None:
                _wire_of(node).deliver(command, reply)
        except Exception as error:  # whatever it is, somebody waits for the reply
            reply.settle(error)

    def _redirect(self, node: Node, kind: str, rest: str, reply: Reply) -> bool:
        """Send a command on to where a server says that its key is; whether that is possible."""
        slot, _, where = rest.partition(" ")
        host, _, port = where.rpartition(":")
        # A server that does not know its own name leaves it out.
        host = host or (node.address.host if node.address is not None else "")
        if not host:
            return False
        target = self._members.node_at(host, int(port), int(slot) if kind == "MOVED" else None)
        if target is None:
            return False
        self._run_errand(self._deliver(target, reply, asking=kind == "ASK"))
        return True

    async def _deliver(self, node: Node, reply: Reply, *, asking: bool, pause_seconds: float = 0.0) -> None:
        try:
            await asyncio.sleep(pause_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await node.connected.wait()
            wire = _wire_of(node)
            if asking:
                wire.send(_ASKING, None)
            if reply.command is not None:
                wire.deliver(reply.command, reply)
        except Exception as error:  # whatever it is, somebody waits for the reply
            reply.settle(error)

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def _wire_of(node: Node) -> Wire:
    if node.wire is None:
        raise StoreUnavailable("not connected")
    return node.wire


class _Batch:
    """The commands of a `with` block leave together at its end."""

    __slots__ = ("_wires",)

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires

    def __enter__(self) -> None:
        for wire in self._wires:
            wire.holds = True

    def __exit__(self, *_: object) -> None:
        for wire in self._wires:
            wire.holds = False
            wire.flush()
