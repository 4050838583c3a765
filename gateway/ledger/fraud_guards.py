"""Fraud guards after they have tripped: lifting them, counting the offices they hold, and forgetting old hours.

What trips them is gateway/ledger/journal/fraud_guards.py.
"""

import dataclasses
from typing import Final

from sqlalchemy import Select, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.fraud_guard import HOUR_MS
from gateway.domain.payment import RefillStatus
from gateway.ledger.database import Database
from gateway.ledger.models import GuardHourRow, OfficeRow, RefillRow
from gateway.ledger.offices import Office, OfficeChange, change

KEPT_HOURS: Final = 48
"""An hour counts while it lasts; entries that a database was away for come later, and people look back a day."""


class FraudGuards:
    """The repository of fraud guards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lift(self, office_id: str, *, actor: str, now_ms: int, reason: str = "") -> OfficeChange:
        """End the guards of an office: what it has called in this hour is forgiven, and its limits begin anew.

        A refill that was braked is asked for again, as by a new SetAutoRefill. An office whose guards have not tripped,
        or are over, is left as it is.

        Args:
            office_id: Which.
            actor: Who.
            now_ms: When.
            reason: For the audit log.

        Raises:
            OfficeNotFound: There is no office of this id.
        """

        async def end(session: AsyncSession) -> OfficeChange:
            # The hours first, the office then: the order in which the journal locks them.
            if await session.scalar(_guarded(now_ms).where(OfficeRow.office_id == office_id)):
                await session.execute(
                    update(GuardHourRow)
                    .where(GuardHourRow.office_id == office_id, GuardHourRow.hour == now_ms // HOUR_MS)
                    .values(forgiven_calls=GuardHourRow.calls, forgiven_micros=GuardHourRow.spend_micros)
                )
            generations = int(await _is_braked(session, office_id))

            def changed(office: Office) -> Office:
                if office.guarded_until <= now_ms:
                    return office
                generation = office.refill_generation + generations
                return dataclasses.replace(office, guards=(), refill_generation=generation)

            return await change(
                session, office_id, "office.lift_fraud_guard", changed, actor=actor, now_ms=now_ms, reason=reason
            )

        return await self._database.transact(end)

    async def guarded_offices(self, now_ms: int) -> int:
        """How many offices a guard holds now."""
        async with self._database.read() as session:
            return await session.scalar(_guarded(now_ms)) or 0

    async def forget_old_hours(self, now_ms: int) -> None:
        """Delete what was counted in hours that are long over."""
        last = now_ms // HOUR_MS - KEPT_HOURS
        async with self._database.read() as session:  # Mostly there is nothing: not worth the write lock.
            if await session.scalar(select(func.min(GuardHourRow.hour)).where(GuardHourRow.hour < last)) is None:
                return
        async with self._database.write() as session:
            await session.execute(delete(GuardHourRow).where(GuardHourRow.hour < last))


def _guarded(now_ms: int) -> Select[int]:
    return (
        select(func.count())
        .select_from(OfficeRow)
        .where(
            # Written into the statement: SQLite uses a partial index only where it sees the condition of that index.
            OfficeRow.guarded_until > literal(0, literal_execute=True),
            OfficeRow.guarded_until > now_ms,
        )
    )


async def _is_braked(session: AsyncSession, office_id: str) -> bool:
    query = select(RefillRow.status).where(RefillRow.office_id == office_id).order_by(RefillRow.number.desc()).limit(1)
    return await session.scalar(query) is RefillStatus.BRAKED
