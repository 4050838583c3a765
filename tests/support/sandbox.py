"""The sandbox provider in a test: its file, a clock that the test moves, and its webhooks as they would be sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.payments.sandbox import FILE_NAME, SandboxProvider
from tests.support.balances import NOON, ManualClock

PUBLIC_URL = "http://127.0.0.1:8080"


@asynccontextmanager
async def opened_sandbox(
    folder: Path, clock: ManualClock | None = None, **options: Any
) -> AsyncIterator[SandboxProvider]:
    """Open a sandbox on a folder; the same folder again finds the same charges."""
    clock = clock or ManualClock(NOON)
    values: dict[str, Any] = {"public_url": PUBLIC_URL, "clock_ms": clock.now_ms}
    provider = await SandboxProvider.open(folder / FILE_NAME, **values | options)
    try:
        yield provider
    finally:
        await provider.close()


def confirmation_in(url: str) -> str:
    """The id in a confirmation link."""
    return _named_in(url, "charge")


def entry_in(url: str) -> str:
    """The id in a link to a page for cards, or in the URL that such a page returns to."""
    return _named_in(url, "entry")


def _named_in(url: str, name: str) -> str:
    [found] = parse_qs(urlsplit(url).query)[name]
    return found


class Postbox:
    """Takes webhooks as they come."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str]] = []

    async def receive(self, body: bytes, signature: str) -> None:
        """Take one."""
        self.received.append((body, signature))

    async def collect(self, provider: SandboxProvider) -> list[tuple[bytes, str]]:
        """Have everything sent that is due, and return what came so far."""
        while await provider.send_webhooks(self.receive):
            pass
        return self.received
