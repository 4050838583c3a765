"""`tollgate demo`: a gateway of its own, credits bought, a day and some live calls, their report, a check of the books.

Everything shown comes from answers of the gateway, asked over gRPC as a switch, an operator or an admin would.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.demo.run import run_demo
from gateway.cli.errors import CommandError
from gateway.startup import StartupError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where to keep its data, and to find it again; not given: nowhere.")
    ] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="Leave after the check of the books; no pauses in the day.")
    ] = False,
    speed: Annotated[
        float, typer.Option(min=0.1, max=1_000, help="How much faster than real time the day is told.")
    ] = 6.0,
) -> None:
    """Start a gateway, buy credits, play an office's minute and live calls, report, audit, and stay up to be tried.

    Live calls take real time, whatever the speed: the gateway ticks and cuts by its clock.
    TOLLGATE_* variables are ignored: a demo must not touch a real store. Exit code 1: the books or the audit are wrong.
    """
    try:
        sys.exit(asyncio.run(run_demo(data_dir=data_dir, leave=leave, speed=speed)))
    except StartupError as error:
        raise CommandError(str(error)) from None
