"""A store's server that is killed and started again, on the same port and the same append-only file."""

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from gateway.store.embedded.binary import find_server_binary
from gateway.store.embedded.launch import CHANGEABLE_OPTIONS
from loadtest.processes import BenchError
from tests.support.servers import StoreServer, free_port, wait_until

_START_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 5.0
_LOG: Final = "store.log"


@dataclass
class MortalServer:
    """A server with the options of the embedded store, listening where a proxy can stand before it.

    Attributes:
        directory: For its append-only file and its log; it is there already.
        options: On top of the embedded store's; they win.
        port: Of loopback.
    """

    directory: Path
    options: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """As TOLLGATE_REDIS_URL takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def as_tests_know_it(self) -> StoreServer:
        """The same, for what tests have to ask a server; only while it runs."""
        assert self._process is not None
        return StoreServer("valkey", "127.0.0.1", self.port, self._process.pid, cluster=False, data_dir=self.directory)

    @property
    def runs(self) -> bool:
        """Whether it has been started, and not killed since."""
        return self._process is not None

    def start(self, **options: str) -> None:
        """Start it; returns at once.

        Args:
            **options: For this time; they win.
        """
        all_options = {
            **CHANGEABLE_OPTIONS,
            # A process that was killed in the middle of a write leaves half an entry behind.
            "aof-load-truncated": "yes",
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "logfile": str(self.directory / _LOG),
            **self.options,
            **options,
        }
        arguments = [str(find_server_binary())]
        for name, value in all_options.items():
            arguments += [f"--{name}", value]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def wait_ready(self) -> None:
        """Return when it has read its file and answers.

        Raises:
            BenchError: It does not.
        """
        if not wait_until(self._answers, _START_SECONDS):
            raise BenchError(f"the store does not answer on port {self.port}; see {self.directory / _LOG}")

    def ask(self, *command: str | int) -> object:
        """Have it do something, past all proxies.

        Raises:
            redis.RedisError: It does not.
        """
        with redis.Redis(port=self.port, socket_timeout=_ANSWER_SECONDS) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        """What it says of itself.

        Raises:
            redis.RedisError: It does not.
        """
        with redis.Redis(port=self.port, socket_timeout=_ANSWER_SECONDS) as client:
            return dict(client.info(section))

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, whatever it is doing; nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise BenchError(f"the store ended; see {self.directory / _LOG}")
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False
