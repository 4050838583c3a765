"""`tollgate serve`: one process that starts the others, keeps them running, and ends them in order.

The order is: hold the data directory, check the ports, embedded store, back, the others; and backwards. The back comes
first because it migrates the database and projects offices and rates into the store, without which the front would
refuse every call.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, NoReturn

import structlog
from prometheus_client.multiprocess import mark_process_dead
from redis.exceptions import RedisError

from gateway.address import Address
from gateway.child_process import ChildProcess
from gateway.metrics_http import MULTIPROCESS_VARIABLE
from gateway.news import NEWS_VARIABLE, open_news
from gateway.parent_watch import PARENT_VARIABLE
from gateway.ports import check_ports_free
from gateway.settings import LISTEN_SETTINGS, Settings
from gateway.settings_problems import PREFIX
from gateway.store.configuration import check_primaries
from gateway.store.discovery import find_primaries
from gateway.store.embedded import EmbeddedStore
from gateway.store.embedded.directory import DataDirectory
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.location import StoreLocation

COMMANDS: Mapping[str, Sequence[str]] = {
    "back": (sys.executable, "-m", "gateway.process", "back"),
    "front": (sys.executable, "-m", "gateway.process", "front"),
    "journaler": (sys.executable, "-m", "gateway.process", "journaler"),
}
"""The children: the first one is started by itself, and the others together when it is ready. Of the front there are as
many as the settings say."""


EXIT_UNCLEAN = 1

_log = structlog.get_logger(__name__)


class _Orders(NamedTuple):
    """What signals tell the supervisor: to drain, to kill what still drains, to replace the children."""

    stop: asyncio.Event
    hurry: asyncio.Event
    replace: asyncio.Event


async def supervise(
    settings: Settings,
    *,
    commands: Mapping[str, Sequence[str]] = COMMANDS,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the gateway until SIGTERM, SIGINT or SIGHUP, then drain it.

    The first signal lets the children finish what they have accepted, for at most `drain_seconds`; a second one kills
    them. The embedded store is shut down last. When this process is killed, the children end by themselves and the
    embedded store lives on for the next gateway.

    SIGUSR1 replaces the children one after the other, each when the one before it is ready: of several workers all but
    one go on deciding meanwhile.

    Args:
        settings: Checked settings; the children get them by their environment, secrets too.
        commands: Program and arguments of each child by name, the one first that the others wait for.
        ready: Called once, when the children answer.

    Returns:
        0 after a clean drain; 1 if a child had to be killed or did not end as it should.

    Raises:
        StartupError: It cannot start, or a child says that it never will: the data directory is held by another
            gateway, a port is taken, the store is not set up as it must be. Nothing is left running. Or the embedded
            store refused to shut down: that one is left running.
    """
    orders = _Orders(asyncio.Event(), asyncio.Event(), asyncio.Event())
    with _handled_signals(orders):
        if settings.redis_url is not None:
            await check_ports_free(_listeners(settings))
            await _check_store(settings.redis_url)
            if settings.database_url is None or settings.payment_provider == "sandbox":
                # For their SQLite files, which several processes may share: only the embedded store needs the lock.
                DataDirectory(settings.data_dir).make_private()
            return await _run_children(settings, commands, (), orders, ready)
        async with _embedded_store(settings, orders.stop) as store:
            if store is None:
                return 0
            settings = settings.model_copy(update={"redis_url": store.address.url})
            held = () if store.lock_descriptor is None else (store.lock_descriptor,)
            return await _run_children(settings, commands, held, orders, ready)


@asynccontextmanager
async def _embedded_store(settings: Settings, stop: asyncio.Event) -> AsyncIterator[EmbeddedStore | None]:
    """The embedded store while the block runs; None when told to stop before it was up."""
    store = EmbeddedStore(settings.data_dir)
    # First of all: whoever starts a second gateway on the directory is to hear of the first, not of its ports.
    await store.claim()
    try:
        await check_ports_free(_listeners(settings))
    except BaseException:
        store.release()
        raise
    starting = asyncio.create_task(store.start())
    try:
        started = await _done_before(starting, stop)
    finally:
        # Done already, or else no longer wanted: it then cleans up behind itself.
        starting.cancel()
    if not started:
        await _cancel(starting)
        yield None
        return
    starting.result()
    watch = asyncio.create_task(store.supervise())
    try:
        yield store
    finally:
        # Only now: the children need the store until they have drained.
        await _cancel(watch)
        await store.stop()


async def _run_children(
    settings: Settings,
    commands: Mapping[str, Sequence[str]],
    inherited: Sequence[int],
    orders: _Orders,
    ready: Callable[[], None],
) -> int:
    # Only this process has the writing end: when it is gone, however it went, the children read the end of the pipe.
    parent_pipe, held_open = os.pipe()
    for_back, of_journaler = open_news()
    handed_down = {"back": {NEWS_VARIABLE: for_back}, "journaler": {NEWS_VARIABLE: of_journaler}}
    try:
        # The processes count in files of one directory, and the back serves the sum.
        with TemporaryDirectory(prefix="tollgate-metrics-") as metrics:
            environment = {**_environment(settings), MULTIPROCESS_VARIABLE: metrics}
            forget = partial(mark_process_dead, path=metrics)
            made = [
                [
                    ChildProcess(
                        label,
                        command,
                        environment,
                        {PARENT_VARIABLE: parent_pipe, **handed_down.get(name, {})},
                        inherited,
                        forget,
                        says=name,
                    )
                    for label in _labels(name, settings.workers)
                ]
                for name, command in commands.items()
            ]
            children = [child for group in made for child in group]
            groups = [made[0], children[len(made[0]) :]]
            replacing = asyncio.create_task(_replace_when(orders.replace, children, settings.drain_seconds))
            try:
                await _keep_running(groups, orders.stop, ready)
            finally:
                await _cancel(replacing)
                clean = await _drain(children, settings.drain_seconds, orders.hurry)
    finally:
        for descriptor in (held_open, parent_pipe, for_back, of_journaler):
            os.close(descriptor)
    return 0 if clean else EXIT_UNCLEAN


def _labels(name: str, workers: int) -> list[str]:
    """What the processes of a child are called."""
    return [name] if name != "front" or workers == 1 else [f"{name}-{number + 1}" for number in range(workers)]


async def _replace_when(replace: asyncio.Event, children: Sequence[ChildProcess], drain_seconds: int) -> NoReturn:
    """Replace every child, one after the other, each time that it is asked for."""
    while True:
        await replace.wait()
        replace.clear()
        _log.info("gateway_is_replaced", children=[child.name for child in children])
        for child in children:
            await child.replace(drain_seconds)
        _log.info("gateway_replaced")


async def _keep_running(
    groups: Sequence[Sequence[ChildProcess]], stop: asyncio.Event, say_ready: Callable[[], None]
) -> None:
    """Start the children, each group when the one before it is ready, and return when told to stop.

    Raises:
        ChildGaveUpError: One of them cannot run.
        OSError: The program of one cannot be executed.
    """
    waiting = asyncio.create_task(stop.wait())
    tasks: list[asyncio.Task[Any]] = [waiting]
    try:
        for group in groups:
            tasks += [asyncio.create_task(child.run()) for child in group]
            ready = asyncio.create_task(_all_ready(group))
            try:
                await asyncio.wait([ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancel(ready)
            if any(task.done() for task in tasks):
                break
        else:
            _log.info("gateway_ready")
            say_ready()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            await _cancel(task)


async def _all_ready(group: Sequence[ChildProcess]) -> None:
    for child in group:
        await child.ready.wait()


async def _drain(children: Sequence[ChildProcess], drain_seconds: int, hurry: asyncio.Event) -> bool:
    """End the children; whether each that was running ended by itself, with 0 and in time."""
    running = [child for child in children if child.running]
    _log.info("gateway_drains", children=[child.name for child in running], drain_seconds=drain_seconds)
    for child in running:
        child.terminate()
    ended = asyncio.gather(*(child.wait() for child in running))
    in_time = await _done_before(ended, hurry, drain_seconds)
    if not in_time:
        for child in running:
            if child.running:
                _log.error("child_killed", child=child.name, hurried=hurry.is_set())
                child.kill()
        await ended
    clean = in_time and all(child.ended_cleanly for child in running)
    _log.info("gateway_ended", exit_codes={child.name: child.exit_code for child in running})
    return clean


async def _check_store(url: str) -> None:
    """Refuse a store that is set up wrong; one that does not answer may come up later, and then the back asks it."""
    try:
        await check_primaries(await find_primaries(StoreLocation.parse(url)))
    except (StoreUnavailable, StoreFault, RedisError, OSError) as error:
        _log.warning("store_not_checked", error=str(getattr(error, "detail", error)))


def _listeners(settings: Settings) -> dict[str, Address]:
    return {name: address for name in LISTEN_SETTINGS if (address := getattr(settings, name)) is not None}


def _environment(settings: Settings) -> dict[str, str]:
    """The supervisor's own environment with the settings as they were resolved, and no other variable of ours."""
    foreign = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return {**foreign, **settings.environment()}


@contextmanager
def _handled_signals(orders: _Orders) -> Iterator[None]:
    def on_signal(number: signal.Signals) -> None:
        _log.info("signal_received", signal=number.name)
        if number is signal.SIGUSR1:
            orders.replace.set()
        else:
            (orders.hurry if orders.stop.is_set() else orders.stop).set()

    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    # nohup has it ignored, and means it.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    # A child inherits it: in a terminal it is in the background, where `stty tostop` stops whoever writes a line.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTTOU, before)
        for number in numbers:
            loop.remove_signal_handler(number)


async def _done_before(work: asyncio.Future[Any], event: asyncio.Event, limit_seconds: float | None = None) -> bool:
    """Wait until the work is done, the event is set or the time is over; whether the work is done."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([work, waiting], timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        return work.done()
    finally:
        await _cancel(waiting)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; an error it ended with before was its reader's to see."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
