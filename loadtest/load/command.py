"""What the commands that load a gateway have in common: the gateway, the log, and one line where it cannot be done."""

import argparse
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import grpc.aio
import uvloop
from rich.console import Console

from gateway.client import ClientError
from gateway.client_channel import fault_of
from gateway.log import configure_logging
from loadtest.load.gateway import LoadedGateway, gateway_under_load
from loadtest.processes import BenchError


def run_load(
    given: argparse.Namespace,
    run: Callable[[argparse.Namespace, LoadedGateway, Console], Coroutine[Any, Any, int]],
    **settings: str,
) -> int:
    """Have the gateway that the options name, or one of its own with these settings, and load it.

    Returns:
        The exit code: that of `run`; 1 where the load could not be made, which is then said in one line.
    """
    configure_logging("warning", "console", process="load")
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        with gateway_under_load(given, **settings) as gateway:
            return uvloop.run(run(given, gateway, console))
    except (BenchError, ClientError) as error:
        sys.stderr.write(f"The load failed: {error}\n")
    except grpc.aio.AioRpcError as error:
        fault = fault_of(error)
        sys.stderr.write(f"The load failed: {fault.code}: {fault.message}\n")
    return 1
