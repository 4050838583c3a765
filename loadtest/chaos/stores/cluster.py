"""A Cluster of three primaries with a replica each."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from gateway.store.keys import office_keys
from gateway.store.members import slot_of
from loadtest.chaos.stores.replicated import OPTIONS, ReplicatedStore, are_followed
from loadtest.chaos.stores.server import MortalServer
from loadtest.processes import BenchError
from tests.support.clusters import NODE_TIMEOUT_MS, ClusterServers, join
from tests.support.servers import free_port

_PRIMARIES: Final = 3


@dataclass
class ClusterStore(ReplicatedStore):
    """The members of a Cluster.

    Attributes:
        servers: Primaries and replicas.
    """

    servers: Sequence[MortalServer]

    @property
    def url(self) -> str:
        """Some of them, which know the others."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def primary_of(self, office_id: str) -> MortalServer:
        """Whoever has its slot, by the first member that lives."""
        slot = slot_of(office_keys(office_id).office)
        teller = next(server for server in self.servers if server.runs)
        return next(owner for owner, first, last in self._owners(teller) if first <= slot <= last)

    def bring_back(self, server: MortalServer) -> None:
        """It learns from the others that it is a replica now, before it takes a write: it demands one itself."""
        self._start(server)

    def is_whole(self) -> bool:
        """All see three primaries, each of them followed."""
        try:
            seen = [{owner.port for owner, _, _ in self._owners(server)} for server in self.servers]
            return (
                all(ports == seen[0] and len(ports) == _PRIMARIES for ports in seen)
                and all(_sees_all_well(server) for server in self.servers)
                and are_followed([self._at(port) for port in seen[0]], self.servers, 1)
            )
        except redis.RedisError:
            return False

    def _owners(self, teller: MortalServer) -> Iterator[tuple[MortalServer, int, int]]:
        """Who has which slots, from the first to the last of each range, as a member sees it."""
        told = teller.ask("CLUSTER SLOTS")
        assert isinstance(told, list)
        for first, last, (_, port, *_), *_ in told:
            yield self._at(port), first, last


def _sees_all_well(server: MortalServer) -> bool:
    told = server.ask("CLUSTER INFO")
    assert isinstance(told, dict)
    return told["cluster_state"] == "ok" and int(told["cluster_slots_ok"]) == int(told["cluster_slots_assigned"])


@asynccontextmanager
async def running_cluster(directory: Path) -> AsyncIterator[ClusterStore]:
    """Run a Cluster until the block ends.

    Args:
        directory: For its files; it is there already.

    Raises:
        BenchError: One of its members did not start, or they did not come together.
    """
    buses = [free_port() for _ in range(2 * _PRIMARIES)]
    servers = [
        MortalServer(
            directory / f"server-{number}",
            {
                **OPTIONS,
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                # The other primaries' offices go on while one is dead.
                "cluster-require-full-coverage": "no",
            },
        )
        for number, bus in enumerate(buses)
    ]
    with ExitStack() as stack:
        for server in servers:
            server.directory.mkdir()
            stack.callback(server.kill)
            server.start()
        for server in servers:
            await asyncio.to_thread(server.wait_ready)
        try:
            await asyncio.to_thread(join, _as_tests_know_it(servers, directory), buses)
        except AssertionError as error:
            raise BenchError(f"the Cluster did not come together: {error}") from None
        yield ClusterStore(servers)


def _as_tests_know_it(servers: Sequence[MortalServer], directory: Path) -> ClusterServers:
    known = [server.as_tests_know_it for server in servers]
    return ClusterServers(
        engine=known[0].engine,
        host=known[0].host,
        port=known[0].port,
        pid=known[0].pid,
        cluster=True,
        data_dir=directory,
        primaries=tuple(known[:_PRIMARIES]),
        replicas=tuple(known[_PRIMARIES:]),
    )
