"""The metrics over HTTP, for Prometheus, and /healthz beside them, in threads: a scrape keeps nobody waiting."""

import os
from collections.abc import Callable, Iterable
from socket import AF_INET6
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.address import Address
from gateway.startup import StartupError

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class MetricsServer:
    """Serves /metrics and /healthz until it is closed.

    With PROMETHEUS_MULTIPROC_DIR the metrics are the sum over all processes that write there.

    Args:
        address: Where to listen.
        is_healthy: What /healthz says: 200 or 503. Called in a thread of the server.

    Raises:
        StartupError: The address cannot be listened on.
    """

    def __init__(self, address: Address, is_healthy: Callable[[], bool]) -> None:
        self._is_healthy = is_healthy
        self._metrics = make_wsgi_app(_registry())
        try:
            self._server = (_Server6 if ":" in address.host else _Server)((address.host, address.port), _Handler)
        except OSError as error:
            raise StartupError(
                f"TOLLGATE_METRICS_LISTEN: {address} cannot be listened on ({error.strerror}); "
                "is another gateway running? Stop it or name another port"
            ) from error
        self._server.set_app(self._answer)
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; takes a moment, so not from an event loop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/healthz":
            healthy = self._is_healthy()
            start_response("200 OK" if healthy else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"ok\n" if healthy else b"not serving\n"]
        if path in ("/", "/metrics"):
            answer: Iterable[bytes] = self._metrics(environment, start_response)
            return answer
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics and /healthz are here\n"]


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request, none of which outlives the process."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that hung up is nobody's concern."""


class _Server6(_Server):
    """The same on IPv6."""

    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    """Logs nothing."""

    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Scrapes are no news."""


def _registry() -> CollectorRegistry:
    if not os.environ.get(MULTIPROCESS_VARIABLE):
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
