"""Measure 1: how many of each operation the store does a second, beside an empty script and an empty function."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.store.keys import SHARDS, outbox_key
from gateway.store.scripts import load_library
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import Figure, rounded
from loadtest.pipeline import Command, Pipeline, Run
from loadtest.processes import BenchError, BenchStore
from loadtest.store_cases import OPENING_MICROS, Step, Workload, check_replies, read_offices, run_step
from loadtest.yardsticks import as_empty_function, as_empty_script, load_empty

TRIMMED_ENTRIES: Final = 100
"""What each measured trim drops: about what a journal takes at a time."""

SLICE: Final = 1_000
"""Commands of an operation before its yardsticks have their turn."""

_KINDS: Final = ("measured", "empty_script", "empty_function")


@dataclass
class _Case:
    """The runs of an operation and of its two yardsticks, round by round."""

    runs: dict[str, list[Run]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})

    def to_json(self) -> dict[str, Any]:
        ratios = Figure.of(
            run.rate / empty.rate for run, empty in zip(self.runs["measured"], self.runs["empty_script"], strict=True)
        )
        cpu = {kind: Figure.of(run.cpu_micros for run in runs) for kind, runs in self.runs.items()}
        return {
            **{
                kind: {
                    "rate_per_second": Figure.of(run.rate for run in runs).to_json(),
                    "cpu_micros": cpu[kind].to_json(),
                }
                for kind, runs in self.runs.items()
            },
            "ratio_to_empty_script": ratios.to_json(),
            "cpu_ratio_to_empty_script": rounded(cpu["empty_script"].median / cpu["measured"].median),
        }


def measure_store_rates(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Run all operations in rounds and audit the offices afterwards.

    Raises:
        BenchError: An operation did not answer what it should, or the books are wrong.
    """
    pipeline = Pipeline(store.socket_path, store.pid)
    try:
        load_empty(pipeline)
        pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        workload = Workload(effort.store_offices, pipeline.now_ms())
        moved = OPENING_MICROS
        for step in workload.opening():
            run_step(pipeline, step)
        cases: dict[tuple[str, str], _Case] = {}
        # The first round warms everything up and is not counted.
        for number in range(-1, effort.store_rounds):
            for step in (*workload.round(number + 1), *_trims(pipeline)):
                moved += step.moved_micros
                if not step.timed:
                    run_step(pipeline, step)
                    continue
                runs = _measure(pipeline, step, turn=number)
                if number >= 0:
                    case = cases.setdefault((step.operation, step.case), _Case())
                    for kind, run in runs.items():
                        case.runs[kind].append(run)
        expected = {office.office_id: moved for office in workload.funded}
        expected |= {office.office_id: 0 for office in workload.dipping}
        books.audit("store_rates", expected, read_offices(pipeline, [*workload.funded, *workload.dipping]))
    finally:
        pipeline.close()
    return {
        "rounds": effort.store_rounds,
        "commands_a_round": effort.store_offices,
        "operations": [
            {"operation": operation, "case": case, **runs.to_json()} for (operation, case), runs in cases.items()
        ],
    }


def _measure(pipeline: Pipeline, step: Step, turn: int) -> dict[str, Run]:
    """An operation and its yardsticks, a slice of each in turn: what slows the machine down slows all three down."""
    kinds = {
        "measured": step.commands,
        "empty_script": [as_empty_script(command) for command in step.commands],
        "empty_function": [as_empty_function(command) for command in step.commands],
    }
    order = [_KINDS[(turn + offset) % len(_KINDS)] for offset in range(len(_KINDS))]
    runs = {kind: Run(0.0, 0.0, []) for kind in order}
    for start in range(0, len(step.commands), SLICE):
        for kind in order:
            runs[kind] += pipeline.run(kinds[kind][start : start + SLICE])
    check_replies(step, runs["measured"])
    for kind in _KINDS[1:]:
        if any(reply is not None for reply in runs[kind].replies):
            raise BenchError(f"a yardstick answered {runs[kind].replies[0]}, not nil")
    return runs


def _trims(pipeline: Pipeline) -> Iterator[Step]:
    """The trims that empty the outboxes of what the round put in, so many entries each."""
    function = load_library().functions["trim_outbox"]
    commands: list[Command] = []
    for shard in range(SHARDS):
        key = outbox_key(shard)
        entries = pipeline.ask("XRANGE", key, "-", "+")
        last = [entry_id for entry_id, _ in entries[TRIMMED_ENTRIES - 1 :: TRIMMED_ENTRIES]]
        if entries and len(entries) % TRIMMED_ENTRIES:
            last.append(entries[-1][0])
        commands += [("FCALL", function, 1, key, entry_id) for entry_id in last]
    # What it answers first is how much is left, which differs.
    yield Step("trim_outbox", f"{TRIMMED_ENTRIES} entries", commands, ())
