"""Asking sentinels, and members of a cluster, who the primaries are.

All of them are asked, and what most of them say counts: one that is cut off from the others knows nothing new.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from gateway.store.address import StoreAddress
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.location import Kind, StoreLocation
from gateway.store.plain_stream import ask_server

ANSWER_SECONDS: Final = 1.0

T = TypeVar("T")


class SlotRange(NamedTuple):
    """Slots of a cluster and who owns them.

    Attributes:
        first: 0 to 16,383.
        last: The last of them, included.
        primary: The owner.
    """

    first: int
    last: int
    primary: StoreAddress


async def find_primary(location: StoreLocation) -> StoreAddress:
    """Ask the sentinels for the primary.

    Raises:
        StoreUnavailable: None of them knows one.
    """
    command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", location.primary_name)
    answers = await _ask_all(location.servers, *command)
    host, port = _most(
        ((host.decode(), int(port)) for _, (host, port) in answers),
        f"no sentinel of {location} knows a primary of this name",
    )
    return location.primary_at(host, port)


async def find_slots(location: StoreLocation, members: Iterable[StoreAddress]) -> tuple[SlotRange, ...]:
    """Ask members of a cluster who owns which slots.

    Raises:
        StoreUnavailable: None of them knows.
    """
    answers = await _ask_all(members, "CLUSTER", "SLOTS")
    return _most(
        (tuple(sorted(_range(location, member, each) for each in reply)) for member, reply in answers),
        f"no member of the cluster at {location} knows its slots",
    )


async def find_primaries(location: StoreLocation) -> list[StoreAddress]:
    """Who the primaries are: of one server, itself.

    Raises:
        StoreUnavailable: Nobody knows.
    """
    if location.kind is Kind.SERVER:
        return list(location.servers)
    if location.kind is Kind.SENTINEL:
        return [await find_primary(location)]
    return list(dict.fromkeys(each.primary for each in await find_slots(location, location.servers)))


async def _ask_all(servers: Iterable[StoreAddress], *command: str) -> list[tuple[StoreAddress, Any]]:
    """The answers of those who have one."""
    answers = await asyncio.gather(*[_ask(each, *command) for each in servers])
    return [(each, answer) for each, answer in answers if answer]


async def _ask(server: StoreAddress, *command: str) -> tuple[StoreAddress, Any]:
    try:
        return server, await ask_server(server, *command, limit_seconds=ANSWER_SECONDS)
    except (StoreUnavailable, StoreFault):
        return server, None


def _most(answers: Iterable[T], nobody: str) -> T:
    counted = Counter(answers).most_common(1)
    if not counted:
        raise StoreUnavailable(nobody)
    return counted[0][0]


def _range(location: StoreLocation, member: StoreAddress, told: list[Any]) -> SlotRange:
    first, last, (host, port, *_), *_ = told
    # A member that does not know its own name leaves it out.
    return SlotRange(first, last, location.primary_at(host.decode() if host else member.host, port))
