"""Usage of an office: a month's totals, where the money went by day and department, every record, and the export."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from gateway.domain.calendar import month_of
from gateway.domain.vocabulary import Category
from gateway.page.charts import columns, shares
from gateway.page.desk import Desk, Visit
from gateway.page.months import months_back
from gateway.v1 import credits_pb2 as pb

_PAGE_SIZE: Final = 50
_MOST_MONTHS: Final = 120

CATEGORY_WORDS: Final = {category.name.lower(): int(category) for category in Category}

ORDER_WORDS: Final = {
    "newest": pb.USAGE_ORDER_UNSPECIFIED,
    "oldest": pb.USAGE_ORDER_OLDEST_FIRST,
    "costliest": pb.USAGE_ORDER_COSTLIEST_FIRST,
    "longest": pb.USAGE_ORDER_LONGEST_FIRST,
}


class UsagePages:
    """The usage report."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        route = self._desk.route
        return [
            route("/offices/{office_id}/usage", self._show),
            route("/offices/{office_id}/usage/records", self._records),
            route("/offices/{office_id}/usage/export", self._export),
            route("/offices/{office_id}/usage/record", self._explain),
        ]

    async def _show(self, visit: Visit) -> Response:
        office, month = await self._office_and_month(visit)
        of_month = {"office_id": office.office_id, "month": month}
        # At once: each takes the ledger a second for a month of a million records.
        summary, breakdown, table = await asyncio.gather(
            self._desk.of.usage.summary(pb.UsageSummaryRequest(**of_month), visit.identity),
            self._desk.of.usage.breakdown(pb.UsageBreakdownRequest(**of_month), visit.identity),
            self._table(visit, office, month),
        )
        departments = list(breakdown.departments)
        return visit.page(
            "usage.html",
            office=office,
            month=month,
            months=self._months(office, month),
            summary=summary,
            total_micros=sum(each.cost_micros for each in summary.totals),
            bars=columns([(each.date, each.cost_micros) for each in breakdown.days]),
            days=breakdown.days,
            departments=list(zip(departments, shares([each.cost_micros for each in departments]), strict=True)),
            **table,
        )

    async def _records(self, visit: Visit) -> Response:
        """The table alone, for a change of filter, order or page."""
        office, month = await self._office_and_month(visit)
        return visit.page(
            "parts/usage_table.html", office=office, month=month, **await self._table(visit, office, month)
        )

    async def _table(self, visit: Visit, office: pb.Office, month: str) -> dict[str, Any]:
        query = visit.query
        request = pb.ListUsageRequest(
            office_id=office.office_id,
            month=month,
            category=query.choice("category", CATEGORY_WORDS, 0),  # type: ignore[arg-type]  # the same numbers
            user_id=query.text("user"),
            department_id=query.text("department"),
            order=query.choice("order", ORDER_WORDS, pb.USAGE_ORDER_UNSPECIFIED),
            page_size=_PAGE_SIZE,
            page_token=query.text("page"),
        )
        listed = await self._desk.of.usage.list(request, visit.identity)
        chosen = {name: query.text(name) for name in ("category", "user", "department", "order")}
        return {
            "listed": listed,
            "chosen": chosen,
            "address": {"month": month, **{name: value for name, value in chosen.items() if value}},
            "category_words": CATEGORY_WORDS,
            "order_words": ORDER_WORDS,
            "is_first": not query.text("page"),
        }

    async def _explain(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        request = pb.ExplainCallRequest(office_id=office.office_id, call_id=visit.query.text("id"))
        explained = await self._desk.of.calls.explain(request, visit.identity)
        return visit.page("usage_record.html", office=office, explained=explained, call_id=request.call_id)

    async def _export(self, visit: Visit) -> Response:
        office, month = await self._office_and_month(visit)
        request = pb.ExportUsageRequest(office_id=office.office_id, month=month)
        chunks = self._desk.of.usage.export(request, visit.identity)
        # The first one before the answer begins, so that a refusal is a page and not half a file.
        first = await anext(chunks)
        name = f"usage-{office.office_id}-{month}.csv"
        return StreamingResponse(
            _bytes(first, chunks),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def _office_and_month(self, visit: Visit) -> tuple[pb.Office, str]:
        office = await self._desk.office(visit)
        return office, visit.query.text("month") or month_of(self._desk.clock.now_ms(), office.time_zone)

    def _months(self, office: pb.Office, shown: str) -> list[str]:
        """The months of an office from the present back to its first, and the one that is shown if that is earlier."""
        present = month_of(self._desk.clock.now_ms(), office.time_zone)
        months = months_back(present, _MOST_MONTHS, month_of(office.created_at.ToMilliseconds(), office.time_zone))
        return months if shown in months else [*months, shown]


async def _bytes(
    first: pb.ExportUsageResponse, chunks: AsyncGenerator[pb.ExportUsageResponse, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        yield first.chunk
        async for each in chunks:
            yield each.chunk
