"""Simulated: how long decisions wait at a primary whose one thread takes everything in the order in which it comes."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loadtest.figures import percentile
from loadtest.scaling.traffic import Job


class Waits(NamedTuple):
    """What decisions waited before their turn, in milliseconds.

    Attributes:
        decisions: How many there were.
        mean_ms: Over all of them.
        p50_ms: Half of them waited no longer.
        p99_ms: 99 % of them.
        max_ms: The longest.
    """

    decisions: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def simulate_waits(jobs: Sequence[Job], decisions: int, seed: int) -> Waits:
    """Let work arrive at one primary until so many decisions were made.

    Decisions come by chance, each by itself (Poisson); everything else comes every so often, from a moment of chance
    on. The first tenth is left out, in which the queue is still filling. About 1 us a job.

    Args:
        jobs: What comes, how often, and how long it takes.
        decisions: How many to wait for, about.
        seed: The same gives the same.

    Raises:
        ValueError: No decisions come.
    """
    chance = random.Random(seed)
    per_second = sum(job.per_second for job in jobs if job.is_decision)
    if not per_second or decisions < 1:
        raise ValueError("there is nothing to wait for")
    seconds = decisions / per_second
    arrivals = sorted(arrival for job in jobs for arrival in _arrivals(job, seconds, chance))
    free_at, waits = 0.0, []
    for at, takes, is_decision in arrivals:
        starts = max(at, free_at)
        if is_decision and at > seconds / 10:
            waits.append(1000 * (starts - at))
        free_at = starts + takes
    if not waits:
        return Waits(0, 0.0, 0.0, 0.0, 0.0)
    mean = sum(waits) / len(waits)
    waits.sort()
    return Waits(len(waits), mean, percentile(waits, 50), percentile(waits, 99), waits[-1])


def _arrivals(job: Job, seconds: float, chance: random.Random) -> Iterator[tuple[float, float, bool]]:
    """When it comes, how long it takes in seconds, and whether somebody waits for it."""
    takes, gap = job.micros / 1e6, 1 / job.per_second
    at = chance.random() * gap
    while at < seconds:
        yield at, takes, job.is_decision
        at += chance.expovariate(job.per_second) if job.is_decision else gap
