"""Where offices stand by SQL, as of one position of their shard's outbox."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.usage import UsageState
from gateway.ledger.database import Database
from gateway.ledger.models import CreditRow, OfficeBookRow, OfficeRow, OutboxPositionRow, UsageRow
from gateway.ledger.outbox import OutboxPosition

MOST_OFFICES: Final = 100
"""That may be asked for at a time: each takes a few parameters of a statement."""

CallLife = tuple[str, int]
"""A call's id and when it was authorized, which tells lives of one id apart."""


@dataclass(frozen=True, slots=True)
class Book:
    """What the outbox has told of an office, added up."""

    credits_micros: int = 0
    moved_micros: int = 0
    balance_micros: int = 0
    entries: int = 0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """An office as SQL has it.

    Attributes:
        was_in_store: The store has confirmed its settings, or told of it.
        book: Its book.
        confirmed_number: The newest credit that the store has confirmed.
        open_calls: What each call that goes on was debited.
    """

    was_in_store: bool
    book: Book
    confirmed_number: int
    open_calls: Mapping[CallLife, int]


@dataclass(frozen=True, slots=True)
class Standings:
    """Some offices of a shard, and up to where its outbox was read then; None: never."""

    position: OutboxPosition | None
    offices: Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class CreditSums:
    """The credits of an office up to a number, and those beyond it.

    Attributes:
        through_micros: What those up to it move.
        last_number: The newest of all; 0: there is none.
        beyond_micros: What those beyond it will move.
        beyond: How many these are.
    """

    through_micros: int = 0
    last_number: int = 0
    beyond_micros: int = 0
    beyond: int = 0


class AuditedStandings:
    """Reads where offices stand, some of one shard at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def office_ids(self) -> list[str]:
        """All offices, those that were never put into the store included, in order."""
        async with self._database.read() as session:
            return list(await session.scalars(select(OfficeRow.office_id).order_by(OfficeRow.office_id)))

    async def books_without_office(self, limit: int) -> list[str]:
        """Offices of which the outbox has told, and that SQL does not have."""
        query = (
            select(OfficeBookRow.office_id)
            .where(OfficeBookRow.office_id.not_in(select(OfficeRow.office_id)))
            .order_by(OfficeBookRow.office_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return list(await session.scalars(query))

    async def newest_entry_at(self) -> int:
        """Up to when the ledger knows, in Unix milliseconds; 0: nothing yet."""
        async with self._database.read() as session:
            return await session.scalar(select(func.max(OfficeBookRow.last_at))) or 0

    async def of(self, shard: int, office_ids: Collection[str]) -> Standings:
        """Where some offices of a shard stand, all in one moment; at most MOST_OFFICES."""
        async with self._database.moment() as session:
            position = await _position(session, shard)
            books = await _books(session, office_ids)
            confirmed = await _confirmed(session, office_ids)
            calls = await _open_calls(session, office_ids)
            projected = select(OfficeRow.office_id).where(
                OfficeRow.office_id.in_(office_ids), OfficeRow.projected_version > 0
            )
            in_store = set(await session.scalars(projected)) | set(books)
        offices = {
            name: Standing(name in in_store, books.get(name, Book()), confirmed.get(name, 0), calls.get(name, {}))
            for name in office_ids
        }
        return Standings(position, offices)

    async def credits(
        self, shard: int, through: Mapping[str, int]
    ) -> tuple[OutboxPosition | None, Mapping[str, CreditSums]]:
        """The credits of some offices of a shard, each up to a number, and the position at that moment."""
        holds = [and_(CreditRow.office_id == name, CreditRow.number <= number) for name, number in through.items()]
        is_held = or_(*holds) if holds else CreditRow.number < 0
        query = (
            select(
                CreditRow.office_id,
                func.coalesce(func.sum(CreditRow.amount_micros).filter(is_held), 0),
                func.max(CreditRow.number),
                func.coalesce(func.sum(CreditRow.amount_micros).filter(~is_held), 0),
                func.count().filter(~is_held),
            )
            .where(CreditRow.office_id.in_(through))
            .group_by(CreditRow.office_id)
        )
        async with self._database.moment() as session:
            position = await _position(session, shard)
            rows = (await session.execute(query)).all()
        return position, {name: CreditSums(*map(int, figures)) for name, *figures in rows}


async def _position(session: AsyncSession, shard: int) -> OutboxPosition | None:
    row = await session.get(OutboxPositionRow, shard)
    return None if row is None else OutboxPosition(row.epoch, row.last_id)


async def _books(session: AsyncSession, office_ids: Collection[str]) -> dict[str, Book]:
    query = select(
        OfficeBookRow.office_id,
        OfficeBookRow.credits_micros,
        OfficeBookRow.moved_micros,
        OfficeBookRow.balance_micros,
        OfficeBookRow.entries,
        OfficeBookRow.gaps,
    ).where(OfficeBookRow.office_id.in_(office_ids))
    return {name: Book(*figures) for name, *figures in await session.execute(query)}


async def _confirmed(session: AsyncSession, office_ids: Collection[str]) -> dict[str, int]:
    query = (
        select(CreditRow.office_id, func.max(CreditRow.number))
        .where(CreditRow.office_id.in_(office_ids), CreditRow.applied_at.is_not(None))
        .group_by(CreditRow.office_id)
    )
    return {name: int(number) for name, number in await session.execute(query)}


async def _open_calls(session: AsyncSession, office_ids: Collection[str]) -> dict[str, dict[CallLife, int]]:
    query = select(UsageRow.office_id, UsageRow.thing_id, UsageRow.life_at, UsageRow.cost_micros).where(
        UsageRow.office_id.in_(office_ids),
        UsageRow.state != UsageState.CLOSED,  # So that the index of unfinished ones serves.
        UsageRow.state == UsageState.OPEN,
    )
    calls: dict[str, dict[CallLife, int]] = {}
    for office_id, call_id, life_at, cost in await session.execute(query):
        calls.setdefault(office_id, {})[call_id, life_at] = cost
    return calls
