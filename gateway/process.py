"""Entry of a child process: `python -m gateway.process front`, `back` or `journaler`, started by the supervisor.

What it finds and owes is in parent_watch.py.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Final

import uvloop

from gateway.log import configure_logging
from gateway.parent_watch import EXIT_GIVE_UP, exit_with_parent, report_ready
from gateway.settings import Settings, load_settings
from gateway.startup import StartupError
from gateway.tls_files import TlsError

PROCESSES: Final = ("front", "back", "journaler")

Run = Callable[..., Awaitable[bool]]


def main(arguments: list[str]) -> int:
    """Run one process to its end; returns its exit code."""
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        sys.stderr.write(f"gateway.process: which of {', '.join(PROCESSES)}?\n")
        return EXIT_GIVE_UP
    name = arguments[0]
    exit_with_parent()
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format, process=name)
        return 0 if uvloop.run(_run(name, settings)) else 1
    except TlsError as error:
        # The files fitted when the gateway started. Whatever has become of them, the other processes go on with what
        # they have, and this one is started again until they fit.
        sys.stderr.write(f"{error}\n")
        return 1
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_GIVE_UP


async def _run(name: str, settings: Settings) -> bool:
    # Each process imports only its own side: there is no SQL in the front's interpreter.
    run: Run = getattr(import_module(f"gateway.{name}"), f"run_{name}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run(settings, ready=lambda: report_ready(name), stop=stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
