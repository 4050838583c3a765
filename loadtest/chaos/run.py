"""One stage of a run: the site, the load, the faults by the plan, and the audit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from rich.console import Console

from loadtest.chaos.audit import Audited, audit_site
from loadtest.chaos.books import QUIET, Occurrence
from loadtest.chaos.faults import FAULTS
from loadtest.chaos.load import Load, running_load
from loadtest.chaos.plan import PlannedFault, Stage, together
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
        ended_at: When it was begun to end it, by the same.
        occurrence: As the books blame it.
        recovered_seconds: From its end to the next funded decision of those whom it hit; None: another fault lasted
            longer.
    """

    planned: PlannedFault
    began_seconds: float
    began_at: float
    ended_at: float
    occurrence: Occurrence
    recovered_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            **self.planned.to_json(),
            "began_seconds": round(self.began_seconds, 2),
            "recovered_seconds": None if self.recovered_seconds is None else round(self.recovered_seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a stage.

    Attributes:
        stage: As planned.
        runs: The faults in their order. Those at the end of the plan are not among them where the gateway took so long
            to be whole again that there was no time for them.
        load: What was asked.
        audited: What the audit found.
    """

    stage: Stage
    runs: Sequence[FaultRun]
    load: Load
    audited: Audited


async def run_stage(stage: Stage, seed: int, directory: Path, console: Console) -> Outcome:
    """Run it all.

    Args:
        stage: With its faults.
        seed: Of the load.
        directory: For all files; it is there already.
        console: Told of each fault.

    Raises:
        BenchError: Something did not start, could not be made to fail, or did not recover.
    """
    kinds = [FAULTS[planned.fault] for planned in stage.faults]
    means = {kind.needs for kind in kinds if kind.needs is not None}
    async with running_site(directory, stage.form, means) as site, Operator.of(site.loaded) as operator:
        offices = Offices.named(new_run_id(), **_OFFICES)
        await operator.open_offices(offices)
        async with open_stub_with(site.server, site.loaded.operator_token) as stub:
            await wait_until_decides(stub, offices.funded[0])
        stop = asyncio.Event()
        async with running_load(site, offices, f"{seed}/{stage.form}", stop) as load:
            began = monotonic()
            runs = []
            for planned in together(stage.faults):
                await asyncio.sleep(max(0.0, began + planned[0].start_seconds - monotonic()))
                await site.wait_whole()
                load.check()
                if monotonic() > began + stage.seconds:
                    break
                tried = await _Together(site, load, began).have(planned)
                runs += tried
                names = " and ".join(f"{each.fault} for {each.length_seconds:g} s" for each in planned)
                console.print(
                    f"{min(each.began_seconds for each in tried):6.1f} s  {names}; funded again after "
                    f"{tried[-1].recovered_seconds:.3f} s",
                    style="dim",
                    soft_wrap=True,
                )
            await asyncio.sleep(max(0.0, began + stage.seconds - monotonic()))
            stop.set()
            occurrences = [run.occurrence for run in runs]
            await load.settle(occurrences)
            console.print("auditing ...", style="dim")
            audited = await audit_site(site, operator, offices, load, occurrences)
            return Outcome(stage, runs, load, audited)


@dataclass(frozen=True, slots=True)
class _Had:
    """A fault that is over.

    Attributes:
        run: It.
        over_at: When what it broke was whole again, by the monotonic clock.
        funded: When the first funded decision after its end was answered to those whom it hit.
    """

    run: FaultRun
    over_at: float
    funded: asyncio.Future[float]


class _Together:
    """Faults that overlap, or one alone: had, and recovered from.

    Args:
        site: Where.
        load: What goes on.
        began: When the load began, by the monotonic clock.
    """

    def __init__(self, site: Site, load: Load, began: float) -> None:
        self._site = site
        self._load = load
        self._began = began
        self._going_on: list[str] = []

    async def have(self, planned: Sequence[PlannedFault]) -> list[FaultRun]:
        """Have them, and wait until the gateway has recovered.

        Raises:
            BenchError: It has not, or one of them could not be had.
        """
        since = monotonic() - planned[0].start_seconds
        try:
            async with asyncio.TaskGroup() as tasks:
                having = [tasks.create_task(self._have(fault, since + fault.start_seconds)) for fault in planned]
        except* Exception as group:
            raise group.exceptions[0] from None
        last = max((each.result() for each in having), key=lambda had: had.over_at)
        try:
            async with asyncio.timeout(RECOVERY_SECONDS):
                await asyncio.gather(*(each.result().funded for each in having))
        except TimeoutError:
            names = " and ".join(fault.fault for fault in planned)
            raise BenchError(f"nothing funded was decided for {RECOVERY_SECONDS:g} s after {names}") from None
        self._load.books.goes_on(QUIET, monotonic())
        return [
            replace(had.run, recovered_seconds=had.funded.result() - had.run.ended_at) if had is last else had.run
            for had in sorted((each.result() for each in having), key=lambda had: had.over_at)
        ]

    async def _have(self, planned: PlannedFault, at: float) -> "_Had":
        await asyncio.sleep(max(0.0, at - monotonic()))
        self._going_on.append(planned.fault)
        began_at = monotonic()
        self._load.books.goes_on(planned.fault, began_at)
        fault = FAULTS[planned.fault](self._site, planned.parameters)
        await fault.begin()
        try:
            await asyncio.sleep(planned.length_seconds)
        finally:
            ended_at = monotonic()
            funded = self._load.meter.next_funded(fault.hits)
            await fault.end()
        self._going_on.remove(planned.fault)
        if self._going_on:
            self._load.books.goes_on(self._going_on[-1], monotonic())
        run = FaultRun(planned, began_at - self._began, began_at, ended_at, fault.occurrence(began_at))
        return _Had(run, monotonic(), funded)
