"""What the metrics say, as figures for people: rates between two scrapes, times over some."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.cli.top.scrape import Scrape
from gateway.domain.vocabulary import Decision, Reason

_OF_SWITCHES: Final = ("Authorize", "Answer", "Tick", "End", "Refund", "Quote")
"""Rpcs whose time a caller waits for."""

_UNANSWERED: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"})


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, as the buckets of a histogram tell: no finer than they are.

    Attributes:
        count: How often it happened.
        p50_ms: Half took no longer; None: it did not happen. Infinite: longer than the highest bucket.
        p99_ms: Likewise 99 %.
    """

    count: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """A gateway at work; `per_second` is over the last interval, times over the window.

    Attributes:
        decisions: A second, by reason; what did not come is not in it.
        rpcs: Of single rpcs of switches.
        hooks: Of hooks.
        operations_per_second: Of Sessions.
        unanswered_per_second: Of what switches asked, for a fault of ours.
        live_calls: Over the whole installation.
        reserved_micros: Held for them.
        debited_micros_per_second: As the journal reads it.
        sessions: Open ones.
        fronts: Processes that decide.
        stores_lost: Processes without a connection to the store.
        store_ms: Of a question to the store.
        clock_offset_ms: The store's less this machine's.
        outbox_entries: What the ledger does not have.
        outbox_seconds: How old the oldest of them is.
        journaled_per_second: Entries that came into the ledger.
        due_late: How late due calls were looked at.
        cuts_per_second: Calls marked cut.
        lapses_per_second: Calls that nobody confirmed.
        triggers_per_second: Refills asked for.
        charges_undecided: Cards of which nobody knows yet whether they were charged.
        offices_missing: Offices that the store has lost.
    """

    decisions: Mapping[str, float]
    rpcs: Times
    hooks: Times
    operations_per_second: float
    unanswered_per_second: float
    live_calls: int
    reserved_micros: int
    debited_micros_per_second: float
    sessions: int
    fronts: int
    stores_lost: int
    store_ms: float
    clock_offset_ms: float
    outbox_entries: int
    outbox_seconds: float
    journaled_per_second: float
    due_late: Times
    cuts_per_second: float
    lapses_per_second: float
    triggers_per_second: float
    charges_undecided: int
    offices_missing: int

    @property
    def denied_per_second(self) -> float:
        """Decisions that let nothing through."""
        denying = {reason.name for reason in Reason if reason.decision is Decision.DENIED}
        return sum(rate for reason, rate in self.decisions.items() if reason in denying)


def figures_of(scrapes: Sequence[Scrape]) -> Figures:
    """Make the figures.

    Args:
        scrapes: Two at least, the oldest first: rates are between the last two, times over all of them.
    """
    oldest, before, now = scrapes[0], scrapes[-2], scrapes[-1]
    seconds = max(now.at_seconds - before.at_seconds, 0.001)

    def rate(name: str) -> float:
        return _grown(before, now, name) / seconds

    by_reason = _by_label(now, "tollgate_decisions_total", "reason")
    was = _by_label(before, "tollgate_decisions_total", "reason")
    decisions = {
        # A sum falls when a process is gone that it was of.
        reason: max(0.0, count - was.get(reason, 0.0)) / seconds
        for reason, count in by_reason.items()
    }
    return Figures(
        decisions={reason: each for reason, each in decisions.items() if each},
        rpcs=_times(oldest, now, "tollgate_rpc_seconds", _OF_SWITCHES),
        hooks=_times(oldest, now, "tollgate_hook_seconds"),
        operations_per_second=rate("tollgate_session_operations_total"),
        unanswered_per_second=(_unanswered(now) - _unanswered(before)) / seconds,
        live_calls=int(now.total("tollgate_live_calls")),
        reserved_micros=int(now.total("tollgate_reserved_micros")),
        debited_micros_per_second=rate("tollgate_debited_micros_total"),
        sessions=int(now.total("tollgate_sessions")),
        fronts=int(now.total("tollgate_fronts")),
        stores_lost=sum(not value for _, value in now.each("tollgate_store_connected")),
        store_ms=now.total("tollgate_store_round_trip_seconds") * 1000,
        clock_offset_ms=now.total("tollgate_clock_offset_seconds") * 1000,
        outbox_entries=int(now.total("tollgate_outbox_entries")),
        outbox_seconds=now.total("tollgate_journal_lag_seconds"),
        journaled_per_second=rate("tollgate_journal_entries_total"),
        due_late=_times(oldest, now, "tollgate_due_lag_seconds"),
        cuts_per_second=rate("tollgate_cuts_total"),
        lapses_per_second=rate("tollgate_lapses_total"),
        triggers_per_second=rate("tollgate_refill_triggers_total"),
        charges_undecided=int(now.total("tollgate_charges_undecided")),
        offices_missing=int(now.total("tollgate_offices_missing")),
    )


def _grown(before: Scrape, now: Scrape, name: str) -> float:
    return max(0.0, now.total(name) - before.total(name))


def _by_label(scrape: Scrape, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for labels, value in scrape.each(name):
        found[labels[label]] += value
    return found


def _unanswered(scrape: Scrape) -> float:
    of_rpcs = sum(
        value
        for labels, value in scrape.each("tollgate_rpcs_total")
        if labels["code"] in _UNANSWERED and labels["rpc"].startswith(_OF_SWITCHES)
    )
    of_sessions = sum(
        value for labels, value in scrape.each("tollgate_session_errors_total") if labels["code"] in _UNANSWERED
    )
    return of_rpcs + of_sessions


def _times(before: Scrape, now: Scrape, name: str, rpcs: tuple[str, ...] = ("",)) -> Times:
    buckets = _buckets(now, name, rpcs)
    was = _buckets(before, name, rpcs)
    grown = sorted((bound, max(0.0, count - was.get(bound, 0.0))) for bound, count in buckets.items())
    count = grown[-1][1] if grown else 0.0
    return Times(int(count), _quantile(grown, 0.5), _quantile(grown, 0.99))


def _buckets(scrape: Scrape, name: str, rpcs: tuple[str, ...]) -> dict[float, float]:
    """How many took no longer than each bound, in seconds."""
    found: dict[float, float] = defaultdict(float)
    for labels, value in scrape.each(f"{name}_bucket"):
        if labels.get("rpc", "").startswith(rpcs):
            found[float(labels["le"])] += value
    return found


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """In milliseconds, between the bounds as if they were evenly spread there, as Prometheus reckons it."""
    if not buckets or not buckets[-1][1]:
        return None
    rank, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return math.inf
            return 1000 * (low + (bound - low) * (rank - below) / (count - below))
        low, below = bound, count
    return None
