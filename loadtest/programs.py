"""Other people's programs that measures run when they are there: found, run to their end, and their words read."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from loadtest.processes import BenchError

H2LOAD: Final = "h2load"
REDIS_BENCHMARK: Final = "redis-benchmark"
PACKAGES: Final = {H2LOAD: "nghttp2-client", REDIS_BENCHMARK: "redis-tools"}
"""Debian's packages that bring them."""

PATIENCE_SECONDS: Final = 120.0


def missing(program: str) -> dict[str, Any] | None:
    """What stands in the result in place of figures when a program is not installed; None: it is there."""
    if shutil.which(program):
        return None
    return {"skipped": f"{program} is not installed (Debian: {PACKAGES[program]})"}


def version_of(program: str) -> str:
    """What the program says of itself, its first line."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return (said.stdout or said.stderr).partition("\n")[0].strip()


async def run_program(arguments: Sequence[str]) -> str:
    """Run a program to its end; returns what it wrote.

    Raises:
        BenchError: It failed, or took longer than it may.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            written, _ = await process.communicate()
    except TimeoutError as error:
        raise BenchError(f"{arguments[0]} took more than {PATIENCE_SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = written.decode(errors="replace")
    if process.returncode:
        raise BenchError(f"{arguments[0]} ended with {process.returncode}:\n{text[-2000:]}")
    return text
