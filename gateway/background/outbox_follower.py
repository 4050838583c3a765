"""The outbox follower: makes refill triggers durable, counts what moved, and bounds the outboxes.

The journal that will take every entry into the ledger does not exist yet; until it does, what was read here is not
taken, and only the length of an outbox is bounded. It reads on from SQL's positions, which are committed together with
the triggers; other entries only move them now and then, since reading an entry twice does no harm.
"""

import asyncio
from typing import Final

from gateway import metrics
from gateway.feeds.refills import RefillFeed
from gateway.ledger.outbox import Outbox, OutboxPosition
from gateway.ledger.refills import Refills, RefillTrigger
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS
from gateway.store.outbox import BEGINNING, OutboxEntry, read_outboxes

EVERY_SECONDS: Final = 0.2
A_TURN: Final = 500
"""Entries of one shard read in one turn."""

EPOCH: Final = 1
"""Of all outboxes, until a rebuild begins another."""

SAVE_EVERY_MS: Final = 5_000
TRIM_EVERY_MS: Final = 2_000
NOTHING_TAKEN: Final = "0-0"

_DEBITING: Final = frozenset({"tick", "end", "lapse", "revive", "message"})


class OutboxFollower:
    """Reads the outboxes of all shards.

    Args:
        connection: To read them.
        store: To trim them.
        refills: Where triggers are recorded.
        outbox: Where the positions are.
        feed: Told when triggers were recorded.
        clock: Paces saving and trimming.
        longest: Entries kept in each outbox.
    """

    def __init__(
        self,
        connection: StoreConnection,
        store: BalanceStore,
        refills: Refills,
        outbox: Outbox,
        feed: RefillFeed,
        clock: Clock,
        *,
        longest: int,
    ) -> None:
        self._connection = connection
        self._store = store
        self._refills = refills
        self._outbox = outbox
        self._feed = feed
        self._clock = clock
        self._longest = longest
        self._positions: dict[int, str] | None = None
        self._unsaved: dict[int, str] = {}
        self._saved_ms = 0
        self._trimmed_ms = 0

    async def turn(self) -> bool:
        """Read what is new in every shard; True if there is more.

        Raises:
            StoreUnavailable: Nothing was read.
            DatabaseError: Triggers could not be recorded: what was read comes again.
        """
        positions = await self._read_positions()
        batches = await read_outboxes(self._connection, positions, A_TURN)
        moved = {shard: entries[-1].entry_id for shard, entries in batches.items()}
        entries = [entry for batch in batches.values() for entry in batch]
        triggers = [_trigger(entry) for entry in entries if entry.kind == "refill"]
        await self._save(moved, triggers)
        positions.update(moved)
        for entry in entries:
            _count(entry)
        await self._trim()
        if triggers:
            await self._feed.advance()
        return any(len(batch) == A_TURN for batch in batches.values())

    async def save(self) -> None:
        """Commit the positions, before the process ends.

        Raises:
            DatabaseError: They stay where they were; what was read since is read again.
        """
        if self._unsaved:
            await self._record(self._unsaved, ())

    async def _read_positions(self) -> dict[int, str]:
        if self._positions is None:
            known = await self._outbox.positions()
            self._positions = {shard: known[shard].last_id if shard in known else BEGINNING for shard in range(SHARDS)}
        return self._positions

    async def _save(self, moved: dict[int, str], triggers: list[RefillTrigger]) -> None:
        now_ms = self._clock.now_ms()
        unsaved = self._unsaved | moved
        if triggers or (unsaved and now_ms - self._saved_ms >= SAVE_EVERY_MS):
            metrics.REFILL_TRIGGERS.inc(await self._record(unsaved, triggers))
            self._saved_ms = now_ms
        else:
            self._unsaved = unsaved

    async def _record(self, positions: dict[int, str], triggers: "list[RefillTrigger] | tuple[()]") -> int:
        at = {shard: OutboxPosition(EPOCH, last_id) for shard, last_id in positions.items()}
        recorded = await self._refills.record_read(at, triggers, now_ms=self._clock.now_ms())
        self._unsaved = {}
        return len(recorded)

    async def _trim(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._trimmed_ms < TRIM_EVERY_MS:
            return
        trimmed = await asyncio.gather(
            *(self._store.trim_outbox(shard, NOTHING_TAKEN, self._longest) for shard in range(SHARDS))
        )
        metrics.OUTBOX_ENTRIES.set(sum(left for left, _ in trimmed))
        metrics.OUTBOX_DROPPED.inc(sum(dropped for _, dropped in trimmed))
        self._trimmed_ms = now_ms


def _trigger(entry: OutboxEntry) -> RefillTrigger:
    return RefillTrigger(
        refill_id=entry.thing_id,
        office_id=entry.office_id,
        amount_micros=entry.number(b"refill_amount"),
        threshold_micros=entry.number(b"threshold"),
        available_micros=entry.number(b"available"),
        raised_at=entry.at_ms,
    )


def _count(entry: OutboxEntry) -> None:
    if entry.kind in _DEBITING and entry.amount_micros < 0:
        metrics.DEBITED.inc(-entry.amount_micros)
    elif entry.kind in ("end", "message_refund"):
        metrics.REFUNDED.inc(entry.amount_micros)
    if entry.kind == "end":
        metrics.WRITTEN_OFF.inc(entry.number(b"written_off"))
