"""A gateway that a test kills and starts again, on the same addresses and with the same data."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.address import Address
from gateway.cli.health import SERVING, ask_health
from tests.support.child_processes import children_of
from tests.support.gateway_process import START_SECONDS, STOP_SECONDS, clean_environment
from tests.support.servers import free_port, wait_until


@dataclass
class MortalGateway:
    """A gateway with embedded stores.

    Attributes:
        directory: For its data and its log.
        variables: Its settings.
        server: Where switches reach it.
        admin_server: Where operators do.
        metrics: Where Prometheus does.
    """

    directory: Path
    variables: Mapping[str, str]
    server: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    admin_server: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    metrics: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    _http: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def data_dir(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def pid(self) -> int:
        """Of its supervisor, once it was started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            AssertionError: It does not; with its log.
        """
        command = [sys.executable, "-m", "gateway.cli", "serve", "--data-dir", str(self.data_dir)]
        command += ["--listen", self.server, "--admin-listen", self.admin_server]
        command += ["--metrics-listen", self.metrics, "--http-listen", self._http, "--drain-seconds", "5"]
        log = self.directory / "gateway.log"
        with log.open("ab") as output:
            process = self._process = subprocess.Popen(
                command,
                env=clean_environment(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        addresses = [Address.parse(self.server), Address.parse(self.admin_server)]

        def serves() -> bool:
            return all(asyncio.run(ask_health(address, 1.0)) == SERVING for address in addresses)

        assert wait_until(lambda: process.poll() is not None or serves(), START_SECONDS), log.read_text()
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        """End all its processes at once, as a crash of the machine would; its store stays, as an embedded one does."""
        assert self._process is not None
        pid = self._process.pid
        store = self._store_pid()
        for each in (pid, *children_of(pid)):
            if each != store:
                with suppress(ProcessLookupError):  # It died by itself meanwhile.
                    os.kill(each, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Have it end, and its store."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        store = self._store_pid()
        if store is not None and Path(f"/proc/{store}").exists():
            os.kill(store, signal.SIGTERM)

    def _store_pid(self) -> int | None:
        file = self.data_dir / "store.pid"
        return int(file.read_text()) if file.exists() else None


@contextmanager
def mortal_gateway(directory: Path, **variables: str) -> Iterator[MortalGateway]:
    """Run a gateway until the block ends."""
    gateway = MortalGateway(directory, variables)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
