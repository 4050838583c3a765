"""The outbox gauge: how much the ledger does not have yet, and how old it is, whether the journal works or not."""

from typing import Final

import structlog

from gateway import metrics
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, outbox_key

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
HIGH_WATER: Final = 500_000
"""Entries from which on it is an error in the log: some 200 MB of the store, hours of a busy installation."""


class OutboxGauge:
    """Looks at the length of every outbox and at its oldest entry."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._above_high_water = False

    async def turn(self) -> bool:
        """Look once.

        Raises:
            StoreUnavailable: The store did not answer.
        """
        lengths = await self._connection.ask_all(("XLEN", outbox_key(shard)) for shard in range(SHARDS))
        filled = [shard for shard in range(SHARDS) if lengths[shard]]
        oldest = await self._connection.ask_all(("XRANGE", outbox_key(shard), "-", "+", "COUNT", 1) for shard in filled)
        # By the store's own clock, as the ids are.
        seconds, microseconds = await self._connection.ask("TIME")
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        since_ms = min((_stored_ms(entries) for entries in oldest if entries), default=now_ms)
        total = sum(lengths)
        metrics.OUTBOX_ENTRIES.set(total)
        metrics.JOURNAL_LAG.set(max(0, now_ms - since_ms) / 1000)
        if (total > HIGH_WATER) != self._above_high_water:
            self._above_high_water = total > HIGH_WATER
            (log.error if self._above_high_water else log.info)(
                "outbox_high_water", entries=total, high_water=HIGH_WATER, above=self._above_high_water
            )
        return False


def _stored_ms(entries: list[tuple[bytes, object]]) -> int:
    return int(entries[0][0].partition(b"-")[0])
