"""Runs sipp: a scenario of tests/support/sipp, calls from a list, and whether each went as the scenario says."""

import itertools
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kamailio import Process, program, spawn
from tests.support.servers import free_port

SCENARIOS = Path(__file__).parent / "sipp"
LIMIT_SECONDS = 60

_numbers = itertools.count(1)


@contextmanager
def placed_calls(
    directory: Path,
    scenario: str,
    calls: Iterable[tuple[str, str]],
    proxy: tuple[str, int],
    *,
    host: str,
    rate: float = 20,
    pause_seconds: float = 0,
    status: int = 0,
    limit_seconds: float = LIMIT_SECONDS,
) -> Iterator[Process]:
    """Place calls, each of an office and to a number; what is not over when the block ends is broken off.

    Args:
        directory: For what sipp reads and writes.
        scenario: The name of the file.
        calls: Office and called number of each.
        proxy: To where.
        host: From where.
        rate: Calls a second.
        pause_seconds: What the scenario's pauses without a length last.
        status: What [status] stands for.
        limit_seconds: After these it gives up.

    Yields:
        The process; with_suffix of its log: .csv its calls, .err what went wrong, .stat the counts of each second.
    """
    listed = list(calls)
    # Several may run one scenario at once, each with calls of its own.
    name = f"{scenario}-{next(_numbers)}"
    text = (SCENARIOS / f"{scenario}.xml").read_text().replace("[status]", str(status))
    (directory / f"{name}.xml").write_text(text)
    (directory / f"{name}.csv").write_text("SEQUENTIAL\n" + "".join(f"{office};{to}\n" for office, to in listed))
    command = [program("sipp"), f"{proxy[0]}:{proxy[1]}", "-sf", str(directory / f"{name}.xml")]
    command += ["-inf", str(directory / f"{name}.csv"), "-i", host, "-p", str(free_port()), "-nostdin"]
    command += ["-m", str(len(listed)), "-r", str(rate), "-d", str(int(pause_seconds * 1000))]
    command += ["-trace_err", "-error_file", str(directory / f"{name}.err"), "-timeout", f"{limit_seconds:g}s"]
    command += ["-trace_stat", "-stf", str(directory / f"{name}.stat"), "-fd", "1", "-l", str(len(listed))]
    with _running(command, directory / f"{name}.log") as sipp:
        yield sipp


def assert_all_went_well(calls: Process) -> None:
    """Wait until all calls are over.

    Raises:
        AssertionError: One did not go as its scenario says; with what sipp wrote.
    """
    try:
        code = calls.process.wait(timeout=LIMIT_SECONDS + 10)
    except subprocess.TimeoutExpired:
        calls.kill()
        code = -1
    errors = calls.log.with_suffix(".err")
    text = errors.read_text(errors="replace")[:4000] if errors.exists() else ""
    assert code == 0, f"{calls.log.stem}: exit code {code}\n{text}\n{calls.log.read_text(errors='replace')[-3000:]}"


@contextmanager
def running_callee(directory: Path, port: int) -> Iterator[Process]:
    """Run the callee of callee.xml until the block ends."""
    command = [program("sipp"), "-sf", str(SCENARIOS / "callee.xml"), "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    command += ["-trace_err", "-error_file", str(directory / "callee.err")]
    with _running(command, directory / "callee.log") as callee:
        yield callee


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[Process]:
    sipp = spawn(command, log)
    try:
        yield sipp
    finally:
        sipp.kill()
