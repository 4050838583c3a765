"""How long a decision waits behind others at a primary: M/G/1, in closed form."""

import math
from collections.abc import Sequence

from loadtest.scaling.traffic import Job, utilisation


def mean_wait_ms(jobs: Sequence[Job]) -> float:
    """The mean wait before service (Pollaczek and Khinchine); infinite where there is more work than time."""
    busy = utilisation(list(jobs))
    if busy >= 1:
        return math.inf
    return sum(job.per_second * job.micros**2 for job in jobs) / 1e6 / (2 * (1 - busy)) / 1e3


def p99_wait_ms(jobs: Sequence[Job]) -> float:
    """What 99 % of the decisions wait at most.

    The tail of a wait falls off like an exponential with the same mean, from the chance that anybody is before one.
    With batches that is too low where they come seldom, so it is never less than the largest batch that one decision in
    a hundred or more meets.
    """
    busy = utilisation(list(jobs))
    if busy >= 1:
        return math.inf
    mean = mean_wait_ms(jobs)
    tail = mean / busy * math.log(busy / 0.01) if busy > 0.01 else 0.0
    met = [job.micros / 1e3 for job in jobs if job.per_second * job.micros / 1e6 >= 0.01]
    return max(tail, max(met, default=0.0))
