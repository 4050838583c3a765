"""What arrives at one primary: single decisions, and what comes in batches (ticks, lists, the journal's reads)."""

from typing import Final, NamedTuple

from gateway.api.live_calls import CALLS_AT_ONCE
from gateway.background.journaler import A_READ, EVERY_SECONDS
from gateway.store.keys import SHARDS
from gateway.store.outbox import SHARDS_AT_ONCE
from loadtest.scaling.costs import Costs
from loadtest.scaling.demand import Demand

DECISIONS: Final = ("authorize_call", "answer_call", "end_call", "tick_by_switch", "authorize_message")
"""Somebody waits for each of these."""


class Job(NamedTuple):
    """A kind of work for the one thread of a primary.

    Attributes:
        name: An operation, or `journal`.
        per_second: How often it comes.
        micros: How long each takes, in microseconds, whole batches as one.
        is_decision: Somebody waits for it, and it comes by chance; else it comes every so often.
    """

    name: str
    per_second: float
    micros: float
    is_decision: bool


def rates(demand: Demand) -> dict[str, float]:
    """Operations a second, of the whole installation."""
    return {
        "authorize_call": demand.attempts_per_second,
        "answer_call": demand.answers_per_second,
        "end_call": demand.attempts_per_second,
        "tick_by_switch": demand.ticks_per_second * demand.ticks_by_switch,
        "tick_by_gateway": demand.ticks_per_second * (1 - demand.ticks_by_switch),
        "live_call": demand.listed_per_second,
        "authorize_message": demand.messages_per_second,
    }


def jobs_of(demand: Demand, costs: Costs, share: float, shards: int, fronts: int) -> list[Job]:
    """What a primary has to do that has a share of all calls.

    Args:
        demand: Of the whole installation.
        costs: As measured.
        share: 0 to 1.
        shards: That this primary has.
        fronts: Front processes, which look after the shards' due calls.
    """
    every = rates(demand)
    jobs = [
        Job(name, every[name] * share, costs.operations[name].store_micros, is_decision=True)
        for name in DECISIONS
        if every[name]
    ]
    # The shards of one front come due together: a turn of its loop is one flush.
    loops = max(1, min(fronts, shards))
    jobs += _batched(
        "tick_by_gateway",
        every["tick_by_gateway"] * share,
        costs.operations["tick_by_gateway"].store_micros,
        loops=loops,
        every_seconds=costs.due_turn_seconds,
        largest=costs.due_entries * shards / loops,
    )
    # A list is taken some calls at a time, which are of all primaries.
    part = min(CALLS_AT_ONCE, demand.calls_per_switch, demand.calls) * share
    jobs += _job("live_call", every["live_call"] * share, costs.operations["live_call"].store_micros, part)
    jobs += _batched(
        "journal",
        demand.entries_per_second * share,
        costs.journal_read_micros,
        loops=max(1, shards // SHARDS_AT_ONCE),
        every_seconds=EVERY_SECONDS,
        largest=A_READ * min(shards, SHARDS_AT_ONCE),
    )
    return jobs


def utilisation(jobs: list[Job]) -> float:
    """The share of the time that all this takes; above 1 it cannot be done."""
    return sum(job.per_second * job.micros for job in jobs) / 1e6


def _batched(
    name: str, per_second: float, micros: float, *, loops: int, every_seconds: float, largest: float
) -> list[Job]:
    return _job(name, per_second, micros, min(per_second * every_seconds / loops, largest))


def _job(name: str, per_second: float, micros: float, size: float) -> list[Job]:
    if not per_second:
        return []
    size = max(1.0, size)
    return [Job(name, per_second / size, micros * size, is_decision=False)]


def shards_at_most(primaries: int) -> int:
    """The shards of the fullest of so many primaries, if they are shared out as evenly as can be."""
    return -(-SHARDS // primaries)
