"""One run: the site, the load, the faults by the plan, and the audit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from rich.console import Console

from loadtest.chaos.audit import Audited, audit_site
from loadtest.chaos.books import QUIET, Occurrence
from loadtest.chaos.faults import FAULTS
from loadtest.chaos.load import Load, running_load
from loadtest.chaos.plan import PlannedFault
from loadtest.chaos.site import Site, running_site
from loadtest.load.offices import Offices, new_run_id
from loadtest.load.operator import Operator
from loadtest.processes import BenchError
from loadtest.scene import open_stub_with, wait_until_decides

RECOVERY_SECONDS: Final = 60.0
"""A gateway that decides about nothing funded for so long after a fault has not recovered."""

_OFFICES: Final = {"funded": 12, "unfunded": 4, "refilled": 4}


@dataclass(frozen=True, slots=True)
class FaultRun:
    """A fault that was tried.

    Attributes:
        planned: As the plan has it.
        began_seconds: From the beginning of the load.
        began_at: The same by the monotonic clock.
        recovered_seconds: From its end to the first funded decision that was asked for since.
    """

    planned: PlannedFault
    began_seconds: float
    began_at: float
    recovered_seconds: float

    @property
    def occurrence(self) -> Occurrence:
        """As the books blame it."""
        name = self.planned.fault
        return Occurrence(name, self.began_at, FAULTS[name].may_lose_seconds)

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            **self.planned.to_json(),
            "began_seconds": round(self.began_seconds, 2),
            "recovered_seconds": round(self.recovered_seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        runs: The faults in their order. Those at the end of the plan are not among them where the gateway took so long
            to be whole again that there was no time for them.
        load: What was asked.
        audited: What the audit found.
    """

    runs: Sequence[FaultRun]
    load: Load
    audited: Audited


async def run_chaos(
    plan: Sequence[PlannedFault], seed: int, seconds: float, directory: Path, console: Console
) -> Outcome:
    """Run it all.

    Args:
        plan: The faults.
        seed: Of the load.
        seconds: Of load.
        directory: For all files.
        console: Told of each fault.

    Raises:
        BenchError: Something did not start, could not be made to fail, or did not recover.
    """
    async with running_site(directory) as site, Operator.of(site.loaded) as operator:
        offices = Offices.named(new_run_id(), **_OFFICES)
        await operator.open_offices(offices)
        async with open_stub_with(site.server, site.loaded.operator_token) as stub:
            await wait_until_decides(stub, offices.funded[0])
        stop = asyncio.Event()
        async with running_load(site, offices, seed, stop) as load:
            began = monotonic()
            runs = []
            for planned in plan:
                await asyncio.sleep(max(0.0, began + planned.start_seconds - monotonic()))
                await site.wait_whole()
                load.check()
                if monotonic() > began + seconds:
                    break
                runs.append(await _try(planned, site, load, began))
                console.print(
                    f"{runs[-1].began_seconds:6.1f} s  {planned.fault} for {planned.length_seconds:g} s; funded again "
                    f"after {1000 * runs[-1].recovered_seconds:.0f} ms",
                    style="dim",
                )
            await asyncio.sleep(max(0.0, began + seconds - monotonic()))
            stop.set()
            await load.settle()
            console.print("auditing ...", style="dim")
            audited = await audit_site(site, operator, offices, load, [run.occurrence for run in runs])
            return Outcome(runs, load, audited)


async def _try(planned: PlannedFault, site: Site, load: Load, began: float) -> FaultRun:
    """Have a fault, and wait until the gateway has recovered from it."""
    fault = FAULTS[planned.fault](site, planned.parameters)
    load.books.current, began_at = planned.fault, monotonic()
    try:
        await fault.begin()
        await asyncio.sleep(planned.length_seconds)
    finally:
        ended_at = monotonic()
        recovering = load.meter.next_funded()
        await fault.end()
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            funded_at = await recovering
    except TimeoutError:
        raise BenchError(
            f"nothing funded was decided for {RECOVERY_SECONDS:g} s after {planned.fault}; the log is in "
            f"{site.gateway.directory}"
        ) from None
    load.books.current = QUIET
    return FaultRun(planned, began_at - began, began_at, funded_at - ended_at)
