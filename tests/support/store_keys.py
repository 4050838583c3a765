"""What tests do with all keys of a store, on however many servers they are."""

from collections.abc import Callable
from typing import Any

from gateway.store.connection import StoreConnection
from gateway.store.packing import pack


async def flush_all(connection: StoreConnection) -> None:
    """Empty the store of keys; scripts and settings stay."""
    for node in connection._members.nodes:
        assert node.wire is not None
        await node.wire.send(pack(("FLUSHALL", "SYNC")), None)


async def all_keys(connection: StoreConnection) -> list[bytes]:
    """The names of all keys."""
    return [key async for keys in connection.scan("*") for key in keys]


async def ask_owner(connection: StoreConnection, key: bytes, *command: bytes | str) -> Any:
    """Have a command without keys carried out by the server that has a key."""
    wire = connection._members.node_of(key).wire
    assert wire is not None
    return await wire.send(pack(command), None)


async def publish_everywhere(connection: StoreConnection, channel: bytes, message: Callable[[str], str]) -> int:
    """Have every server publish a message of its own, made of its name; returns how many there are."""
    for node in connection._members.nodes:
        assert node.wire is not None
        await node.wire.send(pack(("PUBLISH", channel, message(str(node.address)))), None)
    return len(connection._members.nodes)
