"""What every process opens alike: its way to the store. There is no SQL here, for the front has none."""

from collections.abc import Callable

from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.store.balances import BalanceStore, Lifetimes
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from gateway.tracing.deciding import TracedBalanceStore, TracedConnection
from gateway.tracing.tracer import Tracer, either


def location_of(settings: Settings, process: str) -> StoreLocation:
    """Where the store of a process is.

    Raises:
        StartupError: It was told of none.
    """
    if settings.redis_url is None:
        raise StartupError(f"TOLLGATE_REDIS_URL: the {process} has no store; start it by `tollgate serve`")
    return StoreLocation.parse(settings.redis_url)


def make_store(
    settings: Settings,
    location: StoreLocation,
    clock: Clock,
    tracer: Tracer | None,
    on_connect: Callable[[], None] = lambda: None,
) -> tuple[StoreConnection, BalanceStore]:
    """The connection, which the caller starts and closes, and what runs the scripts on it."""
    connection = either(tracer, StoreConnection, TracedConnection)(
        location, load_library(), timeout_seconds=settings.store_timeout_ms / 1000, on_connect=on_connect
    )
    balances = BalanceStore if tracer is None else TracedBalanceStore
    return connection, balances(connection, clock, lifetimes_of(settings))


def lifetimes_of(settings: Settings) -> Lifetimes:
    """The times of a call's life as the settings have them."""
    return Lifetimes(
        setup_ms=settings.setup_timeout_seconds * 1000,
        grace_ms=settings.grace_seconds * 1000,
        fresh_ms=settings.live_calls_seconds * 1500,
        stub_ms=settings.stub_seconds * 1000,
    )
