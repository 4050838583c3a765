"""What the commands have in common that take figures for minutes: their options, and how they end."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import grpc.aio
import uvloop
from rich.console import Console

from gateway.log import configure_logging
from gateway.startup import StartupError
from loadtest.processes import BenchError
from loadtest.report import RESULTS

WIDTH: Final = 160
"""Of the tables where the output is no terminal."""


def parser_of(
    module: str, about: str | None, names: Iterable[str], *, quick: str, only: str
) -> argparse.ArgumentParser:
    """The options.

    Args:
        module: What is run.
        about: Its docstring.
        names: What can be taken by itself.
        quick: What a smoke run is.
        only: What one of the names is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--quick", action="store_true", help=f"{quick}, whose figures mean nothing")
    parser.add_argument("--only", action="append", choices=list(names), help=f"take this {only}; may be repeated")
    parser.add_argument(
        "--results", type=Path, help=f"where the JSON goes (default: {RESULTS}; nowhere with --quick or --only)"
    )
    return parser


def run_to_end(
    run: Callable[[argparse.Namespace, Console], Awaitable[int]], given: argparse.Namespace, what: str
) -> int:
    """Run, and say in one line why it did not come to its end; returns the exit code.

    Args:
        run: Takes the figures.
        given: The options.
        what: That which is taken, as the line calls it.
    """
    configure_logging("warning", "console", process="bench")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)

    async def until_told_to_stop() -> int:
        task = asyncio.current_task()
        if task is not None:
            # Like Ctrl-C: what was started is stopped on the way out.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run(given, console)

    try:
        return uvloop.run(until_told_to_stop())
    except (BenchError, StartupError, grpc.aio.AioRpcError) as error:
        sys.stderr.write(f"{what} failed: {error}\n")
    except asyncio.CancelledError:
        sys.stderr.write(f"{what} stopped before the end.\n")
    return 1
