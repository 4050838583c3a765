"""A whole gateway in processes of its own, started as an operator starts it: `tollgate serve`."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.address import Address
from gateway.cli.connection import ConnectionFile
from gateway.cli.health import SERVING, ask_health
from tests.support.servers import free_port, wait_until

START_SECONDS = 90.0
STOP_SECONDS = 30.0


UNGUARDED = {
    "TOLLGATE_FRAUD_COUNTRY_SPEND_MICROS": "0",
    "TOLLGATE_FRAUD_OFFICE_SPEND_MICROS": "0",
    "TOLLGATE_SWITCH_OPERATIONS_PER_SECOND": "0",
}
"""Offices under load call abroad as no office does, and one switch stands for all of an installation: nothing of it is
to be stopped for that."""

LISTENERS = ("listen", "admin_listen", "http_listen", "metrics_listen")
"""Settings of the listeners that every gateway has."""


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A running gateway."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    server: str
    admin_server: str
    metrics: str
    http: str
    log: Path

    def metric(self, name: str) -> float:
        """What a metric shows now, added up over its labels; 0 while nothing has set it."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def stop(self) -> int:
        """Have it drain; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TOLLGATE_")}
    return kept | variables


@contextmanager
def running_gateway(
    directory: Path, *arguments: str, host: str = "127.0.0.1", **variables: str
) -> Iterator[GatewayProcess]:
    """Run a gateway with embedded stores until the block ends.

    Args:
        directory: For its data and its log.
        *arguments: More flags for `tollgate serve`.
        host: Our address to which the switches come.
        **variables: More environment variables; without them nothing is stopped by guards against fraud.

    Raises:
        AssertionError: It was not up in time; with its log.
    """
    server = f"{host}:{free_port()}"
    admin_server, metrics, http = (f"127.0.0.1:{free_port()}" for _ in range(3))
    data_dir, log = directory / "data", directory / "gateway.log"
    command = [sys.executable, "-m", "gateway.cli", "serve", "--data-dir", str(data_dir), "--listen", server]
    command += ["--admin-listen", admin_server, "--metrics-listen", metrics, "--http-listen", http]
    command += ["--drain-seconds", "5", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=clean_environment(**(UNGUARDED | variables)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        addresses = [Address.parse(server), Address.parse(admin_server)]

        def is_up() -> bool:
            file = ConnectionFile.find(data_dir)
            return file is not None and all(
                asyncio.run(ask_health(address, 1.0, file.tls)) == SERVING for address in addresses
            )

        has_come = wait_until(lambda: process.poll() is not None or is_up(), START_SECONDS)
        assert process.poll() is None, f"the gateway ended:\n{log.read_text()}"
        assert has_come, f"the gateway is not up after {START_SECONDS:g} s:\n{log.read_text()}"
        yield GatewayProcess(process, data_dir, server, admin_server, metrics, http, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # The store then ends with the next gateway on the directory; there is none, so by its own pid.
                process.kill()
                process.wait()
                _end_store(data_dir)


def _end_store(data_dir: Path) -> None:
    pid_file = data_dir / "store.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
