"""What front and back have in common: listening, running loops, and stopping without losing a request."""

import asyncio
import resource
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.address import Address
from gateway.background.loops import stopped_or_died
from gateway.startup import StartupError

log = structlog.get_logger(__name__)

HEALTH_EVERY_SECONDS: Final = 0.5

HANDSHAKE_SECONDS: Final = 5.0
"""How long a connection may take to say what HTTP/2 begins with; gRPC's own patience is two minutes."""

MAX_STREAMS_OF_A_CONNECTION: Final = 16_384
"""More than the Sessions of a switch and the requests in flight come to. gRPC has no bound, and each stream that is
opened and then says nothing costs a task here before anybody has asked who it is."""

_FILES_OF_OUR_OWN: Final = 256
"""Of the files that the process may have open these are not for callers: without one there is no way to the store."""

_MOST: Final = 2**31 - 1

# A peer that is gone without a word is found out, so that its streams do not count for ever.
_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
SETTLE_SECONDS: Final = 0.2


def _bounds() -> tuple[tuple[str, int], ...]:
    """What one connection may cost, and how many there may be; how large a request is, is gRPC's 4 MB or the caller's.

    No bound on a connection's age: a Session is meant to last, and each that is ended is a pause for a switch.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A limit that is none is -1, and gRPC counts in 32 bits.
    files = _MOST if files == resource.RLIM_INFINITY else min(files, _MOST)
    return (
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
        ("grpc.max_concurrent_streams", MAX_STREAMS_OF_A_CONNECTION),
        ("grpc.max_allowed_incoming_connections", max(1, files - _FILES_OF_OUR_OWN)),
    )


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # it comes without types
    """The standard health service, whose watchers do not hold up the stop of the server for as long as it may take."""

    def __init__(self) -> None:
        super().__init__()
        self._letting_go = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  # the contract's name
        """Tell of the status whenever it changes."""
        # A handler that is cancelled leaves its rpc open; one that returns ends it.
        tasks = [asyncio.create_task(super().Watch(request, context)), asyncio.create_task(self._letting_go.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def let_go(self) -> None:
        """End the streams of all watchers; they have been told NOT_SERVING."""
        self._letting_go.set()


class Service:
    """A grpc.aio server with health and reflection, and the loops that run beside it.

    Args:
        name: The full name of the service that it is for.
        setting: The variable that has its address, for errors.
        address: Where it listens.
        credentials: What it speaks TLS with; None: it does not.
        options: grpc channel arguments beside those that every server here has.
        is_shared: Other processes of this gateway listen there too, and the kernel shares the connections out.
    """

    def __init__(
        self,
        name: str,
        setting: str,
        address: Address,
        *,
        credentials: grpc.ServerCredentials | None = None,
        options: Sequence[tuple[str, int | str]] = (),
        is_shared: bool = False,
    ) -> None:
        self._name = name
        # Two gateways on one port would split the traffic silently: a taken port has to be an error. Workers are held
        # against it by their supervisor, before the first of them listens.
        self.server = grpc.aio.server(
            options=(("grpc.so_reuseport", int(is_shared)), *_KEEPALIVE, *_bounds(), *options)
        )
        self._health = _Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        reflection.enable_server_reflection((name, health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)
        self.port = self.listen(setting, address, credentials)

    def listen(self, setting: str, address: Address, credentials: grpc.ServerCredentials | None) -> int:
        """Listen at one more address, before `run`; the arguments are those of the class. Returns the port.

        Raises:
            StartupError: The address is taken, or none of this machine.
        """
        try:
            if credentials is None:
                return self.server.add_insecure_port(str(address))
            return self.server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise StartupError(
                f"{setting}: {address} cannot be listened on; is another gateway running? Stop it or name another port"
            ) from error

    async def run(
        self,
        loops: Sequence[Coroutine[Any, Any, None]],
        *,
        is_healthy: Callable[[], bool],
        stop: asyncio.Event,
        drain_seconds: float,
        ready: Callable[[], None] = lambda: None,
    ) -> bool:
        """Serve until `stop` is set, then let what was accepted finish.

        Args:
            loops: Run beside the server; none of them ever ends by itself.
            is_healthy: Whether requests can be answered in full now; what the health service says.
            stop: Set when the process is told to stop.
            drain_seconds: How long accepted requests may take to finish.
            ready: Called once requests are accepted.

        Returns:
            Whether it ended because it was told to, and not because a loop died.
        """
        await self.server.start()
        tasks = [asyncio.create_task(loop) for loop in (*loops, self._report_health(is_healthy))]
        ready()
        log.info("serving", service=self._name, port=self.port)
        try:
            return await stopped_or_died(stop, tasks)
        finally:
            await self._health.enter_graceful_shutdown()
            # What has arrived but not begun would be cancelled by stop(): give it the turns of the loop to begin.
            await asyncio.sleep(SETTLE_SECONDS)
            self._health.let_go()
            await self.server.stop(drain_seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            log.info("stopped", service=self._name)

    async def _report_health(self, is_healthy: Callable[[], bool]) -> None:
        while True:
            status = (
                health_pb2.HealthCheckResponse.SERVING if is_healthy() else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            for service in ("", self._name):
                await self._health.set(service, status)
            await asyncio.sleep(HEALTH_EVERY_SECONDS)
