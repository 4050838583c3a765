"""Writes batches of outbox entries: rows and positions commit together, or nothing does.

Of two gateways that have read the same entries the first one writes them; the other finds the position moved and takes
nothing of that shard. So each entry is written exactly once, though it may be read often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.fraud_guard import DEFAULT_POLICY, GuardKind, GuardPolicy
from gateway.ledger import refills
from gateway.ledger.database import Database
from gateway.ledger.journal import books, fraud_guards
from gateway.ledger.journal.books import Gap
from gateway.ledger.journal.called_numbers import CalledNumbers
from gateway.ledger.journal.facts import Entry
from gateway.ledger.journal.usage_rows import UsageRows
from gateway.ledger.models import OutboxPositionRow
from gateway.ledger.outbox import BEGINNING, OutboxPosition
from gateway.ledger.refills import RefillTrigger

__all__ = ["Gap", "Journal", "ShardBatch", "Taken"]


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """Entries of one shard's outbox, in order, all of them behind `after`."""

    after: OutboxPosition
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was written.

    Attributes:
        positions: Of every shard of the batch, as SQL has it now.
        entries: That were written now.
        triggers: Refills that were not known before.
        gaps: Entries that did not follow from the one before.
        tripped: The fraud guards that tripped.
    """

    positions: Mapping[int, OutboxPosition]
    entries: Sequence[Entry]
    triggers: int
    gaps: Sequence[Gap]
    tripped: Sequence[GuardKind] = ()


class Journal:
    """The writer of the ledger's side of the outbox.

    Args:
        database: Of the ledger.
        policy: What the fraud guards of offices without limits of their own allow.
    """

    def __init__(self, database: Database, policy: GuardPolicy = DEFAULT_POLICY) -> None:
        self._database = database
        self._policy = policy
        self._called = CalledNumbers()

    async def take(self, batches: Mapping[int, ShardBatch], *, now_ms: int) -> Taken:
        """Write the entries of some shards and move their positions, in one transaction.

        The caller has made sure that a store which fails over has them, too.

        Raises:
            DatabaseError: It was done or not: read the positions anew.
        """

        async def write(session: AsyncSession) -> Taken:
            rows = await _lock(session, sorted(batches))
            mine = {s: batch for s, batch in batches.items() if _position(rows.get(s), batch.after) == batch.after}
            entries = [entry for batch in mine.values() for entry in batch.entries]
            usage = UsageRows()
            for entry in entries:
                usage.add(entry)
            await usage.write(session, now_ms=now_ms)
            gaps = await books.post(session, entries, now_ms=now_ms) if entries else []
            self._called.learn(entries)
            tripped = await fraud_guards.post(session, entries, self._called, self._policy, now_ms=now_ms)
            self._called.forget(entries)
            raised = [entry.fact for entry in entries if isinstance(entry.fact, RefillTrigger)]
            triggers = await refills.record(session, raised, now_ms=now_ms) if raised else ()
            for shard, batch in mine.items():
                rows[shard] = _advance(session, rows.get(shard), shard, batch)
            positions = {shard: OutboxPosition(row.epoch, row.last_id) for shard, row in rows.items()}
            return Taken(positions, entries, len(triggers), gaps, tripped)

        return await self._database.transact(write)


async def _lock(session: AsyncSession, shards: Sequence[int]) -> dict[int, OutboxPositionRow]:
    query = (
        select(OutboxPositionRow)
        .where(OutboxPositionRow.shard.in_(shards))
        .order_by(OutboxPositionRow.shard)
        .with_for_update()
    )
    return {row.shard: row for row in await session.scalars(query)}


def _position(row: OutboxPositionRow | None, after: OutboxPosition) -> OutboxPosition:
    """Where SQL stands; a shard that was never read stands at the beginning of whichever epoch the store is in.

    So does one whose epoch is older than the store's: a store that was built anew has streams that begin again.
    """
    if row is None or row.epoch < after.epoch:
        return OutboxPosition(after.epoch, BEGINNING)
    return OutboxPosition(row.epoch, row.last_id)


def _advance(session: AsyncSession, row: OutboxPositionRow | None, shard: int, batch: ShardBatch) -> OutboxPositionRow:
    last_id = batch.entries[-1].entry_id
    if row is None:
        row = OutboxPositionRow(shard=shard, epoch=batch.after.epoch, last_id=last_id)
        session.add(row)
    else:
        row.epoch, row.last_id = batch.after.epoch, last_id
    return row
