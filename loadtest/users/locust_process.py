"""The locust process: started with a plan, watched, and ended by its own pid; it says by a file what came of it."""

import asyncio
import ctypes
import json
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.settings_problems import PREFIX
from loadtest.machine import ROOT
from loadtest.processes import BenchError
from loadtest.users.plan import PLAN_VARIABLE, Plan

STOP_SECONDS: Final = 60
"""How long users may take to end what they are at."""

END_SECONDS: Final = 150.0
"""From the signal to the result: the users' time, and that of settling while a gateway comes back."""

EXIT_SECONDS: Final = 15.0
"""From the result to the end of the process, which has nothing more to do."""

_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
_SET_DEATH_SIGNAL: Final = 1
_LIBC: Final = ctypes.CDLL(None)


async def run_locust(
    plan: Plan, *, web_port: int | None = None, quiet: bool = False, stop: asyncio.Event | None = None
) -> dict[str, Any]:
    """Run locust by a plan.

    Args:
        plan: What to do; where its result goes is chosen here.
        web_port: Of locust's page, on loopback; None: no page, and it begins and ends by itself.
        quiet: Whether to keep what it prints to itself.
        stop: Set when it is to end early; what it did until then counts.

    Returns:
        What it wrote: `answers`, `figures`, `climb`.

    Raises:
        BenchError: It ended without a result; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="tollgate-locust-") as name:
        directory = Path(name)
        plan = replace(plan, result=directory / "result.json")
        plan.write(directory / "plan.json")
        log = directory / "log"
        command = [
            sys.executable,
            "-m",
            "locust",
            "--locustfile",
            str(_LOCUSTFILE),
            "--stop-timeout",
            str(STOP_SECONDS),
        ]
        command += ["--only-summary", "--skip-log-setup"] if web_port is None else []
        command += ["--headless"] if web_port is None else ["--web-host", "127.0.0.1", "--web-port", str(web_port)]
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=ROOT,
                env={
                    **{
                        key: value
                        for key, value in os.environ.items()
                        if not key.upper().startswith((PREFIX, "LOCUST"))
                    },
                    PLAN_VARIABLE: str(directory / "plan.json"),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors if quiet else None,
                stderr=errors,
                preexec_fn=_obey_parent,
            )
        try:
            await _wait(process, plan.result, stop or asyncio.Event())
            # 1 is that there were wrong answers, which its result tells of.
            if not plan.result.exists() or process.returncode not in {0, 1, None}:
                raise BenchError(f"locust ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
            result: dict[str, Any] = json.loads(plan.result.read_text())
            return result
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _wait(process: asyncio.subprocess.Process, result: Path, stop: asyncio.Event) -> None:
    """Until it has ended; told to stop, it gets a signal and some time, and with its result written only a little."""
    ended, stopped = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    loop, deadline = asyncio.get_running_loop(), float("inf")
    try:
        while not ended.done() and loop.time() < deadline:
            await asyncio.wait([ended, *([] if stopped.done() else [stopped])], timeout=0.5)
            if stopped.done() and deadline == float("inf") and not ended.done():
                process.send_signal(signal.SIGTERM)
                deadline = loop.time() + END_SECONDS
            if await asyncio.to_thread(result.exists):
                deadline = min(deadline, loop.time() + EXIT_SECONDS)
    finally:
        stopped.cancel()
        ended.cancel()


def _obey_parent() -> None:
    """Ctrl-C is the command's, which lets the users end their calls; however it ends, locust does not go on asking."""
    os.setpgrp()
    _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
