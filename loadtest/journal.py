"""Measure 9: the journal. How fast it takes full outboxes into each database, and what it costs who calls meanwhile."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from sqlalchemy import func, select

from gateway.domain.month import Month
from gateway.ledger.database import Database, open_database
from gateway.ledger.models import OfficeBookRow, UsageRow
from gateway.ledger.usage import Usage
from loadtest.books import Books
from loadtest.control import running_controlled
from loadtest.effort import Effort
from loadtest.figures import Figure, rounded
from loadtest.journal_effect import measure_effect
from loadtest.ledgers import Ledgers, SqliteLedgers, copy_of, running_ledgers
from loadtest.outbox_mix import OutboxMix
from loadtest.pipeline import Pipeline
from loadtest.processes import BenchError, BenchStore
from loadtest.scene import bench_settings
from loadtest.session_load import office_name

_SUMMARIES: Final = 50
"""Offices whose month is summed up, one after the other."""


async def measure_journal(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Drain the same outboxes into each database, round by round in turn; then call with the journal and without.

    Raises:
        BenchError: The ledger has not what the store has, or an operation was not answered as it should be.
    """
    with tempfile.TemporaryDirectory(prefix="tollgate-ledgers-") as name, running_ledgers(Path(name)) as kinds:
        return {
            "drain": await _measure_drain(store, kinds, effort, books),
            "effect": [await measure_effect(ledgers, effort, books) for ledgers in kinds],
        }


class _Drain:
    """What was measured of one kind of database."""

    def __init__(self, ledgers: Ledgers) -> None:
        self.ledgers = ledgers
        self.rates: list[float] = []
        self.seconds: list[float] = []
        self.journal_micros: list[float] = []
        self.sql_micros: list[float] = []
        self.summary_ms: list[float] = []
        self.bytes_a_record: list[float] = []

    async def round(self, number: int, store: BenchStore, mix: OutboxMix) -> None:
        """Journal the whole mix into a fresh database, and hold that against the store.

        Raises:
            BenchError: Something is left, or the ledger has not what the store has.
        """
        name = f"drain_{number}"
        url = await copy_of(self.ledgers, name)
        environment = bench_settings(store, data_dir=str(store.directory), database_url=url).environment()
        async with running_controlled("journal", "loadtest.journal_worker", environment=environment) as worker:
            await asyncio.to_thread(mix.put, mix.opening)
            await worker.ask("drain")
            await asyncio.to_thread(mix.put, mix.filled)
            server = self.ledgers.server_cpu_seconds()
            said = await worker.ask("drain")
            server = self.ledgers.server_cpu_seconds() - server
        left = await asyncio.to_thread(mix.left)
        if left:
            raise BenchError(f"the journal left {left} entries")
        self.seconds.append(said["seconds"])
        self.rates.append(mix.entries / said["seconds"])
        self.journal_micros.append(1e6 * said["journal_seconds"] / mix.entries)
        self.sql_micros.append(1e6 * (said["sqlite_seconds"] + server) / mix.entries)
        database = await open_database(url)
        try:
            await _check(database, mix)
            self.summary_ms.append(await _summary_ms(database, mix))
        finally:
            await database.close()
        if isinstance(self.ledgers, SqliteLedgers):
            grown = self.ledgers.path(name).stat().st_size - self.ledgers.path("template").stat().st_size
            self.bytes_a_record.append(grown / mix.records)
        await asyncio.to_thread(self.ledgers.drop, name)

    def to_json(self) -> dict[str, Any]:
        return {
            "database": self.ledgers.name,
            "entries_per_second": Figure.of(self.rates).to_json(),
            "seconds": Figure.of(self.seconds).to_json(),
            "journal_cpu_micros": Figure.of(self.journal_micros).to_json(),
            "sql_cpu_micros": Figure.of(self.sql_micros).to_json(),
            "summary_ms": Figure.of(self.summary_ms).to_json(),
            "bytes_a_record": Figure.of(self.bytes_a_record).to_json() if self.bytes_a_record else None,
        }


async def _measure_drain(store: BenchStore, kinds: Sequence[Ledgers], effort: Effort, books: Books) -> dict[str, Any]:
    pipeline = Pipeline(store.socket_path, store.pid)
    try:
        mix = await asyncio.to_thread(OutboxMix, pipeline, effort.journal_offices, effort.journal_waves)
        books.audit("journal", mix.expected, mix.found())
        # The effect is measured on the same databases, where the Session's load has its own names for offices.
        names = [office.office_id for office in mix.offices] + [office_name(n) for n in range(effort.journal_offices)]
        for ledgers in kinds:
            await ledgers.prepare(names, now_ms=pipeline.now_ms())
        drains = [_Drain(ledgers) for ledgers in kinds]
        for number in range(effort.journal_rounds):
            for drain in drains if number % 2 else reversed(drains):
                await drain.round(number, store, mix)
    finally:
        pipeline.close()
    return {
        "rounds": effort.journal_rounds,
        "offices": len(mix.offices),
        "entries": mix.entries,
        "records": mix.records,
        "entries_a_record": rounded(mix.entries / mix.records),
        "records_a_summary": mix.records // len(mix.offices),
        "databases": [drain.to_json() for drain in drains],
    }


async def _check(database: Database, mix: OutboxMix) -> None:
    """Hold the ledger against what was done: the books of the offices, and the usage records beside them.

    Raises:
        BenchError: They differ.
    """
    async with database.read() as session:
        rows = await session.execute(select(OfficeBookRow.office_id, OfficeBookRow.balance_micros, OfficeBookRow.gaps))
        booked = {office_id: (balance, gaps) for office_id, balance, gaps in rows}
        count, cost = (await session.execute(select(func.count(), func.sum(UsageRow.cost_micros)))).one()
    wrong = {name: booked.get(name) for name, balance in mix.expected.items() if booked.get(name) != (balance, 0)}
    if wrong:
        raise BenchError(f"the ledger's books are wrong, {len(wrong)} of them: {min(wrong.items())}")
    if (count, int(cost)) != (mix.records, mix.cost_micros * len(mix.offices)):
        raise BenchError(f"the ledger has {count} records of {cost} micros in all, not {mix.records}")


async def _summary_ms(database: Database, mix: OutboxMix) -> float:
    """The median time that the summary of an office's month takes, whatever month that is."""
    usage, month = Usage(database), Month("", "UTC", 0, 1 << 62)
    took = []
    for office in mix.offices[:_SUMMARIES]:
        started = perf_counter()
        totals = await usage.summary(office.office_id, month)
        took.append(perf_counter() - started)
        counted = sum(total.count + total.blocked for total in totals)
        if counted != mix.records // len(mix.offices):
            raise BenchError(f"the summary of {office.office_id} has {counted} records")
    return 1000 * Figure.of(took).median
