"""The aims of the project, and how far a run is from each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadtest.figures import rounded

Result = Mapping[str, Any]

_SESSION_IN_FLIGHT: Final = 64
_TICKED_CALLS: Final = 100_000
_MANY: Final = 1_000_000
_PREFIXES: Final = 200_000


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


def _session_level(in_flight: int) -> Callable[[Result], Result | None]:
    """The Session's level with so many operations in flight."""

    def find(result: Result) -> Result | None:
        levels = result.get("session", {}).get("levels", ())
        return next((level for level in levels if level["in_flight"] == in_flight), None)

    return find


def _session_ratio(in_flight: int) -> Callable[[Result], float | None]:
    """The Session's rate against the raw rate of its scripts."""
    level_of = _session_level(in_flight)

    def ratio(result: Result) -> float | None:
        level = level_of(result)
        return None if level is None else float(level["ratio_to_raw"]["median"])

    return ratio


def _front_cpu(result: Result) -> float | None:
    """CPU time of the front for an operation of a Session with 64 in flight."""
    level = _session_level(_SESSION_IN_FLIGHT)(result)
    if level is None or "gateway" not in level:
        return None
    return float(level["gateway"]["cpu_micros_per_operation"]["front"]["median"])


def _median(*path: str) -> Callable[[Result], float | None]:
    """The median of the figure that stands at the end of a path of names; None where the path breaks off."""

    def find(result: Result) -> float | None:
        found: Any = result
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return float(found["median"]) if found else None

    return find


def _queue_growth(result: Result) -> float | None:
    """By how many percent of the schedule's rate the fast Session's backlog grew; a shrinking one is none."""
    load = result.get("session", {}).get("open_loop_fast")
    growth = _median("session", "open_loop_fast", "gateway", "backlog_growth_per_second")(result)
    return None if growth is None or not load else max(0.0, 100 * growth / load["per_second"])


def _busy_p99(where: str) -> Callable[[Result], float | None]:
    """The trigger's p99 beside a Session by a schedule."""

    def p99(result: Result) -> float | None:
        delays = result.get("trigger_delay", {}).get(where)
        return float(delays["p99"]) if delays else None

    return p99


def _beside_ticks(result: Result) -> float | None:
    """The authorization's p99 beside ticks against without; None where fewer calls were ticked than the aim says."""
    if result.get("beside_ticks", {}).get("live_calls", 0) < _TICKED_CALLS:
        return None
    return _median("beside_ticks", "p99_ratio")(result)


def _sizes_ratio(result: Result) -> float | None:
    """The authorization's p50 with a million offices and live calls, against a thousand of each."""
    points = result.get("compare_sizes", {}).get("points") or [{"offices": 0}]
    return _median("compare_sizes", "p50_ratio")(result) if points[-1]["offices"] >= _MANY else None


def _largest_deck(name: str) -> Callable[[Result], float | None]:
    """A figure of the deck of 200,000 prefixes."""

    def find(result: Result) -> float | None:
        points = result.get("deck", {}).get("points", ())
        return next((float(point[name]["median"]) for point in points if point["size"] >= _PREFIXES), None)

    return find


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


_AT_64, _AT_512 = _session_ratio(_SESSION_IN_FLIGHT), _session_ratio(512)
_OPEN_P99: Final = _median("session", "open_loop", "p99_ratio")

AIMS: Final = (
    Aim("authorize_call raw, against an empty script", 0.25, at_least=True, figure=authorize_ratio),
    Aim("refill trigger after the reply, p99 under load, ms", 1.0, at_least=False, figure=_trigger_p99),
    Aim(
        "Session at 64 in flight, against its scripts raw",
        0.5,
        at_least=True,
        figure=_session_ratio(_SESSION_IN_FLIGHT),
    ),
    Aim("Session by a schedule, p99 against an empty stream", 2.0, at_least=False, figure=_OPEN_P99),
    Aim("calls ticked by the due loop a second", 15_000, at_least=True, figure=_due_rate),
    Aim("cut after the granted time, latest, ms", 1_000, at_least=False, figure=_latest_cut),
    Aim("journal into the slower database, entries a second", 5_000, at_least=True, figure=_slowest_journal),
    Aim("journal, against the entries of 1,000 calls a second", 1.0, at_least=True, figure=_journal_surplus),
    Aim("authorize beside the journal, p50 against without it", 1.1, at_least=False, figure=_beside_journal("p50")),
    Aim("authorize beside the journal, p99 against without it", 1.5, at_least=False, figure=_beside_journal("p99")),
    Aim("authorize_call raw, against an empty script", 0.35, at_least=True, figure=authorize_ratio, is_first=False),
    Aim(
        "Session at 64 in flight, against its scripts raw",
        0.7,
        at_least=True,
        figure=_session_ratio(64),
        is_first=False,
    ),
    Aim(
        "Session at 512 in flight, against its scripts raw",
        0.9,
        at_least=True,
        figure=_session_ratio(512),
        is_first=False,
    ),
    Aim("front's CPU a decision, Session at 64 in flight, us", 15.0, at_least=False, figure=_front_cpu, is_first=False),
    Aim("unary, against an empty handler, most in flight", 0.8, at_least=True, figure=unary_ratio, is_first=False),
    Aim(
        "Session, 2,000/s by a schedule, p50 against an empty stream",
        1.5,
        at_least=False,
        figure=_median("session", "open_loop", "p50_ratio"),
        is_first=False,
    ),
    Aim(
        "Session, 2,000/s by a schedule, p99 against an empty stream",
        1.4,
        at_least=False,
        figure=_OPEN_P99,
        is_first=False,
    ),
    Aim(
        "Session, 10,000/s by a schedule, growth of the queue, % of the rate",
        1.0,
        at_least=False,
        figure=_queue_growth,
        is_first=False,
    ),
    Aim(
        "Session, 10,000/s by a schedule, p99 against an empty stream",
        2.5,
        at_least=False,
        figure=_median("session", "open_loop_fast", "p99_ratio"),
        is_first=False,
    ),
    Aim(
        "unary, 500/s by a schedule, p99 against an empty handler",
        1.4,
        at_least=False,
        figure=_median("unary", "open_loop", "p99_ratio"),
        is_first=False,
    ),
    Aim(
        "refill trigger beside 2,000/s, p99, ms",
        1.0,
        at_least=False,
        figure=_busy_p99("busy_ms"),
        is_first=False,
    ),
    Aim(
        "refill trigger beside 2,000/s, p99 at another gateway, ms",
        2.0,
        at_least=False,
        figure=_busy_p99("busy_elsewhere_ms"),
        is_first=False,
    ),
    Aim("due loop, against tick_call raw", 0.6, at_least=True, figure=_due_ratio, is_first=False),
    Aim(
        "authorize beside the ticks of 100,000 calls, p99 against without",
        1.2,
        at_least=False,
        figure=_beside_ticks,
        is_first=False,
    ),
    Aim("bytes of a live call", 400, at_least=False, figure=_live_call_bytes, is_first=False),
    Aim(
        "p50 with 1,000,000 offices and live calls, against 1,000 of each",
        1.2,
        at_least=False,
        figure=_sizes_ratio,
        is_first=False,
    ),
    Aim(
        "deck of 200,000 prefixes, lookup, us",
        3.0,
        at_least=False,
        figure=_largest_deck("lookup_micros"),
        is_first=False,
    ),
    Aim(
        "deck of 200,000 prefixes, an unseen number classified, us",
        20.0,
        at_least=False,
        figure=_largest_deck("classify_micros"),
        is_first=False,
    ),
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
