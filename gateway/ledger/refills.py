"""Refill triggers as the outbox tells of them.

The journal records them, together with the position in the outbox. `seq` is the cursor of WatchRefills. A trigger that
is raised again (its dip was seen again after a failover, or a failed refill has waited long enough) keeps its place and
is open once more: the refiller has to look at it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger.database import Database
from gateway.ledger.models import OfficeRow, RefillTriggerRow
from gateway.ledger.sequence import REFILL_TRIGGERS, hold
from gateway.slices import slices


@dataclass(frozen=True, slots=True)
class RefillTrigger:
    """A refill that the store asked for, once per refill_id; the instant is the store's."""

    refill_id: str
    office_id: str
    amount_micros: int
    threshold_micros: int
    available_micros: int
    raised_at: int


@dataclass(frozen=True, slots=True)
class RecordedTrigger:
    """A trigger with its place in the order of all."""

    seq: int
    trigger: RefillTrigger


class Refills:
    """The repository of refill triggers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(
        self, seq: int, limit: int, *, company_id: str | None = None, office_ids: Collection[str] | None = None
    ) -> tuple[RecordedTrigger, ...]:
        """The triggers behind a cursor, in order; 0 is the beginning.

        Args:
            seq: The cursor.
            limit: How many.
            company_id: Only those of this company's offices.
            office_ids: Only those of these offices.
        """
        query = select(RefillTriggerRow).where(RefillTriggerRow.seq > seq).order_by(RefillTriggerRow.seq).limit(limit)
        if company_id is not None:
            of_company = select(OfficeRow.office_id).where(OfficeRow.company_id == company_id)
            query = query.where(RefillTriggerRow.office_id.in_(of_company))
        if office_ids is not None:
            query = query.where(RefillTriggerRow.office_id.in_(office_ids))
        async with self._database.read() as session:
            return tuple(_recorded(row) for row in await session.scalars(query))

    async def find(self, refill_id: str) -> RecordedTrigger | None:
        """The trigger of a refill, or None."""
        query = select(RefillTriggerRow).where(RefillTriggerRow.refill_id == refill_id)
        async with self._database.read() as session:
            row = (await session.scalars(query)).one_or_none()
        return None if row is None else _recorded(row)

    async def last_seq(self) -> int:
        """The newest cursor: behind it are the triggers yet to come."""
        async with self._database.read() as session:
            return await session.scalar(select(func.coalesce(func.max(RefillTriggerRow.seq), 0))) or 0


async def record(
    session: AsyncSession, triggers: Sequence[RefillTrigger], *, now_ms: int
) -> tuple[RecordedTrigger, ...]:
    """Record in a transaction the triggers that are new; it is one writer's at a time until that ends.

    Of one refill the first trigger stands; a later one only opens it again.

    Returns:
        Those that are new, in the order of their seq.

    Raises:
        LedgerBroken: The database has lost its sequence.
    """
    sequence = await hold(session, REFILL_TRIGGERS)
    new = await _unknown(session, triggers)
    recorded = tuple(RecordedTrigger(sequence.value + n, trigger) for n, trigger in enumerate(new, 1))
    sequence.value += len(recorded)
    session.add_all(_row(one, now_ms) for one in recorded)
    again = sorted({trigger.refill_id for trigger in triggers} - {trigger.refill_id for trigger in new})
    for some in slices(again):
        await session.execute(update(RefillTriggerRow).where(RefillTriggerRow.refill_id.in_(some)).values(is_open=True))
    return recorded


async def _unknown(session: AsyncSession, triggers: Sequence[RefillTrigger]) -> list[RefillTrigger]:
    first: dict[str, RefillTrigger] = {}
    for trigger in triggers:
        first.setdefault(trigger.refill_id, trigger)
    known: set[str] = set()
    for some in slices(sorted(first)):
        query = select(RefillTriggerRow.refill_id).where(RefillTriggerRow.refill_id.in_(some))
        known |= set(await session.scalars(query))
    return [trigger for refill_id, trigger in first.items() if refill_id not in known]


def _row(recorded: RecordedTrigger, now_ms: int) -> RefillTriggerRow:
    trigger = recorded.trigger
    return RefillTriggerRow(
        seq=recorded.seq,
        refill_id=trigger.refill_id,
        office_id=trigger.office_id,
        amount_micros=trigger.amount_micros,
        threshold_micros=trigger.threshold_micros,
        available_micros=trigger.available_micros,
        raised_at=trigger.raised_at,
        recorded_at=now_ms,
        is_open=True,
    )


def _recorded(row: RefillTriggerRow) -> RecordedTrigger:
    return RecordedTrigger(
        row.seq,
        RefillTrigger(
            row.refill_id,
            row.office_id,
            row.amount_micros,
            row.threshold_micros,
            row.available_micros,
            row.raised_at,
        ),
    )
