"""Simulated: a plan put to work. Offices lie where their CRC16 puts them, and work waits for its primary's thread."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from loadtest.scaling.costs import Costs
from loadtest.scaling.failover import Failover, simulate_failover
from loadtest.scaling.offices import primary_shares, shard_shares, spread_of
from loadtest.scaling.plan import Plan
from loadtest.scaling.slots import cut_by_shards, shards_of
from loadtest.scaling.traffic import jobs_of, utilisation
from loadtest.scaling.waiting import Waits, simulate_waits

DECISIONS: Final = 40_000
"""That are made at a primary whose waits are simulated: 400 of them are longer than the p99."""


class Settings(NamedTuple):
    """What a simulation is played with.

    Attributes:
        seed: The same gives the same.
        away_seconds: How long a primary is gone.
        patience_seconds: How long a switch goes on asking.
        decisions: How many are simulated at the busiest primary.
    """

    seed: int = 1
    away_seconds: float = 5.0
    patience_seconds: float = 5.0
    decisions: int = DECISIONS


class Played(NamedTuple):
    """What came of it.

    Attributes:
        primaries: How many there are.
        utilisations: Of each primary, the busiest first; above 1 it falls behind for ever.
        skew: The busiest over the mean.
        largest: The share of the largest office.
        waits: At the busiest primary; None: it falls behind for ever.
        failover: Of the busiest primary; None likewise, or not played.
    """

    primaries: int
    utilisations: tuple[float, ...]
    skew: float
    largest: float
    waits: Waits | None
    failover: Failover | None

    @property
    def busiest(self) -> float:
        """The utilisation of the busiest primary."""
        return self.utilisations[0]


def play(
    plan: Plan,
    costs: Costs,
    settings: Settings,
    *,
    primaries: int | None = None,
    placed: Sequence[int] | None = None,
    hot_share: float = 0,
    fails: bool = True,
) -> Played:
    """Put a plan to work.

    Args:
        plan: Its demand is what comes.
        costs: As measured.
        settings: Seed and times.
        primaries: Instead of the plan's.
        placed: Shard -> primary, instead of slots cut so that shards are shared out as evenly as can be.
        hot_share: The share of all calls that one office has, if it is more than its rank gives it.
        fails: Whether the busiest primary fails as well.
    """
    demand, count = plan.demand, primaries or plan.primaries
    placed = cut_by_shards(count) if placed is None else placed
    shards = shards_of(placed, count)
    shares = primary_shares(shard_shares(demand.offices, demand.zipf, hot_share), placed, count)
    work = [jobs_of(demand, costs, share, held, plan.fronts) for share, held in zip(shares, shards, strict=True)]
    busy = [utilisation(jobs) for jobs in work]
    heaviest = max(range(count), key=lambda index: busy[index])
    waits = failover = None
    if busy[heaviest] < 1:
        waits = simulate_waits(work[heaviest], settings.decisions, settings.seed)
        if fails:
            failover = simulate_failover(
                work[heaviest],
                costs,
                shards=shards[heaviest],
                away_seconds=settings.away_seconds,
                patience_seconds=settings.patience_seconds,
                seed=settings.seed,
            )
    return Played(
        primaries=count,
        utilisations=tuple(sorted(busy, reverse=True)),
        skew=busy[heaviest] / (sum(busy) / count),
        largest=spread_of(demand.offices, demand.zipf, hot_share).largest,
        waits=waits,
        failover=failover,
    )
