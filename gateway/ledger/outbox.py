"""Up to where each shard's outbox was read: always committed together with what was read there."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger.database import Database
from gateway.ledger.errors import StaleEpoch
from gateway.ledger.models import OutboxPositionRow


@dataclass(frozen=True, slots=True)
class OutboxPosition:
    """A place in a shard's stream; the epoch grows when a store is built anew and its streams begin again."""

    epoch: int
    last_id: str


async def advance(session: AsyncSession, shard: int, to: OutboxPosition) -> None:
    """Move a shard's position in the transaction of what was read up to there; within an epoch it never goes back.

    Raises:
        StaleEpoch: The shard is read in a newer epoch by now.
    """
    row = await session.get(OutboxPositionRow, shard, with_for_update=True)
    if row is None:
        session.add(OutboxPositionRow(shard=shard, epoch=to.epoch, last_id=to.last_id))
        return
    if to.epoch < row.epoch:
        raise StaleEpoch(shard, to.epoch, row.epoch)
    if to.epoch > row.epoch or _order(to.last_id) > _order(row.last_id):
        row.epoch = to.epoch
        row.last_id = to.last_id


class Outbox:
    """Reads the positions; moving them is `advance`'s."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def positions(self) -> dict[int, OutboxPosition]:
        """The position of every shard that was ever read."""
        async with self._database.read() as session:
            rows = await session.scalars(select(OutboxPositionRow))
            return {row.shard: OutboxPosition(row.epoch, row.last_id) for row in rows}


def _order(stream_id: str) -> tuple[int, int]:
    """An entry id as the store orders them: `<milliseconds>-<number>`, by value and not as text."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)
