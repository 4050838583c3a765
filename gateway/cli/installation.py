"""Commands that work on ledger and store themselves, by the gateway's own settings; it may run or not."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gateway.cli.errors import EXIT_UNAVAILABLE, CommandError
from gateway.cli.ledger import database_of
from gateway.ledger.database import Database
from gateway.log import configure_logging
from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.store.connection import StoreConnection
from gateway.store.embedded import EmbeddedStore
from gateway.store.embedded.address import recorded_socket_path
from gateway.store.embedded.probe import Probe, ProbeRefusedError
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
"""A look at a whole shard takes longer than a call's decision."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What a gateway of these settings works on."""

    settings: Settings
    database: Database
    connection: StoreConnection


@asynccontextmanager
async def gateway_installation(settings: Settings, *, alone: bool) -> AsyncIterator[Installation]:
    """The ledger and the store of a gateway; an embedded store that does not run is started for as long as this lasts.

    Args:
        settings: The gateway's.
        alone: No gateway may run on the data directory meanwhile.

    Raises:
        CommandError: One of them cannot be reached, or what was done with them failed.
    """
    configure_logging("error", "console", process="command")
    async with database_of(settings) as database:
        try:
            async with _store_url(settings, alone=alone) as url, _connected(url) as connection:
                yield Installation(settings, database, connection)
        except StartupError as error:
            raise CommandError(str(error)) from None


@asynccontextmanager
async def _store_url(settings: Settings, *, alone: bool) -> AsyncIterator[str]:
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    store = EmbeddedStore(settings.data_dir)
    if not alone and await embedded_store_answers(settings):
        yield store.address.url
        return
    await store.start()
    try:
        yield store.address.url
    finally:
        await store.stop()


async def embedded_store_answers(settings: Settings) -> bool:
    """Whether a store runs in the data directory: a gateway's, or one that outlived its gateway."""
    try:
        probe = await Probe.connect(recorded_socket_path(settings.data_dir.resolve()))
    except OSError:
        return False
    try:
        await probe.command("PING")
    except (OSError, ProbeRefusedError):
        return False
    finally:
        await probe.close()
    return True


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[StoreConnection]:
    location = StoreLocation.parse(url)
    connection = StoreConnection(location, load_library(), timeout_seconds=_ANSWER_SECONDS)
    await connection.start()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await connection.wait_connected()
    except TimeoutError:
        await connection.close()
        raise CommandError(f"the store does not answer: {location} (TOLLGATE_REDIS_URL)", EXIT_UNAVAILABLE) from None
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error while the block runs, where that is a terminal; told what, how much, and of how much."""
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description:14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as bar:

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield show
