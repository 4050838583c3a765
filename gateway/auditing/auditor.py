"""Goes through an installation once and compares what ledger, outbox and store say, while it runs or while it does not.

What is compared is of one moment. An office and its live calls are read in one transaction of the store, SQL in one
transaction of the database, and the entries of the outbox from the position that SQL had read up to. If a journaler has
moved that position meanwhile, its shard's offices are read again; so they are where something differs, since what is
just being confirmed settles by itself, and a real difference stays. Nothing is written, stopped or locked.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from gateway.auditing.comparison import OfficeView
from gateway.auditing.findings import MOST_KEPT, AuditReport, Check, Difference, Figure
from gateway.auditing.pending import Pending, read_pending
from gateway.domain.rate import Rate, RateError
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Reason
from gateway.ledger.auditing.payments import AuditedPayments
from gateway.ledger.auditing.standings import MOST_OFFICES, AuditedStandings, CreditSums, Standings
from gateway.ledger.auditing.usage import AuditedUsage, UsageRecord
from gateway.ledger.database import Database
from gateway.ledger.errors import OfficeNotFound
from gateway.ledger.outbox import BEGINNING, Outbox, OutboxPosition
from gateway.slices import slices
from gateway.store.connection import StoreConnection
from gateway.store.inspection import (
    LiveCall,
    ShardSight,
    entry_order,
    last_generated,
    look_at,
    stored_offices,
)
from gateway.store.keys import SHARDS, shard_of
from gateway.store.outbox import read_epoch
from gateway.store.records import CallRecord

ATTEMPTS: Final = 20
"""To catch an office between two steps of the journaler, which takes one about every second."""

LOOKS: Final = 50
"""To catch the live calls of some offices while others begin and end."""

CONFIRMATIONS: Final = 3
"""How often a difference must be seen in a row, with a pause in between."""

PAUSE_SECONDS: Final = 0.1

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being compared, how much of it is done, and how much there is."""


async def audit(
    database: Database,
    connection: StoreConnection,
    *,
    office_id: str | None = None,
    progress: Progress = lambda _what, _done, _of: None,
    pause_seconds: float = PAUSE_SECONDS,
) -> AuditReport:
    """Compare ledger, outbox and store to the micro, and change nothing.

    Memory does not grow with the usage records. The store answers reads of its live calls, a shard's at a time.

    Args:
        database: The ledger.
        connection: To the store.
        office_id: Only this office.
        progress: Told how far it is.
        pause_seconds: Between two looks at what changes.

    Returns:
        Every difference, and what was looked at.

    Raises:
        OfficeNotFound: SQL has no such office.
        DatabaseError, StoreUnavailable: It did not answer; nothing is known.
    """
    return await _Audit(database, connection, office_id, progress, pause_seconds).run()


@dataclass(frozen=True, slots=True)
class _Compared:
    """Some offices of a shard, seen from all sides in one moment."""

    differences: Sequence[Difference]
    live_calls: int
    outbox_entries: int
    credits: Mapping[str, CreditSums]


class _Audit:
    def __init__(
        self,
        database: Database,
        connection: StoreConnection,
        office_id: str | None,
        progress: Progress,
        pause_seconds: float,
    ) -> None:
        self._standings = AuditedStandings(database)
        self._usage = AuditedUsage(database)
        self._payments = AuditedPayments(database)
        self._outbox = Outbox(database)
        self._connection = connection
        self._office_id = office_id
        self._progress = progress
        self._pause = pause_seconds
        self._epoch = 0
        self._report = AuditReport()

    async def run(self) -> AuditReport:
        report = self._report
        report.ledger_knows_until = await self._standings.newest_entry_at()
        known = await self._standings.office_ids()
        offices = known if self._office_id is None else [self._office_id]
        if self._office_id is not None and self._office_id not in known:
            raise OfficeNotFound(self._office_id)
        if await self._is_of_this_ledger():
            await self._compare_positions(offices)
            await self._compare_offices(offices)
            if self._office_id is None:
                await self._look_for_strangers(set(known))
        await self._compare_usage(offices)
        await self._compare_payments()
        await self._compare_records(set(known))
        return report

    async def _is_of_this_ledger(self) -> bool:
        """Whether the store may be compared at all: not with one that is no copy of this ledger's last one."""
        self._epoch = await read_epoch(self._connection)
        ledger = await self._outbox.epoch()
        if self._epoch < ledger:
            figures = Figure("the ledger is of epoch", ledger), Figure("the store of", self._epoch)
            self._report.add([Difference(Check.EPOCH, "", "", *figures)])
        return self._epoch >= ledger

    async def _compare_positions(self, offices: Sequence[str]) -> None:
        """What is not ahead of its stream now never was: positions only follow it."""
        positions = await self._outbox.positions()
        for shard in sorted({shard_of(office_id) for office_id in offices} if self._office_id else range(SHARDS)):
            read = entry_order(self._after(positions.get(shard)))
            written = entry_order(await last_generated(self._connection, shard))
            if read > written:
                figures = Figure("the ledger has read up to", read[0]), Figure("the outbox ends at", written[0])
                self._report.add([Difference(Check.POSITION, "", f"shard {shard}", *figures)])

    async def _compare_offices(self, offices: Sequence[str]) -> None:
        by_shard: defaultdict[int, list[str]] = defaultdict(list)
        for office_id in offices:
            by_shard[shard_of(office_id)].append(office_id)
        self._progress("offices", 0, len(offices))
        for shard in sorted(by_shard):
            for some in slices(by_shard[shard], MOST_OFFICES):
                await self._compare_some(shard, some)
                self._report.offices += len(some)
                self._progress("offices", self._report.offices, len(offices))

    async def _compare_some(self, shard: int, offices: Sequence[str]) -> None:
        compared, seen = None, 0
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._pause)
            found = await self._see(shard, offices)
            if found is None:
                continue
            is_same = compared is not None and found.differences == compared.differences
            compared, seen = found, seen + 1 if is_same else 1
            if not compared.differences or seen == CONFIRMATIONS:
                break
        else:
            # Some of its offices may be at rest all the same: one busy one must not hide the others.
            if len(offices) > 1:
                for office_id in offices:
                    await self._compare_some(shard, [office_id])
                return
            self._report.too_busy += offices
            return
        report = self._report
        report.add(compared.differences)
        report.live_calls += compared.live_calls
        report.outbox_entries += compared.outbox_entries
        report.credits_to_come += sum(sums.beyond for sums in compared.credits.values())
        report.credits_to_come_micros += sum(sums.beyond_micros for sums in compared.credits.values())

    async def _see(self, shard: int, offices: Sequence[str]) -> _Compared | None:
        """See some offices from all sides; None: the journaler went on meanwhile, or calls came and went too fast."""
        standings = await self._standings.of(shard, offices)
        sight = await self._look(shard, offices)
        if sight is None:
            return None
        after = self._after(standings.position)
        pending = await read_pending(self._connection, shard, offices, after, sight.last_entry)
        through = {name: sight.offices[name].credit_number if name in sight.offices else 0 for name in offices}
        position, sums = await self._standings.credits(shard, through)
        if position != standings.position:
            return None
        return _compared(standings, sight, pending, sums)

    async def _look(self, shard: int, offices: Collection[str]) -> ShardSight | None:
        expected: Sequence[LiveCall] = []
        for _ in range(LOOKS):
            sight, expected = await look_at(self._connection, shard, offices, expected)
            if sight is not None:
                return sight
        return None

    def _after(self, position: OutboxPosition | None) -> str:
        """Where the ledger reads on; the streams of a store that was built anew have begun again."""
        return BEGINNING if position is None or position.epoch < self._epoch else position.last_id

    async def _look_for_strangers(self, known: Collection[str]) -> None:
        """Offices that the store or a book has, and SQL has not."""
        strangers = set(await self._standings.books_without_office(MOST_KEPT))
        async for some in stored_offices(self._connection):
            strangers.update(name for name in some if name not in known)
        figures = Figure("offices in SQL", 0), Figure("in store or book", 1)
        self._report.add(Difference(Check.OFFICE_UNKNOWN, name, "", *figures) for name in sorted(strangers))

    async def _compare_usage(self, offices: Sequence[str]) -> None:
        done = 0
        for some in slices(offices, MOST_OFFICES):
            for name, sums in (await self._usage.sums(some)).items():
                if sums.cost_micros + sums.refunded_late_micros != -sums.moved_micros:
                    figures = (
                        Figure("usage records cost", sums.cost_micros + sums.refunded_late_micros),
                        Figure("the book was debited", -sums.moved_micros),
                    )
                    self._report.add([Difference(Check.USAGE, name, "", *figures)])
            done += len(some)
            self._progress("usage sums", done, len(offices))

    async def _compare_payments(self) -> None:
        faults = await self._payments.faults(MOST_KEPT, self._office_id)
        self._report.add(
            Difference(
                Check(fault.kind.value),
                fault.office_id,
                fault.subject,
                Figure("expected", fault.expected),
                Figure("found", fault.found),
            )
            for fault in faults
        )

    async def _compare_records(self, known: Collection[str]) -> None:
        last = await self._usage.last_seq()
        versions: set[int] = set()
        strangers: set[str] = set()
        async for batch in self._usage.records(self._office_id):
            for record in batch:
                self._report.add(_faults_of(record))
                versions.add(record.deck_version)
                if record.office_id not in known:
                    strangers.add(record.office_id)
            self._report.usage_records += len(batch)
            self._progress("usage records", batch[-1].seq, last)
        for version in sorted(versions - await self._usage.deck_versions() - {0}):
            figures = Figure("usage refers to deck", version), Figure("decks of this version", 0)
            self._report.add([Difference(Check.DECK_VERSION, "", f"deck {version}", *figures)])
        figures = Figure("offices in SQL", 0), Figure("in the usage", 1)
        self._report.add(Difference(Check.OFFICE_UNKNOWN, name, "", *figures) for name in sorted(strangers))


def _compared(
    standings: Standings, sight: ShardSight, pending: Mapping[str, Pending], sums: Mapping[str, CreditSums]
) -> _Compared:
    calls: defaultdict[str, dict[str, CallRecord | None]] = defaultdict(dict)
    for live, record in sight.calls.items():
        calls[live.office_id][live.call_id] = record
    differences = [
        difference
        for name, standing in standings.offices.items()
        for difference in OfficeView(
            name, standing, pending[name], sums.get(name, CreditSums()), sight.offices.get(name), calls[name]
        ).differences()
    ]
    return _Compared(differences, len(sight.calls), sum(each.entries for each in pending.values()), sums)


def _faults_of(record: UsageRecord) -> Iterable[Difference]:
    """Invariants 6 and 8: what is over costs its price, and what did not take place costs nothing."""
    if record.kind is UsageKind.CALL and record.reason is Reason.FUNDED:
        if record.state is UsageState.CLOSED:
            price, paid = _price(record.rate, record.billed_seconds), record.cost_micros + record.written_off_micros
            if price != paid:
                figures = Figure(f"{record.billed_seconds} s cost", price), Figure("debited and written off", paid)
                yield Difference(Check.PRICE, record.office_id, record.thing_id, *figures)
        return
    is_paid = record.reason is Reason.FUNDED and not record.refunded_micros
    if record.cost_micros and not is_paid:
        what = "refunded" if record.refunded_micros else record.reason.name
        figures = Figure(f"{what}, so it costs", 0), Figure("it was debited", record.cost_micros)
        yield Difference(Check.COSTS_NOTHING, record.office_id, record.thing_id, *figures)


@lru_cache(maxsize=4_096)
def _rate(packed: bytes) -> Rate | None:
    try:
        return Rate.unpack(packed)
    except RateError:
        return None


def _price(packed: bytes, seconds: int) -> int:
    """What a rate as packed in the store makes of so many seconds; one that cannot be read prices nothing."""
    rate = _rate(packed)
    return 0 if rate is None else rate.price_micros(seconds)
