"""The front process: decides. It has CallAuthorization and the due loop, and no CSV, template, SQL or scrape."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway import collector, metrics
from gateway.api.authorization_servicer import SERVICE, AuthorizationServicer, serve_authorization
from gateway.api.calls import Calls
from gateway.api.live_calls import LiveCallsListener, published_command
from gateway.api.messages import Messages
from gateway.api.rating import CurrentRater, Rater
from gateway.api.runner import Runner
from gateway.api.session import Session
from gateway.api.session_operations import session_operations
from gateway.api.sessions import Sessions
from gateway.api.sign_ins import SignIns
from gateway.api.switch_limits import SwitchLimits
from gateway.background.due import DueLoop
from gateway.background.shards import DUE_CALLS, ShardLeases
from gateway.domain.numbers import warm_up
from gateway.serving import Service
from gateway.settings import Settings
from gateway.store.clock import StoreClock
from gateway.store.commands import PublishedCommand, follow_commands
from gateway.store.directory import Directory
from gateway.store.offices import OfficeCache
from gateway.store.switch_lists import SwitchLists
from gateway.store_opening import location_of, make_store
from gateway.tls_files import TlsCertificate, open_certificate
from gateway.tracing.deciding import TracedRater
from gateway.tracing.open import open_tracing
from gateway.tracing.requests import TracedRunner, TracedSession
from gateway.tracing.tracer import either

READY_WITHOUT_STORE_SECONDS: Final = 2.0


async def run_front(settings: Settings, *, ready: Callable[[], None], stop: asyncio.Event) -> bool:
    """Serve until `stop` is set, then drain; returns whether it ended because it was told to.

    Args:
        settings: With `redis_url`, which the supervisor fills in for the embedded store.
        ready: Called once requests are accepted.
        stop: Set when the process is told to stop.

    Raises:
        StartupError: The address is taken, or there is no store.
    """
    location = location_of(settings, "front")
    for _ in warm_up():
        await asyncio.sleep(0)
    tracer = open_tracing(settings, "front")
    timeout = settings.store_timeout_ms / 1000
    clock = StoreClock()
    connection, store = make_store(settings, location, clock, tracer)
    offices = OfficeCache(connection)
    directory = Directory(connection, clock, settings.operator_tokens)
    rater = CurrentRater(settings.blocked_destinations, either(tracer, Rater, TracedRater))
    directory.on_deck = rater.use
    calls = Calls(
        store,
        offices,
        rater,
        max_duration_seconds=settings.max_duration_seconds,
        has_callback=directory.has_callback,
    )
    messages = Messages(store, offices, rater)
    limits = SwitchLimits(calls, settings.switch_operations_per_second)
    runner = either(tracer, Runner, TracedRunner)(
        directory,
        SignIns(directory),
        max_in_flight=settings.max_in_flight,
        store_timeout_seconds=timeout,
        knows_certificates=settings.tls_client_ca is not None,
    )

    def is_healthy() -> bool:
        metrics.STORE_CONNECTED.labels("front").set(connection.is_connected)
        metrics.CLOCK_OFFSET.set(clock.offset_ms / 1000)
        metrics.STORE_ROUND_TRIP.set(clock.round_trip_seconds)
        metrics.FRONTS.set(1)
        return connection.is_connected and directory.is_ready

    lists = SwitchLists(connection)
    listener = LiveCallsListener(store, offices, lists, clock, calls)
    sessions = Sessions(
        limits.around_all(session_operations(calls, messages)),
        listener.hear,
        connection.batch,
        max_operations=settings.batch_max_operations,
        make=either(tracer, Session, TracedSession),
    )

    def deliver(published: PublishedCommand) -> None:
        sessions.deliver(published.switch_id, published_command(published))

    leases = ShardLeases(DUE_CALLS, connection, store, clock)
    due = DueLoop(
        connection,
        store,
        offices,
        clock,
        lists,
        live_calls_ms=settings.live_calls_seconds * 1000,
        shards=leases.held,
    )
    certificate = open_certificate(settings)
    service = _listening(settings, certificate)
    serve_authorization(service.server, AuthorizationServicer(runner, calls, messages, limits, sessions))
    await connection.start()
    collector.leave_alone()
    try:
        return await service.run(
            [
                clock.follow(connection),
                directory.follow(),
                lists.follow(),
                follow_commands(connection, deliver),
                leases.run(),
                sessions.drain_when(stop),
                sessions.recheck(directory, runner.recheck),
                _say_ready(directory, ready),
                due.run(),
                *([] if certificate is None else [certificate.follow()]),
            ],
            is_healthy=is_healthy,
            stop=stop,
            drain_seconds=settings.drain_seconds,
        )
    finally:
        await calls.close()
        await connection.close()
        if tracer is not None:
            await tracer.close()


def _listening(settings: Settings, certificate: TlsCertificate | None) -> Service:
    """Listen for switches: in the clear, with TLS, or with TLS and their certificates, there or at a second address.

    Raises:
        StartupError: An address is taken.
    """
    is_shared = settings.workers > 1
    if certificate is None:
        return Service(SERVICE, "TOLLGATE_LISTEN", settings.listen, is_shared=is_shared)
    second = settings.mtls_listen
    wanted_here = settings.tls_client_ca is not None and second is None
    service = Service(
        SERVICE,
        "TOLLGATE_LISTEN",
        settings.listen,
        credentials=certificate.grpc_credentials(wants_client_certificate=wanted_here),
        is_shared=is_shared,
    )
    if second is not None:
        service.listen("TOLLGATE_MTLS_LISTEN", second, certificate.grpc_credentials(wants_client_certificate=True))
    return service


async def _say_ready(directory: Directory, ready: Callable[[], None]) -> None:
    """Say so when everything can be answered; or after a while, since emergencies are answered without a store."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHOUT_STORE_SECONDS):
            await directory.ready.wait()
    ready()
    await asyncio.Event().wait()
