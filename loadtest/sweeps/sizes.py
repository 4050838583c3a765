"""The sweeps of offices and of live calls, and the largest of both held against a small one."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from loadtest.books import Books
from loadtest.sweeps.crowd import Crowd, measure_crowd, ratios, running_crowd
from loadtest.sweeps.effort import SweepEffort
from loadtest.sweeps.room import disk_needed, memory_needed, why_not


async def sweep_offices(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """A Session at any of so many offices, in which the same number of calls is live.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    return await _sweep(
        "offices", [(size, size, effort.calls_beside_offices) for size in effort.offices], effort, books
    )


async def sweep_live_calls(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """A Session beside so many live calls of the same number of offices.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    return await _sweep(
        "live_calls", [(size, effort.offices_of_calls, size) for size in effort.live_calls], effort, books
    )


async def _sweep(
    name: str, points: Sequence[tuple[int, int, int]], effort: SweepEffort, books: Books
) -> dict[str, Any]:
    taken, left_out = [], []
    for size, offices, live_calls in points:
        reason = why_not(memory_needed(offices, live_calls), disk_needed(offices, live_calls))
        if reason:
            left_out.append({"size": size, "why": reason})
            continue
        taken.append({"size": size, **await measure_crowd(name, offices, live_calls, effort, books)})
    return {**_how(effort), "points": taken, "left_out": left_out}


async def compare_sizes(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """Many offices with many live calls and few of each, both running at once and measured in turns.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    small, large = effort.small, effort.large
    reason = why_not(
        memory_needed(large, large) + memory_needed(small, small), disk_needed(large, large) + disk_needed(small, small)
    )
    if reason:
        return {"left_out": [{"size": large, "why": reason}]}
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(running_crowd(size, size, effort)) for size in (small, large)]
        for crowd in crowds:
            await crowd.warm_up(effort)
        for number in range(effort.rounds):
            for crowd in crowds if number % 2 else reversed(crowds):
                await crowd.measure(number, effort)
        points = [crowd.to_json() for crowd in crowds]
        few, many = (crowd.rounds["gateway"] for crowd in crowds)
        compared = {
            "p50_ratio": ratios([each.p50 for each in many.authorize], [each.p50 for each in few.authorize]),
            "p99_ratio": ratios([each.p99 for each in many.authorize], [each.p99 for each in few.authorize]),
            "known_p50_ratio": ratios([each.p50 for each in many.known], [each.p50 for each in few.known]),
            "known_p99_ratio": ratios([each.p99 for each in many.known], [each.p99 for each in few.known]),
            "rate_ratio": ratios(many.rates, few.rates),
        }
        for crowd in crowds:
            await crowd.end_and_audit("compare_sizes", books)
    return {**_how(effort), "points": points, "left_out": [], **compared}


def _how(effort: SweepEffort) -> dict[str, Any]:
    return {"rounds": effort.rounds, "seconds_a_round": effort.seconds, "per_second": effort.per_second}


Sweep = Callable[[SweepEffort, Books], Awaitable[dict[str, Any]]]

__all__ = ["Crowd", "Sweep", "compare_sizes", "sweep_live_calls", "sweep_offices"]
