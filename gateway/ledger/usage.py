"""The usage report: what an office's calls, faxes and messages of a month were and cost.

It covers what is over: closed records, refusals among them, and lapsed ones with their cost so far. A call that goes on
is not in it yet; ListCalls has that one. A record belongs to the month in which it started.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, null, select, union_all

from gateway.domain.month import Month
from gateway.domain.rate import Rate
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Decision, Direction, License, MessageKind, Reason, Service, UsageOrder
from gateway.ledger.database import Database
from gateway.ledger.models import UnrecordedRefusalsRow, UsageRow
from gateway.ledger.paging import Page, PageRequest
from gateway.ledger.usage_breakdown import UsageBreakdown, break_down
from gateway.ledger.usage_conditions import IS_OVER, IS_REFUSED, of_range
from gateway.ledger.usage_orders import Columns, ordered_by, page_query

EXPORT_BATCH: Final = 500
"""Records of an export that are read at a time: some ten milliseconds of work, between which others get their turn."""

_NOT_PRICED: Final = 5
"""The bytes of a packed rate without slots: free, or a message."""


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A call, a fax or a message; amounts in micros, instants in Unix milliseconds (0: none).

    `request_id` and `trace_id` (hexadecimal) are those of the request that began it; None: it was not traced.
    """

    seq: int
    thing_id: str
    life_at: int
    kind: UsageKind
    state: UsageState
    reason: Reason
    category: Category | None
    direction: Direction | None
    license: License | None
    service: Service | None
    message_kind: MessageKind | None
    segments: int
    calling_number: str
    called_number: str
    user_id: str
    department_id: str
    switch_id: str
    started_at: int
    answered_at: int
    duration_seconds: int
    billed_seconds: int
    cost_micros: int
    refunded_micros: int
    written_off_micros: int
    cause: str
    deck_version: int
    rate_line: int
    rate: bytes
    request_id: str | None
    trace_id: str | None

    @property
    def is_refused(self) -> bool:
        """Whether it was not let through."""
        return self.reason.decision is Decision.DENIED

    @property
    def call_rate(self) -> Rate | None:
        """The rate that was kept with a call; None for what is free, and for a message."""
        return Rate.unpack(self.rate) if len(self.rate) > _NOT_PRICED else None


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which records are wanted: None and empty are all."""

    category: Category | None = None
    user_id: str = ""
    department_id: str = ""


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """A line of the summary.

    Attributes:
        category: None for refusals of which it is not known.
        count: What was let through, answered or not, refunded or not.
        cost_micros: Of those, less refunds.
        blocked: What was refused; it costs nothing and is not in the count.
    """

    category: Category | None
    count: int
    cost_micros: int
    blocked: int


_COLUMNS: Final[Columns] = tuple(getattr(UsageRow, each.name) for each in fields(UsageRecord))


class Usage:
    """The reading side of the usage records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, office_id: str, thing_id: str) -> UsageRecord | None:
        """The latest record of a call_id or message_id, an open one too; an id may have been refused before, or reused.

        Raises:
            DatabaseError: The database did not answer.
        """
        query: Select[Any] = (
            select(*_COLUMNS)
            .where(UsageRow.office_id == office_id, UsageRow.thing_id == thing_id)
            .order_by(UsageRow.started_at.desc(), UsageRow.seq.desc())
            .limit(1)
        )
        async with self._database.read() as session:
            row = (await session.execute(query)).one_or_none()
        return None if row is None else UsageRecord(*row)

    async def summary(self, office_id: str, month: Month) -> tuple[UsageTotal, ...]:
        """A line for every category, and one without for refusals whose category is not known, if there are any.

        Refusals that were only counted, because too many came at once, are in `blocked` as well.

        Raises:
            DatabaseError: The database did not answer.
        """
        of_month = of_range(office_id, month.begins_at, month.ends_at)
        everything = (
            select(UsageRow.category, func.count(), func.sum(UsageRow.cost_micros))
            .where(*of_month)
            .group_by(UsageRow.category)
        )
        refusals = (
            select(UsageRow.category, -func.count(), null()).where(*of_month, IS_REFUSED).group_by(UsageRow.category)
        )
        # Two passes over the index, since SQLite sorts what it groups: the narrower the quicker. One statement, so that
        # both see the same moment on either database.
        records: CompoundSelect[Any] = union_all(everything, refusals)
        counted_only = (
            select(UnrecordedRefusalsRow.kind, func.sum(UnrecordedRefusalsRow.count))
            .where(
                UnrecordedRefusalsRow.office_id == office_id,
                UnrecordedRefusalsRow.at >= month.begins_at,
                UnrecordedRefusalsRow.at < month.ends_at,
            )
            .group_by(UnrecordedRefusalsRow.kind)
        )
        totals: dict[Category | None, UsageTotal] = {category: UsageTotal(category, 0, 0, 0) for category in Category}
        async with self._database.read() as session:
            for category, count, cost in await session.execute(records):
                total = totals.get(category, UsageTotal(category, 0, 0, 0))
                if cost is None:
                    totals[category] = replace(total, count=total.count + count, blocked=total.blocked - count)
                else:
                    totals[category] = replace(total, count=total.count + count, cost_micros=int(cost))
            for kind, count in await session.execute(counted_only):
                category = Category.MESSAGE if kind is UsageKind.MESSAGE else None
                total = totals.get(category, UsageTotal(category, 0, 0, 0))
                totals[category] = replace(total, blocked=total.blocked + int(count))
        return tuple(totals.values())

    async def breakdown(self, office_id: str, month: Month, *, now_ms: int) -> UsageBreakdown:
        """The same month by day, as far as it has come at `now_ms`, and by department; refusals are not in it.

        Raises:
            DatabaseError: The database did not answer.
        """
        async with self._database.moment() as session:
            return await break_down(session, office_id, month, now_ms)

    async def blocked_messages(self, office_id: str, since_ms: int) -> int:
        """How many messages were blocked for lack of funds since an instant, in Unix milliseconds.

        Refusals that were only counted, because too many came at once, are in it whatever they were refused for: of
        them no more is known.

        Raises:
            DatabaseError: The database did not answer.
        """
        recorded = (
            select(func.count())
            .select_from(UsageRow)
            .where(
                UsageRow.office_id == office_id,
                UsageRow.started_at >= since_ms,
                IS_OVER,
                UsageRow.category == Category.MESSAGE,
                UsageRow.reason == Reason.INSUFFICIENT_FUNDS,
            )
        )
        counted_only = select(func.coalesce(func.sum(UnrecordedRefusalsRow.count), 0)).where(
            UnrecordedRefusalsRow.office_id == office_id,
            UnrecordedRefusalsRow.at >= since_ms,
            UnrecordedRefusalsRow.kind == UsageKind.MESSAGE,
        )
        query = select(recorded.scalar_subquery(), counted_only.scalar_subquery())
        async with self._database.read() as session:
            return sum(map(int, (await session.execute(query)).one()))

    async def list(
        self,
        page: PageRequest,
        office_id: str,
        month: Month,
        wanted: UsageFilter = UsageFilter(),
        order: UsageOrder = UsageOrder.NEWEST_FIRST,
    ) -> Page[UsageRecord]:
        """The records of a month in some order; of those that are equal in it, the one that was recorded last is first.

        Oldest first, that is turned round: it is newest first, read backwards.

        Raises:
            InvalidArgument: The page is not one of this list.
            DatabaseError: The database did not answer.
        """
        asked = ("usage", office_id, month.name, month.time_zone, wanted, order)
        key = page.after((int, int), *asked)
        after = None if key is None else (int(key[0]), int(key[1]))
        query, values = page_query(_COLUMNS, order, office_id, month, _fitting(wanted), after, page.limit + 1)
        first = ordered_by(order)
        return page.page(await self._read(query, values), lambda record: (getattr(record, first), record.seq), *asked)

    async def batches(self, office_id: str, month: Month) -> AsyncIterator[Sequence[UsageRecord]]:
        """All records of a month, oldest first, some at a time.

        Each batch is a transaction of its own, so that a slow reader holds up nobody, and memory does not grow with the
        month. What is recorded meanwhile is among them if it started later than what was read last.

        Raises:
            DatabaseError: The database did not answer.
        """
        after = None
        while True:
            query, values = page_query(_COLUMNS, UsageOrder.OLDEST_FIRST, office_id, month, (), after, EXPORT_BATCH)
            batch = await self._read(query, values)
            if batch:
                yield batch
            if len(batch) < EXPORT_BATCH:
                return
            after = batch[-1].started_at, batch[-1].seq

    async def _read(self, query: Select[Any], values: Mapping[str, Any]) -> Sequence[UsageRecord]:
        async with self._database.read() as session:
            return [UsageRecord(*row) for row in await session.execute(query, values)]


def _fitting(wanted: UsageFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.category is not None:
        conditions.append(UsageRow.category == wanted.category)
    if wanted.user_id:
        conditions.append(UsageRow.user_id == wanted.user_id)
    if wanted.department_id:
        conditions.append(UsageRow.department_id == wanted.department_id)
    return conditions
