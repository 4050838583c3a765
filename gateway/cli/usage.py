"""`tollgate usage`: the report of calls and messages."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.cli.output import NOTHING, columns, instant, money, short_name
from gateway.cli.whole_file import written_whole
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb

Month: TypeAlias = Annotated[str, typer.Argument(metavar="MONTH", help="As YYYY-MM, in the office's time zone.")]


class CategoryName(StrEnum):
    """The lines of the report."""

    EMERGENCY = "emergency"
    LOCAL = "local"
    INTERNATIONAL = "international"
    TOLL_FREE = "toll-free"
    MESSAGE = "message"
    FAX = "fax"


class OrderName(StrEnum):
    """What is first in the list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    COSTLIEST = "costliest"
    LONGEST = "longest"


_ORDERS: Final = {
    OrderName.NEWEST: pb.USAGE_ORDER_UNSPECIFIED,
    OrderName.OLDEST: pb.USAGE_ORDER_OLDEST_FIRST,
    OrderName.COSTLIEST: pb.USAGE_ORDER_COSTLIEST_FIRST,
    OrderName.LONGEST: pb.USAGE_ORDER_LONGEST_FIRST,
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The usage report.", no_args_is_help=True, rich_markup_mode=None)
    group.command("summary")(summary)
    group.command("breakdown")(breakdown)
    group.command("list")(show_all)
    group.command("export")(export)
    app.add_typer(group, name="usage")


@asks_gateway
async def summary(client: Client, office: OfficeId, month: Month) -> None:
    """Sum a month up by category; what was blocked is counted apart, and costs nothing."""
    answer = await client.credits.UsageSummary(pb.UsageSummaryRequest(office_id=office, month=month))
    rows = [
        (_category(total.category), f"{total.count}", money(total.cost_micros), f"{total.blocked}")
        for total in answer.totals
    ]
    rows.append(
        (
            "all",
            f"{sum(total.count for total in answer.totals)}",
            money(sum(total.cost_micros for total in answer.totals)),
            f"{sum(total.blocked for total in answer.totals)}",
        )
    )
    client.show(answer, columns(("CATEGORY", "COUNT", "COST", "BLOCKED"), rows))


@asks_gateway
async def breakdown(client: Client, office: OfficeId, month: Month) -> None:
    """Sum a month up by day, as far as it has come, and by department; what was blocked is not in it."""
    answer = await client.credits.UsageBreakdown(pb.UsageBreakdownRequest(office_id=office, month=month))
    client.show(answer, _parts(answer))


@asks_gateway
async def show_all(
    client: Client,
    office: OfficeId,
    month: Month,
    *,
    category: Annotated[CategoryName | None, typer.Option(help="Only these.")] = None,
    user: Annotated[str, typer.Option(help="Only those of this user_id.")] = "",
    department: Annotated[str, typer.Option(help="Only those of this department_id.")] = "",
    order: Annotated[OrderName, typer.Option(help="What is first.")] = OrderName.NEWEST,
    limit: Annotated[int, typer.Option(min=1, help="How many at most; all of a large month are for `export`.")] = 100,
) -> None:
    """List a month's calls and messages; times are in UTC."""
    whole = pb.ListUsageResponse()
    request = pb.ListUsageRequest(
        office_id=office,
        month=month,
        category=authorization_pb2.Category.Value(f"CATEGORY_{'UNSPECIFIED' if category is None else category.name}"),
        user_id=user,
        department_id=department,
        order=_ORDERS[order],
    )
    while True:
        request.page_size = min(limit - len(whole.records), 1_000)
        page = await client.credits.ListUsage(request)
        whole.records.extend(page.records)
        request.page_token = whole.next_page_token = page.next_page_token
        if not page.next_page_token or len(whole.records) >= limit:
            break
    client.show(whole, _table(whole))


@asks_gateway
async def export(
    client: Client,
    office: OfficeId,
    month: Month,
    *,
    output: Annotated[Path | None, typer.Option(help="Where to write it; standard output if not given.")] = None,
) -> None:
    """Export a month's calls and messages as CSV, oldest first."""
    chunks = client.credits.ExportUsage(pb.ExportUsageRequest(office_id=office, month=month))
    with written_whole(output, "records") as file:
        async for answer in chunks:
            file.write(answer.chunk)


def _parts(answer: pb.UsageBreakdownResponse) -> Iterator[str]:
    days = [(day.date, f"{day.count}", money(day.cost_micros)) for day in answer.days]
    yield from columns(("DAY", "COUNT", "COST"), days)
    departments = [
        ("the rest" if each.is_rest else each.department_id or NOTHING, f"{each.count}", money(each.cost_micros))
        for each in answer.departments
    ]
    if departments:
        yield ""
        yield from columns(("DEPARTMENT", "COUNT", "COST"), departments)


def _table(answer: pb.ListUsageResponse) -> Iterator[str]:
    rows = [
        (
            instant(record.started_at),
            _category(record.category),
            record.user_id or NOTHING,
            record.department_id or NOTHING,
            record.calling_number or NOTHING,
            record.called_number or NOTHING,
            f"{record.duration_seconds}",
            money(record.cost_micros),
            _what_became_of(record),
            record.id,
        )
        for record in answer.records
    ]
    headings = ("STARTED", "CATEGORY", "USER", "DEPARTMENT", "CALLING", "CALLED", "LASTED s", "COST", "", "ID")
    yield from columns(headings, rows)
    if answer.next_page_token:
        yield "there are more: --limit shows them"


def _what_became_of(record: pb.UsageRecord) -> str:
    if record.decision == authorization_pb2.DENIED:
        return f"blocked: {authorization_pb2.Reason.Name(record.reason)}"
    if record.refunded:
        return "refunded"
    return "lapsed" if record.state == pb.CALL_STATE_LAPSED else ""


def _category(category: authorization_pb2.Category.ValueType) -> str:
    if not category:
        return "unknown"
    return short_name(authorization_pb2.Category.Name(category), "CATEGORY_").replace("_", "-")
