"""How many calls a second go through Kamailio, sidecar and gateway; sipp places and answers them."""

import asyncio
import csv
import time
from pathlib import Path
from typing import Any, Final

from loadtest.processes import BenchError
from tests.support.kamailio import TRUSTED, Kamailio
from tests.support.mortal_gateway import MortalGateway
from tests.support.operator import Operator, assert_audit_is_clean
from tests.support.sipp import placed_calls, running_callee

_CALLED: Final = "+442079460950"
_TALK_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 180.0
"""Where ends are lost, a party that is gone is found out by the second keep-alive that it does not answer."""


async def run_rate(
    directory: Path, gateway: MortalGateway, kamailio: Kamailio, rate: int, seconds: int, offices: int
) -> dict[str, Any]:
    """Place so many calls a second for so long, each of which talks for half a second.

    Raises:
        BenchError: The books were wrong after it.
    """
    async with Operator.of(gateway.admin_server) as operator:
        payers = [await operator.create_office(10**12) for _ in range(offices)]
        calls = [(payers[number % offices], _CALLED) for number in range(rate * seconds)]
        began = time.monotonic()
        with (
            running_callee(directory, kamailio.carrier),
            placed_calls(
                directory,
                "answered",
                calls,
                kamailio.address,
                host=TRUSTED,
                rate=rate,
                pause_seconds=_TALK_SECONDS,
                limit_seconds=seconds + 30,
            ) as running,
        ):
            code = await asyncio.to_thread(running.process.wait)
            took = time.monotonic() - began
        counted = _counted(running.log.with_suffix(".stat"))
        settled_in = await _wait_settled(operator, payers)
        spent = 0
        for payer in payers:
            spent += 10**12 - await operator.balance(payer)
    try:
        await asyncio.to_thread(assert_audit_is_clean, gateway.data_dir)
    except AssertionError as error:
        raise BenchError(f"{rate} calls/s: the audit: {error}") from None
    succeeded, failed = int(counted["SuccessfulCall(C)"]), int(counted["FailedCall(C)"])
    if spent < succeeded * 10_000:
        raise BenchError(f"{rate} calls/s: {succeeded} calls of a second at least cost only {spent} micros")
    return {
        "calls_per_second": rate,
        "seconds": seconds,
        "placed_per_second": round(len(calls) / max(took - _TALK_SECONDS, 1e-9), 1),
        "succeeded": succeeded,
        "failed": failed,
        "retransmissions": int(counted["Retransmissions(C)"]),
        "settled_after_seconds": settled_in,
        "first_errors": _first_lines(running.log.with_suffix(".err")) + _first_lines(directory / "callee.err"),
        "passed": code == 0 and failed == 0 and succeeded == len(calls),
    }


async def _wait_settled(operator: Operator, offices: list[str]) -> float:
    """Wait until nothing is reserved; how long that took.

    Raises:
        BenchError: Something still is.
    """
    began = time.monotonic()
    for office in offices:
        while (state := await operator.office(office)).reserved_micros:
            if time.monotonic() - began > _SETTLE_SECONDS:
                raise BenchError(f"{office}: {state.reserved_micros} micros are reserved after the last call")
            await asyncio.sleep(0.2)
    return round(time.monotonic() - began, 1)


def _first_lines(file: Path, count: int = 6) -> list[str]:
    """What sipp complained of first."""
    return file.read_text(errors="replace").splitlines()[:count] if file.exists() else []


def _counted(file: Path) -> dict[str, str]:
    """The last line of sipp's statistics."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    if not rows:
        raise BenchError("sipp kept no statistics")
    return rows[-1]
