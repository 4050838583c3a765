"""The demo's own gateway: started, played with, kept up, stopped without a trace."""

import asyncio
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import grpc

from gateway.address import Address
from gateway.cli.connection import (
    DEFAULT_ADMIN_LISTEN,
    DEFAULT_LISTEN,
    ConnectionFile,
    demo_pointed_to,
)
from gateway.cli.demo.closing import sign_in_link, things_to_try
from gateway.cli.demo.rates import write_deck
from gateway.cli.demo.screen import Screen
from gateway.cli.demo.story import Story
from gateway.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, CommandError
from gateway.client import ClientError
from gateway.client_channel import fault_of
from gateway.log import configure_logging
from gateway.settings import Settings, load_settings
from gateway.startup import StartupError
from gateway.supervisor import supervise

LOG_NAME: Final = "demo.log"

DRAIN_SECONDS: Final = 5

REFILLS_A_DAY: Final = 1_000

_PREFERRED: Final = {
    "listen": DEFAULT_LISTEN,
    "admin_listen": DEFAULT_ADMIN_LISTEN,
    "http_listen": Address("127.0.0.1", 8080),
    "metrics_listen": Address("127.0.0.1", 9464),
}


async def run_demo(*, data_dir: Path | None, leave: bool, speed: float) -> int:
    """Run the whole demo; returns its exit code.

    Args:
        data_dir: Where the gateway keeps its data; None: in a directory that is gone afterwards.
        leave: End after the check of the books, and do not pause between events.
        speed: How much faster than real time the day is told.

    Raises:
        StartupError: The gateway does not start; the text has the end of its log.
    """
    screen = Screen()
    with ExitStack() as stack:
        directory = stack.enter_context(_kept_or_temporary(data_dir))
        stack.enter_context(_logs_in(directory / LOG_NAME))
        # Where nobody is told the ports there is no need for those that everybody knows.
        settings, gateway = await _start(directory, {} if leave else _PREFERRED)
        try:
            screen.say(f"Tollgate is up: calls on {settings.listen}, credits on {settings.admin_listen}", "bold")
            screen.say(f"its data, its store and its log are in {directory}", "dim")
            story = Story(settings, screen, speed=None if leave else speed)
            code = await _play(story, gateway, screen)
            if leave or code or gateway.done():
                return code
            await _stay_up(story, settings, directory, gateway, screen)
            return code
        finally:
            await _stop(gateway)
            screen.say("stopped: the gateway and its store have ended", "dim")


async def _start(directory: Path, preferred: dict[str, Address]) -> tuple[Settings, asyncio.Task[int]]:
    """Start the gateway; returns it with its settings when it answers."""
    while True:
        settings = _settings(directory, _free_addresses(preferred))
        started = asyncio.Event()
        gateway = asyncio.create_task(supervise(settings, ready=started.set))
        try:
            await _until_ready(gateway, started, directory / LOG_NAME)
        except StartupError:
            # Another demo that started at the same moment may have been quicker to take the ports that all prefer.
            if all(_is_free(getattr(settings, name)) for name in preferred):
                raise
            preferred = {}
        else:
            return settings, gateway


async def _until_ready(gateway: asyncio.Task[int], started: asyncio.Event, log: Path) -> None:
    waiting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([gateway, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if not started.is_set():
        try:
            code = gateway.result()
        except StartupError as error:
            raise StartupError(f"{error}\n{_tail(log)}".rstrip()) from error
        # Ctrl-C while it was starting.
        raise CommandError("stopped before it was up", code or EXIT_INTERRUPTED)


async def _play(story: Story, gateway: asyncio.Task[int], screen: Screen) -> int:
    """Tell the story unless the gateway is stopped meanwhile."""
    telling = asyncio.create_task(story.tell())
    try:
        await asyncio.wait([telling, gateway], return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            return EXIT_INTERRUPTED
        return 0 if await telling else EXIT_FAILED
    except (grpc.RpcError, ClientError) as error:
        # Ctrl-C ends the gateway, and with it the answers; the gateway's own end says that it was that.
        await asyncio.wait([gateway], timeout=DRAIN_SECONDS + 10)
        if gateway.done():
            return EXIT_INTERRUPTED
        screen.say(f"the gateway failed: {_words_of(error)}", "bold red")
        return EXIT_FAILED
    except CommandError as error:
        screen.say(str(error), "bold red")
        return error.exit_code
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await telling


def _words_of(error: grpc.RpcError | ClientError) -> str:
    if isinstance(error, ClientError):
        return str(error)
    fault = fault_of(error)
    return f"{fault.message} ({fault.code} {fault.reason})"


async def _stay_up(
    story: Story, settings: Settings, directory: Path, gateway: asyncio.Task[int], screen: Screen
) -> None:
    assert settings.operator_token is not None  # noqa: S101 - _settings gives one
    file = ConnectionFile(
        os.getpid(),
        settings.listen,
        settings.admin_listen,
        settings.operator_token.get_secret_value(),
        settings.http_listen,
        metrics_listen=settings.metrics_listen,
    )
    async with story.last_call as last_call:
        with file.left_in(directory), demo_pointed_to(directory) as is_found:
            screen.title("The gateway stays up. In another terminal, try:")
            for command in things_to_try(last_call, directory, is_found=is_found):
                screen.say(f"  {command}", "bold green")
            screen.say("In a browser each of these links signs in once:")
            for who, secret in story.people.items():
                screen.say(f"  {await sign_in_link(settings.admin_listen, secret)}  as {who}", "bold green")
            screen.say("Ctrl-C ends it.", "dim")
            await asyncio.wait([gateway])


async def _stop(gateway: asyncio.Task[int]) -> None:
    if not gateway.done():
        gateway.cancel()
    with suppress(asyncio.CancelledError, StartupError):
        await gateway


def _settings(directory: Path, addresses: dict[str, Address]) -> Settings:
    """The settings of a demo: its own directory and store, whatever the environment says."""
    for name in [name for name in os.environ if name.upper().startswith("TOLLGATE_")]:
        del os.environ[name]
    return load_settings(
        data_dir=directory,
        rates=write_deck(directory),
        operator_token=secrets.token_urlsafe(32),
        drain_seconds=DRAIN_SECONDS,
        # As often as somebody plays it in one day on the same data directory.
        refills_a_day=REFILLS_A_DAY,
        **addresses,
    )


def _free_addresses(preferred: dict[str, Address]) -> dict[str, Address]:
    """An address for each listener: the preferred one where it is free, else one that the system chooses."""
    addresses = {name: address for name, address in preferred.items() if _is_free(address)}
    with ExitStack() as sockets:
        for name in _PREFERRED:
            if name not in addresses:
                # Held until all are chosen, so that no two are the same.
                probe = sockets.enter_context(socket.socket())
                probe.bind(("127.0.0.1", 0))
                addresses[name] = Address("127.0.0.1", probe.getsockname()[1])
    return addresses


def _is_free(address: Address) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            # Only listening tells whether somebody else listens there.
            probe.listen(1)
        except OSError:
            return False
    return True


@contextmanager
def _kept_or_temporary(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        path = data_dir.expanduser().absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix="tollgate-demo-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _logs_in(path: Path) -> Iterator[None]:
    """Have this process, and those it starts, log to a file: the terminal is the story's."""
    terminal = os.dup(2)
    with path.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
        try:
            configure_logging("info", "json", process="supervisor", stream=file)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            logging.getLogger().handlers.clear()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # What is no JSON was written for people.
    return "\n".join(line for line in lines[-20:] if not line.startswith("{"))
