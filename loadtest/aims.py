"""The aims of the project, and how far a run is from each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadtest.figures import rounded

Result = Mapping[str, Any]

_SESSION_IN_FLIGHT: Final = 64


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure that is to be reached.

    Attributes:
        name: What is measured, for the table.
        target: The number.
        at_least: True: the figure should not be below it; False: not above.
        figure: Finds it in the result of a run; None where that measure was not taken.
        is_first: Of the first stage; the others are of a later one and only shown.
    """

    name: str
    target: float
    at_least: bool
    figure: Callable[[Result], float | None]
    is_first: bool = True


def authorize_ratio(result: Result) -> float | None:
    """The rate of a fresh authorization against the empty script."""
    for row in result.get("store_rates", {}).get("operations", ()):
        if row["operation"] == "authorize_call" and row["case"] == "fresh id, funded":
            return float(row["ratio_to_empty_script"]["median"])
    return None


def unary_ratio(result: Result) -> float | None:
    """The unary rate against the empty handler, at the highest concurrency."""
    levels = result.get("unary", {}).get("levels", ())
    return float(levels[-1]["ratio_to_empty_handler"]["median"]) if levels else None


def _live_call_bytes(result: Result) -> float | None:
    found = result.get("memory", {}).get("bytes_per_live_call")
    return None if found is None else float(found)


def _trigger_p99(result: Result) -> float | None:
    delays = result.get("trigger_delay", {}).get("under_load_ms")
    return float(delays["p99"]) if delays else None


def _session_ratio(result: Result) -> float | None:
    """The Session's rate at 64 in flight against the raw rate of its scripts."""
    for level in result.get("session", {}).get("levels", ()):
        if level["in_flight"] == _SESSION_IN_FLIGHT:
            return float(level["ratio_to_raw"]["median"])
    return None


def _open_loop_ratio(result: Result) -> float | None:
    open_loop = result.get("session", {}).get("open_loop")
    return float(open_loop["p99_ratio"]["median"]) if open_loop else None


def _due_rate(result: Result) -> float | None:
    due = result.get("due")
    return float(due["ticks_per_second"]["median"]) if due else None


def _due_ratio(result: Result) -> float | None:
    due = result.get("due")
    return float(due["ratio_to_raw"]["median"]) if due else None


def _latest_cut(result: Result) -> float | None:
    cuts = result.get("cut_lateness")
    return float(cuts["lateness_ms"]["max"]) if cuts else None


def _slowest_journal(result: Result) -> float | None:
    """Entries a second into the slower of the databases."""
    drains = result.get("journal", {}).get("drain", {}).get("databases", ())
    return min((float(each["entries_per_second"]["median"]) for each in drains), default=None)


def _journal_surplus(result: Result) -> float | None:
    """The same against the entries that calls make at the rate of the schedule: one each, as none is ticked there."""
    slowest = _slowest_journal(result)
    return None if slowest is None else slowest / float(result["journal"]["effect"][0]["calls_per_second"])


def _beside_journal(name: str) -> Callable[[Result], float | None]:
    """The latency of an authorization beside the journal, against the same without it; the worse of the databases."""

    def worst(result: Result) -> float | None:
        effects = result.get("journal", {}).get("effect", ())
        return max((float(each[f"{name}_ratio"]["median"]) for each in effects), default=None)

    return worst


AIMS: Final = (
    Aim("authorize_call raw, against an empty script", 0.25, at_least=True, figure=authorize_ratio),
    Aim("refill trigger after the reply, p99 under load, ms", 1.0, at_least=False, figure=_trigger_p99),
    Aim("Session at 64 in flight, against its scripts raw", 0.5, at_least=True, figure=_session_ratio),
    Aim("Session by a schedule, p99 against an empty stream", 2.0, at_least=False, figure=_open_loop_ratio),
    Aim("calls ticked by the due loop a second", 15_000, at_least=True, figure=_due_rate),
    Aim("cut after the granted time, latest, ms", 1_000, at_least=False, figure=_latest_cut),
    Aim("journal into the slower database, entries a second", 5_000, at_least=True, figure=_slowest_journal),
    Aim("journal, against the entries of 1,000 calls a second", 1.0, at_least=True, figure=_journal_surplus),
    Aim("authorize beside the journal, p50 against without it", 1.1, at_least=False, figure=_beside_journal("p50")),
    Aim("authorize beside the journal, p99 against without it", 1.5, at_least=False, figure=_beside_journal("p99")),
    Aim("authorize_call raw, against an empty script", 0.35, at_least=True, figure=authorize_ratio, is_first=False),
    Aim("unary, against an empty handler, most in flight", 0.8, at_least=True, figure=unary_ratio, is_first=False),
    Aim("due loop, against tick_call raw", 0.6, at_least=True, figure=_due_ratio, is_first=False),
    Aim("bytes of a live call", 400, at_least=False, figure=_live_call_bytes, is_first=False),
)


def judge(result: Result) -> list[dict[str, Any]]:
    """Each aim whose figure is in the result: met, or missed by how many percent of the aim."""
    judged = []
    for aim in AIMS:
        figure = aim.figure(result)
        if figure is None:
            continue
        met = figure >= aim.target if aim.at_least else figure <= aim.target
        judged.append(
            {
                "name": aim.name,
                "stage": "first" if aim.is_first else "later",
                "aim": f"{'>=' if aim.at_least else '<='} {aim.target:g}",
                "measured": rounded(figure),
                "met": met,
                "missed_by_percent": 0.0 if met else rounded(100 * abs(figure - aim.target) / aim.target),
            }
        )
    return judged
