"""The times of a call's life, from the settings."""

from gateway.settings import Settings
from gateway.store.balances import Lifetimes


def lifetimes_of(settings: Settings) -> Lifetimes:
    """The times of a call's life as the settings have them."""
    return Lifetimes(
        setup_ms=settings.setup_timeout_seconds * 1000,
        grace_ms=settings.grace_seconds * 1000,
        fresh_ms=settings.live_calls_seconds * 1500,
        stub_ms=settings.stub_seconds * 1000,
    )
