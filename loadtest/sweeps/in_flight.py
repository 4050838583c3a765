"""The sweep of operations in flight: the benchmark's own measures of unary rpcs and of the Session, at more levels."""

from typing import Any

from loadtest.books import Books
from loadtest.processes import running_store
from loadtest.session import measure_session
from loadtest.sweeps.effort import SweepEffort
from loadtest.unary import measure_unary


async def sweep_in_flight(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """Closed loops, each beside an empty handler, the Session also beside its scripts raw.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    async with running_store() as store:
        unary = await measure_unary(store, effort.in_flight, books)
    async with running_store() as store:
        session = await measure_session(store, effort.in_flight, books)
    return {"unary": unary, "session": session}
