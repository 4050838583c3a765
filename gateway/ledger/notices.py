"""Notices: recorded with what they tell of, and handed to the notifier until they are sent or given up."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.notice import Notice
from gateway.ledger.models import NoticeRow

__all__ = ["Notice", "record"]


async def record(session: AsyncSession, notice: Notice, *, now_ms: int) -> bool:
    """Record a notice in the transaction of what it tells of, once per key: both happen, or neither.

    The key says what makes a notice the same one, such as `LOW_FUNDS:<office_id>:<id of the outbox entry with which the
    funds fell below the threshold>`: it is made by the functions of gateway/domain/notice.py, one a kind, and they are
    how a notice should be made. Call it within `Database.transact`: of two transactions that record the same key at
    once, PostgreSQL lets one try again, which then finds the key.

    Returns:
        Whether it is new; a key that is known keeps its first facts.
    """
    if await session.scalar(select(NoticeRow.seq).where(NoticeRow.notice_key == notice.key)) is not None:
        return False
    session.add(
        NoticeRow(
            notice_key=notice.key,
            office_id=notice.office_id,
            kind=notice.kind,
            facts=dict(notice.facts),
            created_at=now_ms,
        )
    )
    return True
