"""A primary with two replicas, and the sentinels that watch them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from loadtest.chaos.stores.replicated import OPTIONS, ReplicatedStore, are_followed
from loadtest.chaos.stores.server import MortalServer
from loadtest.processes import BenchError
from tests.support.clusters import PRIMARY_NAME, running_sentinel
from tests.support.servers import free_port, wait_until

_SENTINELS: Final = 3
_REPLICAS: Final = 2
"""The one that is promoted has another, and so sells again before the dead one is back."""

_START_SECONDS: Final = 30.0


@dataclass
class SentinelStore(ReplicatedStore):
    """The servers behind sentinels.

    Attributes:
        servers: The primary, and its replicas.
        ports: Of the sentinels.
    """

    servers: Sequence[MortalServer]
    ports: Sequence[int]

    @property
    def url(self) -> str:
        """The sentinels, which say who the primary is."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/{PRIMARY_NAME}/0"

    def primary_of(self, office_id: str) -> MortalServer:  # noqa: ARG002 - it has all of them
        """The primary, by the first sentinel."""
        return self._at(int(self._told(self.ports[0])["port"]))

    def bring_back(self, server: MortalServer) -> None:
        """As a replica from its start: the sentinels would let it be a primary for ten seconds, which is none."""
        self._start(server, replicaof=f"127.0.0.1 {self.primary_of('').port}")

    def is_whole(self) -> bool:
        """The sentinels agree, and all others follow the primary."""
        try:
            told = [self._told(port) for port in self.ports]
            primary = self._at(int(told[0]["port"]))
            return (
                all(each["flags"] == "master" and int(each["port"]) == primary.port for each in told)
                and all(int(each["num-slaves"]) == _REPLICAS for each in told)
                and all(int(each["num-other-sentinels"]) == _SENTINELS - 1 for each in told)
                and are_followed([primary], self.servers, _REPLICAS)
            )
        except redis.RedisError:
            return False

    def _told(self, port: int) -> dict[str, Any]:
        """What a sentinel says of the primary."""
        with redis.Redis(port=port, socket_timeout=2) as client:
            told: dict[str, Any] = client.sentinel_master(PRIMARY_NAME)
            return told


@asynccontextmanager
async def running_sentinels(directory: Path) -> AsyncIterator[SentinelStore]:
    """Run servers and sentinels until the block ends.

    Args:
        directory: For their files; it is there already.

    Raises:
        BenchError: One of them did not start.
    """
    servers = [MortalServer(directory / f"server-{number}", OPTIONS) for number in range(1 + _REPLICAS)]
    with ExitStack() as stack:
        for server in servers:
            server.directory.mkdir()
            stack.callback(server.kill)
        primary, *replicas = servers
        primary.start()
        for replica in replicas:
            replica.start(replicaof=f"127.0.0.1 {primary.port}")
        for server in servers:
            await asyncio.to_thread(server.wait_ready)
        # Sentinels ask for replicas every 10 s only: they shall find them when they begin.
        await _wait(lambda: are_followed([primary], servers, _REPLICAS), "the replicas to follow")
        store = SentinelStore(servers, [free_port() for _ in range(_SENTINELS)])
        for number, port in enumerate(store.ports):
            place = directory / f"sentinel-{number}"
            stack.enter_context(running_sentinel("valkey", place, primary.port, [f"port {port}"]))
        await _wait(store.is_whole, "the sentinels to agree")
        yield store


async def _wait(condition: Callable[[], bool], what: str) -> None:
    if not await asyncio.to_thread(wait_until, condition, _START_SECONDS):
        raise BenchError(f"waited for {what} for {_START_SECONDS:g} s")
