"""Whether the addresses to listen on are free, asked before anything starts."""

import asyncio
import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from gateway.address import Address
from gateway.settings_problems import variable_name
from gateway.startup import StartupError

PATIENCE_SECONDS = 2.0
"""The processes of a killed gateway need a moment to let their ports go."""

RETRY_SECONDS = 0.05


class PortError(StartupError):
    """An address cannot be listened on; the text names the setting and the cure."""


async def check_ports_free(listeners: Mapping[str, Address], patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Bind each address for an instant, all at once, so that two of ours that collide are found too.

    gRPC binds with SO_REUSEPORT unless told otherwise, and two servers on one port split the traffic without a word.

    Args:
        listeners: Addresses by setting name; port 0 is always free.
        patience_seconds: How long to wait for a taken port.

    Raises:
        PortError: One of them is taken, or is no address of this machine, or may not be used by this user.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    while True:
        taken = await _first_taken(listeners)
        if taken is None:
            return
        if loop.time() >= deadline:
            name, address = taken
            raise PortError(f"{variable_name(name)}: {_taken(address)}")
        await asyncio.sleep(RETRY_SECONDS)


async def listen_on(name: str, address: Address) -> list[socket.socket]:
    """Listen on an address: a socket for each that its host has, for a server that is given its sockets.

    Args:
        name: The setting that has the address.
        address: The host and port; port 0 lets the system choose.

    Raises:
        PortError: It is taken, or is no address of this machine, or may not be used by this user.
    """
    with ExitStack() as sockets:
        try:
            bound = [_bind(sockets, family, place) for family, place in await _resolve(name, address)]
        except OSError as error:
            raise PortError(f"{variable_name(name)}: {_cure(address, error)}") from error
        sockets.pop_all()
        return bound


async def _first_taken(listeners: Mapping[str, Address]) -> tuple[str, Address] | None:
    with ExitStack() as sockets:
        for name, address in listeners.items():
            for family, place in await _resolve(name, address):
                try:
                    _bind(sockets, family, place)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        return name, address
                    raise PortError(f"{variable_name(name)}: {_cure(address, error)}") from error
    return None


async def _resolve(name: str, address: Address) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise PortError(
            f"{variable_name(name)}: the host of {address} is unknown ({error.strerror}); name one of this machine's "
            "addresses, or 0.0.0.0 for all"
        ) from error
    return [(family, place) for family, _, _, _, place in found]


def _bind(sockets: ExitStack, family: socket.AddressFamily, place: tuple[object, ...]) -> socket.socket:
    probe = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
    # As servers do: connections of an earlier server that are only dying do not count as taken.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    probe.bind(place)
    # Only a listening socket keeps a second one of ours from binding.
    probe.listen(1)
    return probe


def _taken(address: Address) -> str:
    return (
        f"{address} is taken by another process; stop that one (ss -ltnp 'sport = :{address.port}' names it) or set "
        "another port"
    )


def _cure(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return _taken(address)
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is no address of this machine; use one that is, or 0.0.0.0 for all"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"this user may not listen on {address}; choose a port of 1024 or above"
    return f"cannot listen on {address} ({error.strerror}); set another address"
