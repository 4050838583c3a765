"""The offices that one may see: with their money, and with what they used in a month. One alone is gone to at once."""

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.domain.calendar import month_of
from gateway.domain.vocabulary import Category
from gateway.page.desk import Desk, Visit, see_other
from gateway.page.months import months_back
from gateway.v1 import credits_pb2 as pb

_PAGE_SIZE: Final = 50
_REPORT_SIZE: Final = 20
"""Offices whose month is added up for one page: each takes the ledger some milliseconds, a busy one more."""

_MOST_FOUND: Final = 200
_READ_AT_A_TIME: Final = 1_000
_MONTHS: Final = 24
_LAST_ZONE: Final = "Etc/GMT+12"
"""Where a month that has begun has begun everywhere."""

_SHOWN: Final = (Category.TOLL_FREE, Category.INTERNATIONAL, Category.LOCAL, Category.MESSAGE, Category.FAX)


@dataclass(frozen=True, slots=True)
class Listed:
    """Offices that were asked for.

    Attributes:
        offices: So many at most.
        more: The token of the next page; empty: there is none.
        companies: That may be chosen from.
        company_id: That was chosen; empty: all.
        sought: Letters of a name or id; empty: none.
        is_narrowed: Whether not simply all were asked for, from the first on.
    """

    offices: list[pb.Office]
    more: str
    companies: list[pb.Company]
    company_id: str
    sought: str
    is_narrowed: bool


class OfficesPages:
    """What a company has, and what it used."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        return [self._desk.route("/", self._show), self._desk.route("/usage", self._show_usage)]

    async def _show(self, visit: Visit) -> Response:
        listed = await self._list(visit, _PAGE_SIZE, _MOST_FOUND)
        if len(listed.offices) == 1 and not listed.more and not listed.is_narrowed:
            return see_other(f"/offices/{listed.offices[0].office_id}")
        offices = listed.offices
        return visit.page(
            "offices.html",
            listed=listed,
            most_found=_MOST_FOUND,
            currency=self._desk.currency,
            balance_micros=sum(office.balance_micros for office in offices),
            available_micros=sum(office.available_micros for office in offices),
            calls=sum(office.concurrent_calls for office in offices),
        )

    async def _show_usage(self, visit: Visit) -> Response:
        """What each office used in a month, which is each one's own: it begins when their clocks say so."""
        listed = await self._list(visit, _REPORT_SIZE, _REPORT_SIZE)
        present = month_of(self._desk.clock.now_ms(), _LAST_ZONE)
        month = visit.query.text("month") or present
        summaries = await asyncio.gather(*(self._summary(visit, office, month) for office in listed.offices))
        totals = {int(category): pb.UsageTotal() for category in _SHOWN}
        for summary in summaries:
            for each in summary.totals:
                total = totals.get(each.category)
                if total is not None:
                    total.count += each.count
                    total.cost_micros += each.cost_micros
                    total.blocked += each.blocked
        return visit.page(
            "offices_usage.html",
            listed=listed,
            rows=[
                (
                    office,
                    {each.category: each for each in summary.totals},
                    sum(each.cost_micros for each in summary.totals),
                )
                for office, summary in zip(listed.offices, summaries, strict=True)
            ],
            totals=totals,
            total_micros=sum(each.cost_micros for summary in summaries for each in summary.totals),
            shown=_SHOWN,
            month=month,
            months=months_back(present, _MONTHS),
            most_found=_REPORT_SIZE,
            currency=self._desk.currency,
        )

    async def _summary(self, visit: Visit, office: pb.Office, month: str) -> pb.UsageSummaryResponse:
        request = pb.UsageSummaryRequest(office_id=office.office_id, month=month)
        return await self._desk.of.usage.summary(request, visit.identity)

    async def _list(self, visit: Visit, page_size: int, most: int) -> Listed:
        query = visit.query
        company_id, sought, token = query.text("company"), query.text("q"), query.text("page")
        if sought:
            offices, more = await self._find(visit, company_id, sought.casefold(), most), ""
        else:
            part = await self._desk.of.offices.list(
                pb.ListOfficesRequest(company_id=company_id, page_size=page_size, page_token=token), visit.identity
            )
            offices, more = list(part.offices), part.next_page_token
        companies = await self._desk.of.companies.list(pb.ListCompaniesRequest(page_size=1_000), visit.identity)
        is_narrowed = bool(company_id or sought or token)
        return Listed(offices, more, list(companies.companies), company_id, sought, is_narrowed)

    async def _find(self, visit: Visit, company_id: str, sought: str, most: int) -> list[pb.Office]:
        """The offices with these letters in their name or id."""
        found: list[pb.Office] = []
        request = pb.ListOfficesRequest(company_id=company_id, page_size=_READ_AT_A_TIME)
        while len(found) < most:
            part = await self._desk.of.offices.list(request, visit.identity)
            found += [
                each for each in part.offices if sought in each.name.casefold() or sought in each.office_id.casefold()
            ]
            if not part.next_page_token:
                break
            request.page_token = part.next_page_token
        return found[:most]
