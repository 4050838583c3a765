"""Up to where each shard's outbox was read: always committed together with what was read there (journal/writer.py)."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from gateway.ledger.database import Database
from gateway.ledger.models import OfficeBookRow, OutboxPositionRow

BEGINNING: Final = "0-0"
"""The position before the first entry of a stream."""

FIRST_EPOCH: Final = 1
"""Of the outboxes of a store that was never rebuilt."""


@dataclass(frozen=True, slots=True)
class OutboxPosition:
    """A place in a shard's stream; the epoch grows when a store is built anew and its streams begin again."""

    epoch: int
    last_id: str


class Outbox:
    """Reads the positions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def positions(self) -> dict[int, OutboxPosition]:
        """The position of every shard that was ever read."""
        async with self._database.read() as session:
            rows = await session.scalars(select(OutboxPositionRow))
            return {row.shard: OutboxPosition(row.epoch, row.last_id) for row in rows}

    async def epoch(self) -> int:
        """The newest epoch that was read; the first one where nothing was."""
        async with self._database.read() as session:
            return await session.scalar(select(func.max(OutboxPositionRow.epoch))) or FIRST_EPOCH

    async def has_entries_of(self, office_id: str) -> bool:
        """Whether any entry of an office was ever read."""
        async with self._database.read() as session:
            return await session.get(OfficeBookRow, office_id) is not None
