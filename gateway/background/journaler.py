"""The journaler: takes what moved money out of the outboxes of the store and into the ledger.

Read, made sure of, committed, trimmed, in this order. The ledger never knows more than a store that was failed over
would, and nothing leaves an outbox that is not in the ledger. A database that is away stops nothing but this loop: the
outboxes hold what it has not taken.
"""

import asyncio
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from gateway import metrics
from gateway.background.journal_facts import entry_of
from gateway.errors import FailedPrecondition
from gateway.ledger.journal import (
    CallMoved,
    Entry,
    Journal,
    LateRefund,
    MessageRefunded,
    MessageSent,
    ShardBatch,
    Taken,
)
from gateway.ledger.outbox import BEGINNING, Outbox, OutboxPosition
from gateway.ledger.refills import RefillTrigger
from gateway.news import News
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.durability import Durability
from gateway.store.keys import SHARDS
from gateway.store.outbox import OutboxEntry, claim_epoch, read_epoch, read_outboxes, stored_ms

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 0.2
A_READ: Final = 500
"""Entries of one shard read at a time."""

A_TURN: Final = 20_000
"""Entries of all shards read in one turn, about, before they are made sure of: that costs up to a second each time."""

A_TRANSACTION: Final = 2_000
"""Entries committed at a time, about: other writers of the ledger wait so long."""


class EpochLost(FailedPrecondition):
    """The store is older than the ledger: it was built anew since, and this is the one from before."""

    reason = "STORE_EPOCH_LOST"

    def __init__(self, store: int, ledger: int) -> None:
        super().__init__(
            f"The store is of epoch {store}, and the ledger has read epoch {ledger}: this store is a copy from before "
            "it was rebuilt. Point TOLLGATE_REDIS_URL at the rebuilt one, or rebuild this one."
        )


async def see_epoch(connection: StoreConnection, outbox: Outbox) -> int:
    """The epoch of the store, which gets the ledger's where it has none.

    Raises:
        EpochLost: It is older than the ledger's.
        StoreUnavailable, DatabaseError: It cannot be told now.
    """
    ledger = await outbox.epoch()
    store = await claim_epoch(connection, ledger)
    if store < ledger:
        raise EpochLost(store, ledger)
    return store


class Journaler:
    """Reads the outboxes of all shards.

    Args:
        connection: To read them.
        store: To trim them.
        durability: Says when what was read can be lost no more.
        journal: Writes it into the ledger.
        outbox: The positions.
        tell: Called with what others have been given to do.
        clock: Of the store.

    Attributes:
        shards: Those whose outboxes this process takes; all, unless others share them.
    """

    def __init__(
        self,
        connection: StoreConnection,
        store: BalanceStore,
        durability: Durability,
        journal: Journal,
        outbox: Outbox,
        tell: Callable[[News], None],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._store = store
        self._durability = durability
        self._journal = journal
        self._outbox = outbox
        self._tell = tell
        self._clock = clock
        self._epoch = 0
        self._positions: dict[int, OutboxPosition] = {}
        self.shards: Callable[[], Iterable[int]] = lambda: range(SHARDS)

    async def turn(self) -> bool:
        """Take what is new in every shard; True if there is more.

        Raises:
            StoreUnavailable: Nothing more was taken.
            DatabaseError: What was read comes again.
            EpochLost: The store is one from before the last rebuild.
        """
        servers = self._durability.servers()
        await self._begin()
        read, more = await self._read()
        if not read:
            return False
        # The wait, of up to a second, costs nothing: meanwhile what was read is translated.
        safe_before, facts = await asyncio.gather(self._durability.settle(servers), _translated(read))
        if safe_before is not None:
            facts = {
                shard: [e for e in entries if stored_ms(e.entry_id) < safe_before] for shard, entries in facts.items()
            }
        for part in _parts({shard: ShardBatch(self._positions[shard], entries) for shard, entries in facts.items()}):
            await self._take(part)
        return more

    async def close(self) -> None:
        """Close the connections by which it makes sure."""
        await self._durability.close()

    async def _begin(self) -> None:
        """Find out where to read on: at the start, and whenever the store has begun another epoch."""
        epoch = await read_epoch(self._connection)
        if epoch and epoch == self._epoch:
            return
        epoch = await see_epoch(self._connection, self._outbox)
        known = await self._outbox.positions()
        at_the_beginning = OutboxPosition(epoch, BEGINNING)
        positions = {shard: known.get(shard, at_the_beginning) for shard in range(SHARDS)}
        self._positions = {s: p if p.epoch == epoch else at_the_beginning for s, p in positions.items()}
        self._epoch = epoch

    async def _read(self) -> tuple[dict[int, list[OutboxEntry]], bool]:
        """Read from every shard, up to a turn's worth of all; True if more is left."""
        read: dict[int, list[OutboxEntry]] = {}
        positions = {shard: self._positions[shard].last_id for shard in self.shards()}
        while positions and sum(map(len, read.values())) < A_TURN:
            found = await read_outboxes(self._connection, positions, A_READ)
            for shard, entries in found.items():
                read.setdefault(shard, []).extend(entries)
            positions = {shard: entries[-1].entry_id for shard, entries in found.items() if len(entries) == A_READ}
        return read, bool(positions)

    async def _take(self, batches: dict[int, ShardBatch]) -> None:
        taken = await self._journal.take(batches, now_ms=self._clock.now_ms())
        self._positions.update(taken.positions)
        _count(taken)
        if taken.tripped:
            self._tell(News.GUARDS_TRIPPED)
        await asyncio.gather(*(self._store.trim_outbox(shard, taken.positions[shard].last_id) for shard in batches))
        if any(isinstance(entry.fact, RefillTrigger) for entry in taken.entries):
            self._tell(News.REFILLS_RECORDED)


async def _translated(read: Mapping[int, Sequence[OutboxEntry]]) -> dict[int, list[Entry]]:
    """What the ledger is told of each shard, up to the first entry that is not understood."""
    translated = {}
    for shard, entries in read.items():
        translated[shard] = _facts(shard, entries)
        await asyncio.sleep(0)  # Some ten milliseconds a shard: the leases are to be kept meanwhile.
    return translated


def _facts(shard: int, entries: Sequence[OutboxEntry]) -> list[Entry]:
    """An entry that is not understood stops its shard, and no other."""
    facts = []
    for entry in entries:
        try:
            facts.append(entry_of(entry))
        except (LookupError, ValueError, struct.error, DecodeError):
            log.exception(
                "outbox_entry_not_understood", shard=shard, entry_id=entry.entry_id, kind=entry.fields.get(b"kind"),
                cure="run the version of Tollgate that wrote it; nothing is lost meanwhile",
            )  # fmt: skip
            break
    return facts


def _parts(read: Mapping[int, ShardBatch]) -> list[dict[int, ShardBatch]]:
    """Cut what was read into transactions; the entries of a shard stay in order.

    A piece says itself what it follows. Where SQL stands when its turn comes is no answer: another gateway may have
    taken more than the piece before it, or less.
    """
    parts: list[dict[int, ShardBatch]] = []
    room = 0
    for shard, batch in read.items():
        after, start = batch.after, 0
        while start < len(batch.entries):
            if not room:
                parts.append({})
                room = A_TRANSACTION
            piece = batch.entries[start : start + room]
            parts[-1][shard] = ShardBatch(after, piece)
            after = OutboxPosition(after.epoch, piece[-1].entry_id)
            start += len(piece)
            room -= len(piece)
    return parts


def _count(taken: Taken) -> None:
    for gap in taken.gaps:
        metrics.BOOK_GAPS.inc()
        log.error(
            "book_gap", office_id=gap.office_id, entry_id=gap.entry_id, missing_micros=gap.missing_micros,
            cure="run tollgate audit",
        )  # fmt: skip
    for kind in taken.tripped:
        metrics.FRAUD_GUARD_TRIPS.labels(kind.value).inc()
    metrics.REFILL_TRIGGERS.inc(taken.triggers)
    metrics.JOURNALED.inc(len(taken.entries))  # None, where another gateway was faster.
    late = sum(isinstance(entry.fact, LateRefund) for entry in taken.entries)
    if late:
        log.info("late_refunds_looked_up", count=late)
    debited = refunded = written_off = 0
    for entry in taken.entries:
        if isinstance(entry.fact, CallMoved | MessageSent | MessageRefunded):
            debited += max(0, -entry.amount_micros)
            refunded += max(0, entry.amount_micros)
        if isinstance(entry.fact, CallMoved) and entry.fact.ended is not None:
            written_off += entry.fact.ended.written_off_micros
    metrics.DEBITED.inc(debited)
    metrics.REFUNDED.inc(refunded)
    metrics.WRITTEN_OFF.inc(written_off)
