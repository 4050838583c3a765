"""The metrics' listener: pages, health, a taken port, and the sum over processes."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.metrics_http import MULTIPROCESS_VARIABLE, MetricsServer
from gateway.startup import StartupError

HERE = Address("127.0.0.1", 0)


@contextmanager
def serving(*, healthy: bool = True) -> Iterator[MetricsServer]:
    server = MetricsServer(HERE, lambda: healthy)
    try:
        yield server
    finally:
        server.close()


def fetch(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages_and_health() -> None:
    with serving() as server:
        assert "tollgate_rpcs_total" in fetch(server, "/metrics")[1]
        assert fetch(server, "/healthz") == (200, "ok\n")
        assert fetch(server, "/else")[0] == 404
    with serving(healthy=False) as server:
        assert fetch(server, "/healthz")[0] == 503


def test_a_taken_port_is_an_error() -> None:
    with serving() as server, pytest.raises(StartupError, match="TOLLGATE_METRICS_LISTEN"):
        MetricsServer(Address("127.0.0.1", server.port), lambda: True)


def test_the_sum_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    with serving() as server:
        # Nobody has written there: an empty page, and not this process's own metrics.
        assert fetch(server, "/metrics") == (200, "")
