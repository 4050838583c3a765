"""The month by the gateway's usage report: waited for, held against the demo's own books, and shown."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import grpc

from gateway.cli.demo.books import BooksError
from gateway.cli.demo.cast import CORNER, OFFICE_IDS, present_month
from gateway.cli.demo.stage import Stage
from gateway.cli.output import NOTHING, columns, money, short_name
from gateway.client_channel import fault_of
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2

RECORDED_SECONDS: Final = 20.0
"""The journal takes what is over from the store once it is on the store's disk: a second or so."""

CSV_RECORDS: Final = 3

_LOOK_SECONDS: Final = 0.1


class Report:
    """Shows it once.

    Args:
        stage: What was played on.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def show(self) -> None:
        """Wait for the records of all calls and messages, check what they cost, and show the month.

        Raises:
            BooksError: A record is missing, or has another cost than was quoted.
            grpc.RpcError: The gateway did not answer as it must.
        """
        checked = sum([await self._check(office_id) for office_id in OFFICE_IDS])
        months = {office_id: present_month(office_id) for office_id in OFFICE_IDS}
        summaries = [await self._summary(office_id, months[office_id]) for office_id in OFFICE_IDS]
        screen = self._stage.screen
        screen.title(f"Their usage of {' and '.join(sorted(set(months.values())))}: how many, and what they cost")
        screen.lines(usage_table(summaries))
        screen.say(f"All {checked} calls and messages have their record, at the cost that they were quoted.", "green")
        screen.title(f"The same as CSV, call by call: tollgate usage export {CORNER} {months[CORNER]}")
        screen.lines(await self._csv(months[CORNER]), "dim")

    async def _check(self, office_id: str) -> int:
        """Hold the records of an office against the books; returns how many there are."""
        costs = self._stage.books.costs_micros(office_id)
        try:
            async with asyncio.timeout(RECORDED_SECONDS):
                for id_, must_micros in costs.items():
                    record = await self._record(office_id, id_)
                    if record.cost_micros != must_micros:
                        raise BooksError(
                            f"{id_} of {office_id} cost {must_micros} micros, and {record.cost_micros} by its record"
                        )
        except TimeoutError:
            raise BooksError(f"a usage record of {office_id} did not come") from None
        return len(costs)

    async def _record(self, office_id: str, id_: str) -> credits_pb2.UsageRecord:
        while True:
            try:
                answer = await self._stage.admin.ExplainCall(
                    credits_pb2.ExplainCallRequest(office_id=office_id, call_id=id_)
                )
            except grpc.RpcError as error:
                # A message lives nowhere but in its record.
                if fault_of(error).code != "NOT_FOUND":
                    raise
            else:
                if answer.HasField("record"):
                    return answer.record
            await asyncio.sleep(_LOOK_SECONDS)

    async def _summary(self, office_id: str, month: str) -> Sequence[credits_pb2.UsageTotal]:
        request = credits_pb2.UsageSummaryRequest(office_id=office_id, month=month)
        return (await self._stage.admin.UsageSummary(request)).totals

    async def _csv(self, month: str) -> list[str]:
        """The headings and the first records."""
        text = b""
        request = credits_pb2.ExportUsageRequest(office_id=CORNER, month=month)
        async for answer in self._stage.admin.ExportUsage(request):
            text += answer.chunk
        return text.decode().split("\r\n")[: 1 + CSV_RECORDS]


def usage_table(summaries: Sequence[Sequence[credits_pb2.UsageTotal]]) -> Iterator[str]:
    """A line a category, and two columns an office, in the order of the offices."""
    headings = ["category"]
    for office_id in OFFICE_IDS:
        headings += [office_id, "cost"]
    # All categories are in every summary; beside them there may be refused numbers, which have none.
    known = [[total for total in totals if total.category] for totals in summaries]
    rows = [[_name_of(totals[0].category), *_cells(totals)] for totals in zip(*known, strict=True)]
    everything = [
        credits_pb2.UsageTotal(
            count=sum(each.count for each in totals), cost_micros=sum(each.cost_micros for each in totals)
        )
        for totals in summaries
    ]
    rows.append(["all", *_cells(everything)])
    blocked = [sum(total.blocked for total in totals) for totals in summaries]
    rows.append(["refused or blocked", *(cell for count in blocked for cell in (f"{count or NOTHING}", NOTHING))])
    yield from columns(headings, rows)


def _cells(totals: Sequence[credits_pb2.UsageTotal]) -> Iterator[str]:
    for total in totals:
        yield f"{total.count}" if total.count else NOTHING
        yield money(total.cost_micros) if total.count else NOTHING


def _name_of(category: pb.Category.ValueType) -> str:
    return short_name(pb.Category.Name(category), "CATEGORY_").replace("_", "-")
