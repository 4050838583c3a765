"""Simulated: a primary is gone for some seconds. Who waits for it, who gives up, and when is everything as before?

While it is gone nothing is answered. A front gives a command up after its time-out; the switch asks again with the same
id, after a growing pause, until its own patience is over. Calls that should be ticked stay due, and the due loops bring
them, so many of each shard at a time, when the primary is back. What is not answered in time then is done all the same,
and asked again: so a backlog can feed on itself, which is what is to be seen here. It has an end: a front replaces a
connection that owes a reply for four times its time-out, and what still stood in line there is never done.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from loadtest.figures import percentile
from loadtest.scaling.costs import Costs
from loadtest.scaling.traffic import Job

FIRST_PAUSE_SECONDS: Final = 0.05
LAST_PAUSE_SECONDS: Final = 1.0
"""Between these a switch doubles its pause, as the client library does (gateway/client/operations.py)."""

_REPLACED_AFTER: Final = 4
"""Time-outs that a connection may owe a reply (gateway/store/connection.py)."""

_BEFORE_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 6.0
"""So long after the failure a run goes on at most."""

_QUIET_SECONDS: Final = 2.0
"""Nobody asks again and no more is due than in ordinary times for so long: all is as before."""


class Failover(NamedTuple):
    """What came of it.

    Attributes:
        decisions: That were asked for from the failure until all was as before.
        delayed: Of these, those that were answered after they had been asked again.
        failed: Those whose switch gave up: refused, or let through unpaid, as the switch is set.
        timeouts_after: Times that somebody waited in vain although the primary was back.
        p99_after_ms: What 99 % of the tries waited that began when it was back, until all was as before.
        due_after: Calls that were due when it came back.
        recovered_seconds: From its coming back until what was left over is done; None: not in `LONGEST_SECONDS`.
    """

    decisions: int
    delayed: int
    failed: int
    timeouts_after: int
    p99_after_ms: float
    due_after: int
    recovered_seconds: float | None


@dataclass(slots=True)
class _Decision:
    """One that somebody waits for.

    Attributes:
        first_at: When it was first asked for.
        micros: What it takes when it runs for the first time.
        tries: How often it was asked for.
        sent_at: When it was last sent to a primary that was there; below 0: never.
        done_at: When that is done, unless the connection is replaced before.
        has_run: The store did it, in time or not: what is asked again is a repeat.
        is_answered: In time.
        is_given_up: The switch asks no more.
    """

    first_at: float
    micros: float
    tries: int = 0
    sent_at: float = -1.0
    done_at: float = -1.0
    has_run: bool = False
    is_answered: bool = False
    is_given_up: bool = False


def simulate_failover(
    jobs: Sequence[Job],
    costs: Costs,
    *,
    shards: int,
    away_seconds: float,
    patience_seconds: float,
    seed: int,
) -> Failover:
    """Take a primary away, and give it back.

    Args:
        jobs: What comes to it in ordinary times.
        costs: For the time-out, the repeat's cost, and how much the due loops bring at a time.
        shards: That it has.
        away_seconds: From its last answer to the first of what takes its place.
        patience_seconds: How long a switch goes on asking.
        seed: The same gives the same.
    """
    return _Run(jobs, costs, shards, away_seconds, patience_seconds, seed).run()


class _Run:
    def __init__(
        self,
        jobs: Sequence[Job],
        costs: Costs,
        shards: int,
        away_seconds: float,
        patience_seconds: float,
        seed: int,
    ) -> None:
        self._costs = costs
        self._patience = patience_seconds
        self._chance = random.Random(seed)
        self._away, self._back = _BEFORE_SECONDS, _BEFORE_SECONDS + away_seconds
        self._decisions = [job for job in jobs if job.is_decision]
        self._others = [job for job in jobs if not job.is_decision and job.name != "tick_by_gateway"]
        self._tick_micros = costs.operations["tick_by_gateway"].store_micros
        # Ticks come due evenly; what matters here is how many there are to bring.
        ticking = sum(job.per_second * job.micros for job in jobs if job.name == "tick_by_gateway")
        self._due_per_second = ticking / self._tick_micros
        self._most_due = costs.due_entries * shards
        self._due_left, self._counted_until = 0.0, 0.0
        self._free_at, self._replaced_at = 0.0, -2.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._asked: list[_Decision] = []
        self._timeouts_after, self._due_after = 0, 0
        self._waits_after: list[tuple[float, float]] = []
        self._trouble_at = self._back

    def run(self) -> Failover:
        for job in self._decisions:
            self._put(self._chance.expovariate(job.per_second), partial(self._decide, job))
        for job in self._others:
            self._put(self._chance.random() / job.per_second, partial(self._repeat, job))
        self._put(self._chance.random() * self._costs.due_turn_seconds, self._turn)
        at = 0.0
        while at < self._trouble_at + _QUIET_SECONDS and at < self._back + LONGEST_SECONDS:
            at, _, happens = heapq.heappop(self._events)
            happens(at)
        since = [each for each in self._asked if self._away <= each.first_at <= self._trouble_at]
        waits = sorted(wait for began, wait in self._waits_after if began <= self._trouble_at)
        return Failover(
            decisions=len(since),
            delayed=sum(each.is_answered and each.tries > 1 for each in since),
            failed=sum(each.is_given_up for each in since),
            timeouts_after=self._timeouts_after,
            p99_after_ms=percentile(waits, 99) if waits else 0.0,
            due_after=self._due_after,
            recovered_seconds=self._trouble_at - self._back if at < self._back + LONGEST_SECONDS else None,
        )

    def _put(self, at: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), happens))

    def _is_away(self, at: float) -> bool:
        return self._away <= at < self._back

    def _decide(self, job: Job, at: float) -> None:
        self._put(at + self._chance.expovariate(job.per_second), partial(self._decide, job))
        decision = _Decision(at, job.micros)
        self._asked.append(decision)
        self._try(decision, at)

    def _repeat(self, job: Job, at: float) -> None:
        """A part of a list, or a read: one that finds nobody comes again at its next time."""
        self._put(at + 1 / job.per_second, partial(self._repeat, job))
        if not self._is_away(at):
            self._serve(at, job.micros)

    def _try(self, decision: _Decision, at: float) -> None:
        decision.tries += 1
        if not self._is_away(at):
            was_dropped = decision.sent_at <= self._replaced_at < decision.done_at
            decision.has_run = decision.has_run or (decision.sent_at >= 0 and not was_dropped)
            wait = self._serve(at, self._costs.repeated_micros if decision.has_run else decision.micros)
            decision.sent_at, decision.done_at = at, at + wait
            decision.is_answered = wait <= self._costs.timeout_seconds
            if at >= self._back:
                self._waits_after.append((at, 1000 * wait))
                self._timeouts_after += not decision.is_answered
                if decision.tries > 1 or not decision.is_answered:
                    self._trouble_at = max(self._trouble_at, at + wait)
        if not decision.is_answered:
            self._ask_again(decision, at)

    def _ask_again(self, decision: _Decision, at: float) -> None:
        last = decision.first_at + self._patience
        while True:
            pause = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(decision.tries - 1, 10))
            at += self._costs.timeout_seconds + pause * (0.5 + self._chance.random() / 2)
            if at > last:
                decision.is_given_up = True
                return
            if not self._is_away(at):
                self._put(at, partial(self._try, decision))
                return
            decision.tries += 1  # in vain: there is nothing to wait for

    def _serve(self, at: float, micros: float) -> float:
        """Take it in its turn; returns the seconds until it was done."""
        if self._free_at - at > _REPLACED_AFTER * self._costs.timeout_seconds:
            self._free_at = self._replaced_at = at
        self._free_at = max(at, self._free_at) + micros / 1e6
        return self._free_at - at

    def _turn(self, at: float) -> None:
        """One turn of the due loops: they bring what is due, so much at a time, and wait for the answers."""
        self._due_left += (at - self._counted_until) * self._due_per_second
        self._counted_until = at
        rest = self._costs.due_turn_seconds
        if self._is_away(at):
            self._due_after = round(self._due_left + (self._back - at) * self._due_per_second)
            self._put(min(at + rest, self._back), self._turn)
            return
        brought = min(self._most_due, int(self._due_left))
        self._due_left -= brought
        took = self._serve(at, brought * self._tick_micros) if brought else 0.0
        if brought == self._most_due:
            rest = 0.0
        if at >= self._back and self._due_left > self._due_per_second * self._costs.due_turn_seconds:
            self._trouble_at = max(self._trouble_at, at + took)
        self._put(at + took + rest, self._turn)
