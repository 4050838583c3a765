"""The outbox gauge: how much the ledger does not have yet, and how old it is, whether the journal works or not."""

from typing import Final

import structlog

from gateway import metrics
from gateway.store.connection import StoreConnection
from gateway.store.outbox import read_backlog

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
        backlog = await read_backlog(self._connection)
        total = backlog.entries
        metrics.OUTBOX_ENTRIES.set(total)
        metrics.JOURNAL_LAG.set(backlog.age_ms / 1000)
        if (total > HIGH_WATER) != self._above_high_water:
            self._above_high_water = total > HIGH_WATER
            (log.error if self._above_high_water else log.info)(
                "outbox_high_water", entries=total, high_water=HIGH_WATER, above=self._above_high_water
            )
        return False
