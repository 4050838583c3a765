"""Real clusters of several servers, and sentinels, on free loopback ports."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.store.members import SLOTS
from tests.support.servers import StoreServer, free_port, running_store, server_binary, wait_until

NODE_TIMEOUT_MS = 2_000
"""After so long without an answer a member of the cluster is held to be gone."""

SENTINEL_TIMEOUT_MS = 2_000

PRIMARY_NAME = "tollgate"

FORMS = (
    pytest.param("valkey"),
    pytest.param("redis7", marks=pytest.mark.servers),
    pytest.param("cluster", marks=pytest.mark.slow),
)
"""What the store of a script test may be: one node of either engine, or three Valkeys."""


@dataclass(frozen=True, slots=True)
class ClusterServers(StoreServer):
    """A cluster; what a `StoreServer` says of itself is the first primary's.

    Attributes:
        primaries: Those it began with.
        replicas: A replica of each, in the same order; or none.
    """

    primaries: tuple[StoreServer, ...] = ()
    replicas: tuple[StoreServer, ...] = ()

    @property
    def url(self) -> str:
        """The address as TOLLGATE_REDIS_URL takes it."""
        return "redis+cluster://" + ",".join(f"{each.host}:{each.port}" for each in self.primaries)

    def flush(self) -> None:
        """Empty all of it."""
        for each in self.primaries:
            each.flush()

    def run(self, server: StoreServer, *command: str | int) -> Any:
        """What one of the servers answers."""
        with server.client() as client:
            return client.execute_command(*command)

    def id_of(self, server: StoreServer) -> str:
        """The name that the others have for a server."""
        name = self.run(server, "CLUSTER MYID")
        return name.decode() if isinstance(name, bytes) else str(name)

    def owner_of(self, slot: int) -> StoreServer:
        """Who has a slot, as the first primary sees it."""
        for first, last, (_, port, *_), *_ in self.run(self.primaries[0], "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(each for each in (*self.primaries, *self.replicas) if each.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def move(self, slot: int) -> None:
        """Move a slot with its keys to another primary, as redis-cli does."""
        self.finish_move(slot, self.begin_move(slot))

    def begin_move(self, slot: int) -> StoreServer:
        """Move the keys; the slot is still the old owner's. Returns where they are now."""
        source = self.owner_of(slot)
        target = next(each for each in self.primaries if each is not source)
        self.run(target, "CLUSTER SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.run(source, "CLUSTER SETSLOT", slot, "MIGRATING", self.id_of(target))
        with source.client() as client:
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                client.execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
        return target

    def finish_move(self, slot: int, target: StoreServer) -> None:
        """Give the slot to whoever has its keys."""
        for server in (target, *self.primaries):
            self.run(server, "CLUSTER SETSLOT", slot, "NODE", self.id_of(target))


@contextmanager
def running_cluster(
    engine: str, directory: Path, *, primaries: int = 3, with_replicas: bool = False
) -> Iterator[ClusterServers]:
    """Run a cluster until the block ends; all servers are killed by their pids, whatever happens in the block."""
    with ExitStack() as stack:

        def start(name: str, *, must_be_followed: bool = False) -> tuple[StoreServer, int]:
            place, bus = directory / name, free_port()
            place.mkdir(parents=True)
            options = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                "cluster-require-full-coverage": "no",
                # A replica that is promoted has none of its own, and is to go on alone.
                "min-replicas-to-write": "1" if must_be_followed else "0",
                "repl-diskless-sync-delay": "0",
            }
            return stack.enter_context(running_store(engine, place, options=options)), bus

        leading = [start(f"primary-{number}", must_be_followed=with_replicas) for number in range(primaries)]
        following = [start(f"replica-{number}") for number in range(primaries if with_replicas else 0)]
        first = leading[0][0]
        cluster = ClusterServers(
            engine, first.host, first.port, first.pid, cluster=True, data_dir=directory,
            primaries=tuple(server for server, _ in leading), replicas=tuple(server for server, _ in following),
        )  # fmt: skip
        join(cluster, [bus for _, bus in (*leading, *following)])
        yield cluster


def join(cluster: ClusterServers, buses: Sequence[int]) -> None:
    """Make a cluster of servers that know nothing of each other, and return when replicas follow.

    Args:
        cluster: The servers; its primaries demand a replica (min-replicas-to-write) where there are any.
        buses: The ports on which they talk to each other: of the primaries, then of the replicas.
    """
    bounds = [SLOTS * number // len(cluster.primaries) for number in range(len(cluster.primaries) + 1)]
    for number, server in enumerate(cluster.primaries):
        cluster.run(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        cluster.run(server, "CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
    first, *others = everybody = [*cluster.primaries, *cluster.replicas]
    for server, bus in zip(others, buses[1:], strict=True):
        cluster.run(first, "CLUSTER MEET", server.host, server.port, bus)
    _wait(lambda: all(_knows(cluster, server, len(everybody)) for server in everybody), "the members to meet")
    for leader, follower in zip(cluster.primaries, cluster.replicas, strict=False):
        cluster.run(follower, "CLUSTER REPLICATE", cluster.id_of(leader))
    _wait(lambda: all(_is_replicated(each) for each in cluster.primaries[: len(cluster.replicas)]), "the replicas")


def _knows(cluster: ClusterServers, server: StoreServer, members: int) -> bool:
    told = cluster.run(server, "CLUSTER INFO")
    return bool(told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == members)


def _is_replicated(server: StoreServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication").get("min_slaves_good_slaves", 0))


def _wait(condition: Callable[[], bool], what: str) -> None:
    if not wait_until(condition, 30):
        raise AssertionError(f"waited too long for {what}")


def kill_server(server: StoreServer) -> None:
    """Kill a server by its pid, as a machine does that dies, and wait until it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    _wait(lambda: not _answers(server), "the server to be gone")


def _answers(server: StoreServer) -> bool:
    try:
        with server.client() as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@dataclass(frozen=True, slots=True)
class SentinelServers:
    """A primary, its replica, and the sentinels that watch them.

    Attributes:
        primary: At the beginning.
        replica: At the beginning.
        ports: Of the sentinels.
    """

    primary: StoreServer
    replica: StoreServer
    ports: tuple[int, ...]

    @property
    def url(self) -> str:
        """The address as TOLLGATE_REDIS_URL takes it."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/{PRIMARY_NAME}/0"


@contextmanager
def running_sentinels(engine: str, directory: Path, *, sentinels: int = 3) -> Iterator[SentinelServers]:
    """Run a primary, a replica and sentinels until the block ends."""
    with ExitStack() as stack:
        for name in ("primary", "replica"):
            (directory / name).mkdir(parents=True)
        careful = {"min-replicas-to-write": "1", "repl-diskless-sync-delay": "0", "min-replicas-max-lag": "2"}
        primary = stack.enter_context(running_store(engine, directory / "primary", options=careful))
        # The one that is promoted has no replica to wait for: min-replicas-to-write 0 lets it go on alone.
        options = {"replicaof": f"{primary.host} {primary.port}", "min-replicas-to-write": "0"}
        replica = stack.enter_context(running_store(engine, directory / "replica", options=options))
        _wait(lambda: _is_replicated(primary), "the replica")
        ports = tuple(_start_sentinel(stack, engine, directory, number, primary) for number in range(sentinels))
        _wait(lambda: all(_sees_all(port, sentinels) for port in ports), "the sentinels")
        yield SentinelServers(primary, replica, ports)


def _start_sentinel(stack: ExitStack, engine: str, directory: Path, number: int, primary: StoreServer) -> int:
    port = free_port()
    stack.enter_context(running_sentinel(engine, directory / f"sentinel-{number}", primary.port, [f"port {port}"]))
    return port


@contextmanager
def running_sentinel(
    engine: str, place: Path, primary_port: int, listening: Sequence[str], *, quorum: int = 2
) -> Iterator[None]:
    """Run a sentinel until the block ends.

    Args:
        engine: "valkey" or "redis7".
        place: A directory of its own, which is made.
        primary_port: Where the primary is that it watches.
        listening: Lines of its file that say where it listens, and how.
        quorum: How many must agree that the primary is gone.
    """
    place.mkdir()
    settings = place / "sentinel.conf"
    lines = [
        *listening,
        "bind 127.0.0.1",
        f"dir {place}",
        f"logfile {place / 'server.log'}",
        f"sentinel monitor {PRIMARY_NAME} 127.0.0.1 {primary_port} {quorum}",
        f"sentinel down-after-milliseconds {PRIMARY_NAME} {SENTINEL_TIMEOUT_MS}",
        f"sentinel failover-timeout {PRIMARY_NAME} 5000",
    ]
    settings.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [str(server_binary(engine)), str(settings), "--sentinel"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _sees_all(port: int, sentinels: int) -> bool:
    try:
        with redis.Redis(host="127.0.0.1", port=port, socket_timeout=2) as client:
            told = client.sentinel_master(PRIMARY_NAME)
            return int(told["num-other-sentinels"]) == sentinels - 1 and int(told["num-slaves"]) == 1
    except redis.RedisError:
        return False


@pytest.fixture(scope="session", params=FORMS)
def store_form(request: pytest.FixtureRequest) -> str:
    """Each form in turn; whatever depends on it runs once for each."""
    return str(request.param)


@pytest.fixture(scope="session")
def store_server(store_form: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """The place for script tests: a single cluster-enabled node of each engine, and a cluster of three.

    Emptying it is the test's affair.
    """
    directory = tmp_path_factory.mktemp(f"{store_form}-store")
    if store_form == "cluster":
        with running_cluster("valkey", directory) as cluster:
            yield cluster
        return
    with running_store(store_form, directory, cluster=True) as server:
        yield server


@pytest.fixture(scope="session")
def store_url(store_server: StoreServer) -> str:
    """The URL of `store_server`."""
    return store_server.url
