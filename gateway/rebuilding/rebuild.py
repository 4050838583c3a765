"""Restores a store from the ledger after its total loss, so that a crash at any point leaves something to go on with.

In this order: the new epoch in SQL, so that the lost store, should it come back, is refused; the mark in the store that
it is being rebuilt, on which no gateway starts; the new epoch in the store; then office by office, each after its calls
and messages, so that an office that is there is whole; and the mark taken away. Broken off before the mark, a rebuild
begins anew; after it, the next one goes on with the offices that are missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.domain.calendar import day_begins_ms, day_number
from gateway.ledger.auditing.standings import AuditedStandings
from gateway.ledger.database import Database
from gateway.ledger.outbox import Outbox
from gateway.ledger.rebuilding import OfficeToRestore, Rebuilding
from gateway.rebuilding.values import office_value, usage_value
from gateway.store.balances import BalanceStore, Lifetimes
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, office_keys
from gateway.store.restoration import StoreInUse, StoreRestoration

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(slots=True)
class RebuildReport:
    """What was restored.

    Attributes:
        epoch: That the store has now.
        went_on: It was a rebuild that had been broken off; its first part is not counted here.
        offices: That were restored.
        balance_micros: Theirs, in all.
        open_calls: That can be revived or ended.
        ended_calls: That are known again, so that a repeated end is not an unknown one.
        messages: That are known again, so that a repeated one is not debited again.
        ledger_knows_until: The newest that the ledger knew, in Unix milliseconds: what came later and was lost never
            happened. 0: it knew nothing.
    """

    epoch: int
    went_on: bool
    offices: int = 0
    balance_micros: int = 0
    open_calls: int = 0
    ended_calls: int = 0
    messages: int = 0
    ledger_knows_until: int = 0


async def rebuild(
    database: Database,
    connection: StoreConnection,
    clock: Clock,
    lifetimes: Lifetimes,
    *,
    progress: Progress = lambda _what, _done, _of: None,
) -> RebuildReport:
    """Restore every office, unfinished call and remembered id from the ledger into an empty store.

    Tokens and deck are the ordinary start's.

    Args:
        database: The ledger; its epoch is counted up, and its books are set to what is restored.
        connection: To the store.
        clock: The store's.
        lifetimes: The gateway's settings.
        progress: Told how far it is.

    Raises:
        StoreInUse: The store is not empty, or a gateway runs on it; nothing was changed.
        RebuiltMeanwhile: Another rebuild was faster; nothing was changed.
        DatabaseError, StoreUnavailable: It was broken off; run it again.
    """
    return await _Rebuild(database, connection, clock, lifetimes, progress).run()


class _Rebuild:
    def __init__(
        self,
        database: Database,
        connection: StoreConnection,
        clock: Clock,
        lifetimes: Lifetimes,
        progress: Progress,
    ) -> None:
        self._ledger = Rebuilding(database)
        self._standings = AuditedStandings(database)
        self._outbox = Outbox(database)
        self._connection = connection
        self._clock = clock
        self._restoration = StoreRestoration(connection, clock)
        self._store = BalanceStore(connection, clock, lifetimes)
        self._lifetimes = lifetimes
        self._progress = progress

    async def run(self) -> RebuildReport:
        report = await self._begin()
        report.ledger_knows_until = await self._standings.newest_entry_at()
        total, done, after = await self._ledger.count_offices(), 0, ""
        self._progress("offices", 0, total)
        while office_ids := await self._ledger.office_ids(after):
            missing = await self._missing(office_ids)
            if missing:
                await self._restore(missing, report)
            after, done = office_ids[-1], done + len(office_ids)
            self._progress("offices", done, total)
        await self._restoration.finish()
        return report

    async def _begin(self) -> RebuildReport:
        state = await self._restoration.state()
        ledger = await self._outbox.epoch()
        if state.begun:
            if state.begun != ledger:
                raise StoreInUse(
                    f"The rebuild of this store, to epoch {state.begun}, was broken off, and since then another store "
                    f"was rebuilt, to epoch {ledger}: empty this one by FLUSHALL, and try again."
                )
            epoch = state.begun
        elif state.epoch > ledger:
            raise StoreInUse(
                f"This store is of epoch {state.epoch} and the ledger of {ledger}: it belongs to a newer ledger. "
                "Correct TOLLGATE_DATABASE_URL or TOLLGATE_REDIS_URL."
            )
        else:
            epoch = ledger + 1
            await self._ledger.begin_epoch(epoch, SHARDS, now_ms=self._clock.now_ms())
        await self._restoration.begin(epoch)
        return RebuildReport(epoch, went_on=bool(state.begun))

    async def _missing(self, office_ids: Sequence[str]) -> list[str]:
        found = await self._connection.ask_all([("EXISTS", office_keys(name).office) for name in office_ids])
        return [name for name, there in zip(office_ids, found, strict=True) if not there]

    async def _restore(self, office_ids: Sequence[str], report: RebuildReport) -> None:
        offices = {
            each.office.office_id: each for each in await self._ledger.settle(office_ids, now_ms=self._clock.now_ms())
        }
        await self._restore_usage(offices, report)
        for restored in offices.values():
            packed = await self._office_value(restored)
            if await self._store.restore_office(restored.office.office_id, packed):
                report.offices += 1
                report.balance_micros += restored.balance_micros

    async def _restore_usage(self, offices: Mapping[str, OfficeToRestore], report: RebuildReport) -> None:
        now_ms, times = self._clock.now_ms(), self._lifetimes
        pages = self._ledger.usage(offices, now_ms=now_ms, stub_ms=times.stub_ms, lapsed_ms=times.lapsed_ms)
        async for page in pages:
            values = []
            for record in page:
                zone = offices[record.office_id].office.settings.time_zone
                values.append(usage_value(record, now_ms=now_ms, time_zone=zone, lifetimes=times))
                report.open_calls += record.is_open_call
                report.ended_calls += record.is_ended_call
                report.messages += record.is_message
            await self._restoration.put(values)

    async def _office_value(self, restored: OfficeToRestore) -> bytes:
        office, now_ms = restored.office, self._clock.now_ms()
        zone = office.settings.time_zone
        today, spent = day_number(now_ms, zone), 0
        if office.settings.daily_spend_limit_micros:
            spent = await self._ledger.spent_since(office.office_id, day_begins_ms(now_ms, zone))
        return office_value(restored, day=today, spent_micros=spent)
