"""What a run says: a row for each fault, as JSON and as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from loadtest.chaos.books import QUIET, UNATTRIBUTED, Tally
from loadtest.chaos.faults import FAULTS
from loadtest.chaos.meter import Helped
from loadtest.chaos.run import FaultRun, Outcome
from loadtest.figures import Figure
from loadtest.table import Table, number

SLOWEST_EMERGENCY_SECONDS: Final = 5.0
"""No caller for help may wait longer, the machine's noise included, where there is a front to answer."""


def result_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of a run, for JSON.

    The row of `no fault` has what happened in between. That of `not attributed` is there only where something is wrong.

    Args:
        outcomes: Of its stages.
    """
    runs: dict[str, list[FaultRun]] = {QUIET: []}
    tallies: dict[str, Tally] = {}
    for outcome in outcomes:
        for run in outcome.runs:
            runs.setdefault(run.planned.fault, []).append(run)
        for name, found in outcome.audited.tallies.items():
            tallies[name] = tallies.get(name, Tally()) + found
    meters = [outcome.load.meter for outcome in outcomes]
    return {
        "timeline": [{"store": outcome.stage.form, **run.to_json()} for outcome in outcomes for run in outcome.runs],
        "faults": {
            name: {
                "tried": len(runs.get(name, ())),
                "decisions": sum(meter.decisions[name] for meter in meters),
                "not_answered": sum(meter.unanswered[name] for meter in meters),
                "emergencies": _helped([meter.helped for meter in meters], name),
                "emergencies_directly": _helped([meter.helped_directly for meter in meters], name),
                "recovered_seconds": _recovered(runs.get(name, ())),
                **asdict(tallies.get(name, Tally())),
            }
            for name in [*FAULTS, QUIET, UNATTRIBUTED]
            if name in runs or name in tallies
        },
        "books": {
            "offices": sum(outcome.audited.offices for outcome in outcomes),
            "operations": sum(outcome.audited.operations for outcome in outcomes),
            "refills": sum(outcome.audited.refills for outcome in outcomes),
            "settled_seconds": max(outcome.audited.settled_seconds for outcome in outcomes),
            "faults": [fault for outcome in outcomes for fault in _wrong(outcome)],
        },
    }


def is_clean(result: Mapping[str, Any]) -> bool:
    """Whether nothing is lost or doubled but for what is documented, and nothing else is wrong."""
    rows = result["faults"].values()
    return not result["books"]["faults"] and all(
        row["lost"] == row["lost_as_stated"] and not row["doubled"] for row in rows
    )


def table_of(result: Mapping[str, Any]) -> Table:
    """The table of faults."""
    rows = [
        (
            name,
            number(row["tried"]) if name in FAULTS else "",
            number(row["decisions"]),
            number(row["not_answered"]),
            _calls(row["emergencies"]),
            _calls(row["emergencies_directly"]),
            _amount(row["lost"], row["lost_micros"]) + _stated(row),
            _amount(row["doubled"], row["doubled_micros"]),
            f"{row['recovered_seconds']['median']:.2f}" if row["recovered_seconds"] else "",
            f"{row['recovered_seconds']['high']:.2f}" if row["recovered_seconds"] else "",
        )
        for name, row in result["faults"].items()
    ]
    return Table(
        "Faults under load",
        (
            "fault",
            "times",
            "decisions",
            "no answer",
            "911s, ms",
            "direct, ms",
            "lost",
            "doubled",
            "recovery s",
            "slowest",
        ),
        tuple(rows),
    )


def _helped(helped: Sequence[Helped], name: str) -> dict[str, float]:
    slowest_seconds = max(each.slowest_seconds.get(name, 0.0) for each in helped)
    return {"granted": sum(each.granted[name] for each in helped), "slowest_ms": round(1000 * slowest_seconds, 1)}


def _wrong(outcome: Outcome) -> Iterator[str]:
    meter = outcome.load.meter
    for fault in (*outcome.audited.faults, *_slow_emergencies(meter.helped, meter.helped_directly)):
        yield f"{outcome.stage.form}: {fault}"


def _recovered(runs: Sequence[FaultRun]) -> dict[str, float] | None:
    recovered = [run.recovered_seconds for run in runs if run.recovered_seconds is not None]
    return Figure.of(recovered).to_json() if recovered else None


def _slow_emergencies(by_session: Helped, directly: Helped) -> Iterator[str]:
    for name, seconds in by_session.slowest_seconds.items():
        if seconds > SLOWEST_EMERGENCY_SECONDS:
            yield f"{name}: an emergency call waited {seconds:.1f} s for its switch's answer"
    for name, seconds in directly.slowest_seconds.items():
        if seconds > SLOWEST_EMERGENCY_SECONDS and not (name in FAULTS and FAULTS[name].stops_fronts):
            yield f"{name}: an emergency call waited {seconds:.1f} s for the gateway's answer"


def _calls(helped: Mapping[str, float]) -> str:
    return f"{number(helped['granted'])}: {number(helped['slowest_ms'])}" if helped["granted"] else ""


def _stated(row: Mapping[str, Any]) -> str:
    return ", as stated" if row["lost"] and row["lost"] == row["lost_as_stated"] else ""


def _amount(count: int, micros: int) -> str:
    return f"{count} ({micros:,} micros)" if count else "0"
