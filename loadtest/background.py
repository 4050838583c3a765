"""A steady load beside another measure: calls at a fixed rate, by `python -m loadtest.background`.

Open loop: a call begins when its time has come, whether the one before was answered or not. On SIGTERM the calls that
have begun are ended, and what each office was debited is written down for the audit.
"""

import argparse
import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import uvloop

from gateway.address import Address
from gateway.parent_watch import exit_with_parent, report_ready
from loadtest.callers import Callers, Window
from loadtest.scene import open_stub


async def place_calls(target: Address, offices: list[str], calls_per_second: float) -> dict[str, Any]:
    """Place calls until SIGTERM; returns the books.

    Raises:
        BenchError: A call was not answered as it should be.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    window, running = Window(), set[asyncio.Task[None]]()
    async with open_stub(target) as stub:
        callers = Callers(stub, offices, "beside", seed=2)
        await callers.call(window)
        report_ready("background")
        due = loop.time()
        while not stop.is_set():
            running.add(asyncio.create_task(callers.call(window)))
            due += 1 / calls_per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            done = {task for task in running if task.done()}
            running -= done
            # A wrong answer ends the load here; in a callback nobody would hear of it.
            for task in done:
                task.result()
        await asyncio.gather(*running)
    return {"debited": callers.debited, "calls": len(window.end), "retries": callers.retries}


def main() -> None:
    """Read the command line and place calls."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.background")
    parser.add_argument("--target", type=Address.parse, required=True)
    parser.add_argument("--offices", required=True, help="names with commas between them")
    parser.add_argument("--calls-per-second", type=float, required=True)
    parser.add_argument("--books", type=Path, required=True)
    given = parser.parse_args()
    exit_with_parent()
    books = uvloop.run(place_calls(given.target, given.offices.split(","), given.calls_per_second))
    given.books.write_text(json.dumps(books))


if __name__ == "__main__":
    main()
