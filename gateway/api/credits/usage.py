"""UsageSummary, UsageBreakdown, ListUsage and ExportUsage: the usage report, for who may read the office."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.fields import enum_of, read_enum, read_page
from gateway.api.credits.rate_rows import RateRows, row_message
from gateway.api.credits.usage_csv import UsageCsv
from gateway.api.credits.usage_records import record_message
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id
from gateway.domain.month import Month
from gateway.domain.vocabulary import Category, UsageOrder
from gateway.errors import ResourceExhausted
from gateway.ledger.offices import Office, Offices
from gateway.ledger.usage import Usage, UsageFilter
from gateway.ledger.usage_breakdown import DayUsage
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb

_EXPORTS_AT_A_TIME: Final = 8
"""An export is work for as long as its reader keeps up: more of them than this would only slow each other down."""


class UsageRpcs:
    """What is asked of the usage records.

    Args:
        offices: For rights, and for their time zones.
        usage: The records.
        rows: Finds the rows that priced them.
        clock: Says which month is the present one.
    """

    def __init__(self, offices: Offices, usage: Usage, rows: RateRows, clock: Clock) -> None:
        self._access = OfficeAccess(offices)
        self._usage = usage
        self._rows = rows
        self._clock = clock
        self._exports = 0

    async def summary(self, request: pb.UsageSummaryRequest, identity: Identity) -> pb.UsageSummaryResponse:
        """Counts and cost of a month by category.

        Raises:
            InvalidArgument: The month is none, or has not begun in the office's time zone.
            PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`.
            DatabaseError: The database did not answer.
        """
        office, month = await self._read(request.office_id, request.month, identity)
        totals = await self._usage.summary(office.settings.office_id, month)
        return pb.UsageSummaryResponse(
            month=month.name,
            time_zone=month.time_zone,
            totals=[
                pb.UsageTotal(
                    category=enum_of(total.category),
                    count=total.count,
                    cost_micros=total.cost_micros,
                    blocked=total.blocked,
                )
                for total in totals
            ],
        )

    async def breakdown(self, request: pb.UsageBreakdownRequest, identity: Identity) -> pb.UsageBreakdownResponse:
        """Counts and cost of a month by day and by department.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound, DatabaseError: As `summary`.
        """
        office, month = await self._read(request.office_id, request.month, identity)
        parts = await self._usage.breakdown(office.settings.office_id, month, now_ms=self._clock.now_ms())
        return pb.UsageBreakdownResponse(
            month=month.name,
            time_zone=month.time_zone,
            days=[_day_message(day) for day in parts.days],
            departments=[
                pb.UsageDepartment(
                    department_id=each.department_id,
                    count=each.count,
                    cost_micros=each.cost_micros,
                    is_rest=each.is_rest,
                )
                for each in parts.departments
            ],
        )

    async def list(self, request: pb.ListUsageRequest, identity: Identity) -> pb.ListUsageResponse:
        """The records of a month in the order that is asked for.

        Raises:
            InvalidArgument: As `summary`, or a filter, the order or the page cannot be.
            PermissionDenied, OfficeNotFound, DatabaseError: As `summary`.
        """
        page = read_page(request.page_size, request.page_token)
        wanted = _read_filter(request)
        order = read_enum(UsageOrder, request.order, "order")
        office, month = await self._read(request.office_id, request.month, identity)
        part = await self._usage.list(page, office.settings.office_id, month, wanted, order)
        keys = [(record.deck_version, record.rate_line) for record in part.items]
        rows = await self._rows.find(keys)
        return pb.ListUsageResponse(
            records=[
                record_message(record, row_message(key, rows.get(key), record.call_rate))
                for key, record in zip(keys, part.items, strict=True)
            ],
            next_page_token=part.next_page_token,
        )

    async def export(
        self, request: pb.ExportUsageRequest, identity: Identity
    ) -> AsyncGenerator[pb.ExportUsageResponse, None]:
        """The records of a month as CSV, oldest first, a few hundred lines a chunk.

        The next records are read when the last chunk has been taken, so that a slow reader costs no memory here.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound, DatabaseError: As `summary`.
            ResourceExhausted: Too many exports are going on.
        """
        office, month = await self._read(request.office_id, request.month, identity)
        with self._one_more_export():
            csv = UsageCsv(month.time_zone, office.settings.currency)
            yield pb.ExportUsageResponse(chunk=csv.header())
            async for batch in self._usage.batches(office.settings.office_id, month):
                rows = await self._rows.find((record.deck_version, record.rate_line) for record in batch)
                # In a thread, so that other requests are answered between its lines.
                yield pb.ExportUsageResponse(chunk=await asyncio.to_thread(csv.lines, batch, rows))

    async def _read(self, office_id: str, month: str, identity: Identity) -> tuple[Office, Month]:
        office = await self._access.readable(office_id, identity)
        return office, Month.parse(month, office.settings.time_zone, now_ms=self._clock.now_ms())

    @contextmanager
    def _one_more_export(self) -> Iterator[None]:
        if self._exports >= _EXPORTS_AT_A_TIME:
            raise ResourceExhausted(
                f"{_EXPORTS_AT_A_TIME} exports are going on; try again when one of them is done.",
                reason="TOO_MANY_EXPORTS",
            )
        self._exports += 1
        try:
            yield
        finally:
            self._exports -= 1


def _day_message(day: DayUsage) -> pb.UsageDay:
    return pb.UsageDay(
        date=day.date.isoformat(),
        count=day.count,
        cost_micros=day.cost_micros,
        categories=[
            pb.UsageDayCategory(category=enum_of(each.category), count=each.count, cost_micros=each.cost_micros)
            for each in day.categories
        ],
    )


def _read_filter(request: pb.ListUsageRequest) -> UsageFilter:
    category = read_enum(Category, request.category, "category") if request.category else None
    for field, value in (("user_id", request.user_id), ("department_id", request.department_id)):
        if value:
            validate_id(value, field)
    return UsageFilter(category, request.user_id, request.department_id)
