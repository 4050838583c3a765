"""Notices: recorded with what they tell of, and handed to the notifier until they are sent or given up."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.notice import Channel, Delivery, Notice, NoticeOffice
from gateway.ledger.database import Database
from gateway.ledger.models import NoticeDeliveryRow, NoticeRecipientRow, NoticeRow, OfficeRow

__all__ = ["Notice", "Notices", "record"]

MAX_ERROR_LENGTH: Final = 500


async def record(session: AsyncSession, notice: Notice, *, now_ms: int) -> bool:
    """Record a notice in the transaction of what it tells of, once per key: both happen, or neither.

    The key says what makes a notice the same one, such as `LOW_FUNDS:<office_id>:<id of the outbox entry with which the
    funds fell below the threshold>`. The functions of gateway/domain/notice.py, one a kind, make notices with their
    keys:

        LOW_FUNDS, MESSAGES_BLOCKED   <office_id>:<id of the entry that began the dip>
        REFILL_DONE, REFILL_OFF       <refill_id>
        REFILL_FAILED                 <refill_id>/<attempt>
        REFILL_CAPPED                 <office_id>:<YYYY-MM-DD, the office's day>
        CONFIRMATION_NEEDED           <charge_key>
        RECEIPT                       <transaction id>
        CHARGEBACK                    <chargeback_id>
        FRAUD_GUARD                   <office_id>:<country>:<when it tripped>
        NEW_DESTINATION               <office_id>:<country>
        REFILL_BRAKED                 <refill_id>:<when the guard ends>

    Call it within `Database.transact`: of two transactions that record the same key at once, PostgreSQL lets one try
    again, which then finds the key.

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


class Notices:
    """The repository of notices on their way; safe for any number of gateways at once.

    Args:
        database: Where they are.
        currency: Of the installation, for a notice of an office that the ledger does not know.
    """

    def __init__(self, database: Database, currency: str) -> None:
        self._database = database
        self._currency = currency

    async def route(self, channels: Sequence[Channel], limit: int, *, now_ms: int) -> int:
        """Make the deliveries of the oldest notices that have none yet; returns of how many notices.

        Who is a recipient now gets them: later ones get no old notices.
        """
        async with self._database.read() as session:  # Mostly there is nothing: not worth the write lock.
            if await session.scalar(_unrouted(1)) is None:
                return 0

        async def deliveries(session: AsyncSession) -> int:
            rows = (await session.scalars(_unrouted(limit).with_for_update(skip_locked=True))).all()
            recipients = await _recipients(session, {row.office_id for row in rows})
            for row in rows:
                row.routed_at = now_ms
                for channel in channels:
                    for recipient in _addresses(channel, recipients.get(row.office_id, ())):
                        session.add(_new_delivery(row.seq, channel.name, recipient, now_ms))
            return len(rows)

        return await self._database.transact(deliveries)

    async def claim(self, channel: str, limit: int, *, now_ms: int, until: int) -> tuple[Delivery, ...]:
        """Take the deliveries of a channel that are due, oldest first; nobody else gets them before `until`.

        An attempt that is neither `sent`, `failed` nor `given_up` by then counts as broken off: it is due again.

        Args:
            channel: Its name.
            limit: How many at most.
            now_ms: Now.
            until: Unix milliseconds, later than the attempts can take.
        """
        async with self._database.read() as session:
            if await session.scalar(_due(channel, 1, now_ms)) is None:
                return ()

        async def take(session: AsyncSession) -> tuple[Delivery, ...]:
            rows = (await session.scalars(_due(channel, limit, now_ms).with_for_update(skip_locked=True))).all()
            for row in rows:
                row.attempts += 1
                row.next_at = until
            return await self._deliveries(session, rows)

        return await self._database.transact(take)

    async def sent(self, delivery: Delivery, *, now_ms: int) -> None:
        """Record that it was sent."""
        await self._change(delivery, done_at=now_ms, error="")

    async def failed(self, delivery: Delivery, error: str, *, next_at: int) -> None:
        """Record why an attempt failed, and when the next is due; nothing if another sender has taken it meanwhile."""
        await self._change(delivery, next_at=next_at, error=error)

    async def given_up(self, delivery: Delivery, error: str, *, now_ms: int) -> None:
        """Record that it will not be tried again, and why; nothing if another sender has taken it meanwhile."""
        await self._change(delivery, done_at=now_ms, error=error)

    async def waiting(self, channel: str) -> int:
        """The number of a channel's deliveries that are neither sent nor given up."""
        query = select(func.count()).where(NoticeDeliveryRow.channel == channel, NoticeDeliveryRow.done_at.is_(None))
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def _change(self, delivery: Delivery, *, error: str, **values: int) -> None:
        change = (
            update(NoticeDeliveryRow)
            .where(
                NoticeDeliveryRow.notice_seq == delivery.seq,
                NoticeDeliveryRow.channel == delivery.channel,
                NoticeDeliveryRow.recipient == delivery.recipient,
                NoticeDeliveryRow.done_at.is_(None),
            )
            .values(error=error[:MAX_ERROR_LENGTH], **values)
        )
        if error:  # What was sent was sent, whoever else is at it; but a failure speaks for its own attempt alone.
            change = change.where(NoticeDeliveryRow.attempts == delivery.attempt)
        async with self._database.write() as session:
            await session.execute(change)

    async def _deliveries(self, session: AsyncSession, rows: Sequence[NoticeDeliveryRow]) -> tuple[Delivery, ...]:
        query = (
            select(NoticeRow, OfficeRow)
            .outerjoin(OfficeRow, OfficeRow.office_id == NoticeRow.office_id)
            .where(NoticeRow.seq.in_({row.notice_seq for row in rows}))
        )
        told = {notice.seq: (notice, office) for notice, office in await session.execute(query)}
        return tuple(self._delivery(row, *told[row.notice_seq]) for row in rows)

    def _delivery(self, row: NoticeDeliveryRow, notice: NoticeRow, office: OfficeRow | None) -> Delivery:
        return Delivery(
            row.notice_seq,
            row.channel,
            row.recipient,
            row.attempts,
            Notice(notice.notice_key, notice.office_id, notice.kind, notice.facts),
            NoticeOffice(notice.office_id, notice.office_id, "", self._currency, "UTC")
            if office is None
            else NoticeOffice(office.office_id, office.name, office.company_id, office.currency, office.time_zone),
            notice.created_at,
        )


def _unrouted(limit: int) -> Select[NoticeRow]:
    return select(NoticeRow).where(NoticeRow.routed_at.is_(None)).order_by(NoticeRow.seq).limit(limit)


def _due(channel: str, limit: int, now_ms: int) -> Select[NoticeDeliveryRow]:
    return (
        select(NoticeDeliveryRow)
        .where(
            NoticeDeliveryRow.channel == channel,
            NoticeDeliveryRow.done_at.is_(None),
            NoticeDeliveryRow.next_at <= now_ms,
        )
        .order_by(NoticeDeliveryRow.next_at, NoticeDeliveryRow.notice_seq, NoticeDeliveryRow.recipient)
        .limit(limit)
    )


async def _recipients(session: AsyncSession, office_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """The addresses of each office, its company's among them."""
    query = (
        select(OfficeRow.office_id, NoticeRecipientRow.address)
        .join(NoticeRecipientRow, NoticeRecipientRow.company_id == OfficeRow.company_id)
        .where(
            OfficeRow.office_id.in_(office_ids),
            NoticeRecipientRow.office_id.in_(("", OfficeRow.office_id)),
        )
    )
    found: dict[str, list[str]] = defaultdict(list)
    for office_id, address in await session.execute(query):
        found[office_id].append(address)
    return found


def _addresses(channel: Channel, of_office: Sequence[str]) -> Sequence[str]:
    return sorted({*channel.operators, *of_office}) if channel.is_addressed else ("",)


def _new_delivery(seq: int, channel: str, recipient: str, now_ms: int) -> NoticeDeliveryRow:
    return NoticeDeliveryRow(
        notice_seq=seq, channel=channel, recipient=recipient, attempts=0, next_at=now_ms, done_at=None, error=""
    )
