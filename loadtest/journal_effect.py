"""What the journal costs who calls: a Session by a schedule, in turns with the journal and without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.store.connection import StoreConnection
from gateway.store.outbox import read_backlog
from loadtest.books import Books
from loadtest.control import running_controlled
from loadtest.effort import Effort
from loadtest.figures import Figure, Latency, latency_json, percentile, rounded
from loadtest.ledgers import Ledgers, copy_of
from loadtest.processes import running_store
from loadtest.scene import FUNDS_MICROS, bench_settings, running_front, store_access
from loadtest.session_load import office_name, running_load

OPERATIONS_A_CALL: Final = 2
LOOK_EVERY_SECONDS: Final = 0.05
WITH, WITHOUT = "with", "without"


async def measure_effect(ledgers: Ledgers, effort: Effort, books: Books) -> dict[str, Any]:
    """Run the schedule in turns with the journal and without, on a store of its own.

    Raises:
        BenchError: An operation was not answered as it should be, or the books are wrong.
    """
    offices = [office_name(index) for index in range(effort.journal_offices)]
    url = await copy_of(ledgers, "effect")
    async with running_store() as store:
        environment = bench_settings(store, data_dir=str(store.directory), database_url=url).environment()
        async with (
            running_front(store, offices) as front,
            running_load({"gateway": front.address}, len(offices)) as load,
            running_controlled("journal", "loadtest.journal_worker", environment=environment) as worker,
            store_access(store) as (connection, balances),
        ):

            async def schedule() -> Any:
                return await load.ask(
                    "open", target="gateway", per_second=effort.beside_per_second, seconds=effort.beside_seconds
                )

            rounds: dict[str, list[Latency]] = {WITH: [], WITHOUT: []}
            ages: list[float] = []
            await schedule()
            for number in range(effort.beside_rounds):
                for which in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
                    # What a round without has left must not be the work of the round with it.
                    await worker.ask("drain")
                    if which == WITH:
                        await worker.ask("follow")
                        async with _watched(connection, ages):
                            said = await schedule()
                        await worker.ask("rest")
                    else:
                        said = await schedule()
                    rounds[which].append(Latency(**said["authorize_ms"]))
            await worker.ask("drain")
            said = await load.ask("books", target="gateway")
            expected = {office_id: FUNDS_MICROS - said["debited"].get(office_id, 0) for office_id in offices}
            await books.audit_store("journal", expected, balances)
    await asyncio.to_thread(ledgers.drop, "effect")
    return {
        "database": ledgers.name,
        "calls_per_second": effort.beside_per_second / OPERATIONS_A_CALL,
        "rounds": effort.beside_rounds,
        "seconds_a_round": effort.beside_seconds,
        **{f"{which}_journal": latency_json(latencies) for which, latencies in rounds.items()},
        **{f"{name}_ratio": _ratios(rounds, name) for name in ("p50", "p99")},
        "lag_ms": {"p50": rounded(percentile(sorted(ages), 50)), "max": rounded(max(ages))},
    }


@asynccontextmanager
async def _watched(connection: StoreConnection, ages: list[float]) -> AsyncIterator[None]:
    """Look at the age of the oldest entry that the ledger does not have, again and again until the block ends."""

    async def look() -> None:
        while True:
            ages.append(float((await read_backlog(connection)).age_ms))
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _ratios(rounds: dict[str, list[Latency]], name: str) -> dict[str, float]:
    """Round by round, as both were measured one after the other."""
    pairs = zip(rounds[WITH], rounds[WITHOUT], strict=True)
    return Figure.of(getattr(one, name) / getattr(other, name) for one, other in pairs).to_json()
