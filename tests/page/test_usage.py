"""Usage of an office: a month's totals, where the money went, each record and why, and all of it as CSV."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from gateway.domain.vocabulary import Category
from gateway.page.formats import CATEGORIES, money
from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from tests.page.asking import get, sign_in_by_post
from tests.page.walking import assert_fine_in_every_form, sign_in_to, token_of
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, take_screenshots, visiting
from tests.support.page_scene import NEW_YORK, PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

PAGE_SIZE = 50
ZONE = "America/New_York"


def this_month() -> str:
    return datetime.now(ZoneInfo(ZONE)).strftime("%Y-%m")


async def make_busy_office(scene: PageScene) -> str:
    """An office that used some of everything, in two departments and none."""
    office_id = await scene.create_office(balance_micros=DOLLARS)
    ann: dict[str, Any] = {"user_id": "ann", "department_id": "Sales"}
    bob: dict[str, Any] = {"user_id": "bob", "department_id": "Support"}
    await asyncio.gather(
        scene.place_call(office_id, talk_seconds=61, **ann),
        scene.place_call(office_id, talk_seconds=600, **ann),
        scene.place_call(office_id, talk_seconds=5, **bob),
        scene.place_call(office_id, NEW_YORK, talk_seconds=1_200, **bob),
        scene.place_call(office_id, "911", talk_seconds=30, user_id="", department_id=""),
        scene.place_call(office_id, talk_seconds=60, service=call_pb.FAX, user_id="fax", department_id=""),
        scene.send_message(office_id, **ann),
        scene.send_message(office_id, segments=3, **bob),
    )
    await scene.operator.adjust(office_id, -await scene.operator.balance(office_id))
    assert (await scene.send_message(office_id, **ann)).decision == call_pb.DENIED
    await scene.operator.wait_usage(office_id, 9)
    return office_id


async def make_many_calls(scene: PageScene, count: int) -> str:
    """An office with so many calls, each longer than the one before, of two team members by turns."""
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    for number in range(count):
        await scene.place_call(office_id, talk_seconds=number + 1, user_id=("ann", "bob")[number % 2])
    await scene.operator.wait_usage(office_id, count)
    return office_id


def records(page: Page) -> Locator:
    """The rows of the records, without their heads."""
    return page.get_by_role("region", name="Calls and messages").locator("tbody").get_by_role("row")


async def column(page: Page, number: int) -> list[str]:
    cells = records(page).locator(f"td:nth-child({number})")
    return [text.strip() for text in await cells.all_text_contents()]


async def durations(page: Page) -> list[int]:
    """In seconds; all are shorter than an hour."""
    return [
        int(minutes) * 60 + int(seconds) for minutes, seconds in (each.split(":") for each in await column(page, 6))
    ]


@asynccontextmanager
async def usage_of(
    scene: PageScene, chromium: Browser, office_id: str, query: str = "", *, scripts: bool = True
) -> AsyncIterator[Page]:
    """The page as somebody sees it, with scripts or without."""
    secret = await token_of(scene, office_id, pb.ROLE_VIEWER)
    async with visiting(chromium, scene.url, java_script_enabled=scripts) as somebody:
        page = await somebody.context.new_page()
        await sign_in_by_post(page, secret)
        await page.goto(f"/offices/{office_id}/usage{query}")
        yield page


async def exported(scene: PageScene, office_id: str, month: str) -> bytes:
    stream = scene.operator.stub.ExportUsage(pb.ExportUsageRequest(office_id=office_id, month=month))
    return b"".join([each.chunk async for each in stream])


async def test_a_month_is_summed_up(scene: PageScene, page: Page) -> None:
    office_id, month = await make_busy_office(scene), this_month()
    of = scene.operator.stub
    summary = await of.UsageSummary(pb.UsageSummaryRequest(office_id=office_id, month=month))
    breakdown = await of.UsageBreakdown(pb.UsageBreakdownRequest(office_id=office_id, month=month))
    total_micros = sum(each.cost_micros for each in summary.totals)
    assert total_micros > 0
    await sign_in_to(scene, page, office_id, "/usage")
    await expect(page).to_have_title(re.compile("^Usage of Springfield, "))

    totals = page.get_by_role("region", name=money(total_micros, "USD"))
    for each in summary.totals:
        what = "message" if int(each.category) == Category.MESSAGE else "call"
        count = f"{each.count} {what}{'' if each.count == 1 else 's'}"
        blocked = f", {each.blocked} blocked" if each.blocked else ""
        shown = totals.locator("div", has=page.get_by_text(CATEGORIES[each.category], exact=True)).last
        pattern = rf"{CATEGORIES[each.category]}\s*{re.escape(money(each.cost_micros, 'USD'))}\s*{count}{blocked}\s*"
        await expect(shown).to_have_text(re.compile(f"^{pattern}$"))
    assert {int(each.category): each.count for each in summary.totals if each.count} == {
        Category.EMERGENCY: 1,
        Category.LOCAL: 1,
        Category.INTERNATIONAL: 3,
        Category.FAX: 1,
        Category.MESSAGE: 2,
    }

    days = [(each.date, each.count, each.cost_micros) for each in breakdown.days]
    bars = page.get_by_role("img", name="Cost by day").locator("title")
    await expect(bars).to_have_text([f"{date}: {money(cost, 'USD')}" for date, _, cost in days])
    await page.get_by_text("As a table").click()
    table = page.get_by_role("region", name="Cost by day").get_by_role("table").locator("tbody").get_by_role("row")
    await expect(table).to_have_text(
        [re.compile(rf"{date}\s*{count}\s*{re.escape(money(cost, 'USD'))}") for date, count, cost in days]
    )
    assert sum(cost for *_, cost in days) == total_micros

    departments = page.get_by_role("region", name="Cost by department").get_by_role("row")
    await expect(departments).to_have_count(1 + len(breakdown.departments))
    for part in breakdown.departments:
        row = departments.filter(has_text=part.department_id or "No department")
        await expect(row.get_by_role("cell")).to_have_text(money(part.cost_micros, "USD"))
    assert [each.department_id for each in breakdown.departments] == ["Sales", "", "Support"]
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "usage")


async def test_a_month_in_which_nothing_was_used(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, "/usage")
    await expect(page.get_by_role("heading", name=re.compile(r": \$0\.00$"))).to_be_visible()
    await expect(page.get_by_text("Nothing was used.")).to_be_visible()
    await expect(page.get_by_text("Nothing fits.")).to_be_visible()
    await assert_fine_in_every_form(page)
    # A month before there was an office is one with nothing, too.
    await page.goto(f"/offices/{office_id}/usage?month=2020-02")
    await expect(page.get_by_role("heading", name="February 2020: $0.00")).to_be_visible()
    await expect(page.get_by_label("Month")).to_have_value("2020-02")
    await expect(page.get_by_role("img", name="Cost by day").locator("title")).to_have_count(29)
    await page.get_by_label("Month").select_option(this_month())
    await page.get_by_role("button", name="Show").first.click()
    await expect(page.get_by_role("heading", name=re.compile(r": \$0\.00$"))).not_to_contain_text("February")
    assert urlsplit(page.url).query == f"month={this_month()}"


@pytest.mark.parametrize("part", ["usage", "usage/records", "usage/export"])
async def test_what_is_no_month_is_told_with_a_cure(scene: PageScene, page: Page, part: str) -> None:
    office_id = await scene.create_office()
    await sign_in_by_post(page, await token_of(scene, office_id))
    for month, told in (
        ("2999-01", f"Month: is still to come: the latest is {this_month()}, the present one in {ZONE}"),
        ("2026", "Month: must be a month as YYYY-MM"),
        ("2026-13", "Month: must be a month as YYYY-MM"),
        ("2026-00", "Month: must be a month as YYYY-MM"),
        ("2026-1", "Month: must be a month as YYYY-MM"),
        ("2026-01-01", "Month: must be a month as YYYY-MM"),
        ("0000-01", "Month: must be a month as YYYY-MM"),
        ("1969-12", "Month: must be a month as YYYY-MM"),
        ("9999-12", "Month: must be a month as YYYY-MM"),
        ("November 2026", "Month: must be a month as YYYY-MM"),
        ("-1", "Month: must be a month as YYYY-MM"),
        ("\u0662\u0660\u0662\u0666-\u0661\u0661", "Month: must be a month as YYYY-MM"),
        ("<script>alert(1)</script>", "Month: must be a month as YYYY-MM"),
        ("9" * 5_000, "Month: must be a month as YYYY-MM"),
        ("2026-01\x00", "Month: must be a month as YYYY-MM"),
    ):
        answer = await get(page, f"/offices/{office_id}/{part}?month={quote(month)}")
        assert (month, answer.status) == (month, 400)
        assert told in await answer.text()
        assert "content-disposition" not in answer.headers


async def test_a_month_to_come_is_a_page_that_leads_on(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    visitor.expect_status(400)
    await sign_in_by_post(page, await token_of(scene, office_id))
    await page.goto(f"/offices/{office_id}/usage?month=2999-01")
    await expect(page.get_by_text("is still to come")).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name="To the offices").click()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()


async def test_records_are_filtered_and_sorted_in_place(scene: PageScene, page: Page) -> None:
    office_id = await make_busy_office(scene)
    await sign_in_to(scene, page, office_id, "/usage")
    await expect(records(page)).to_have_count(9)
    await page.evaluate("document.body.dataset.kept = 'yes'")
    category, order = page.get_by_label("Category"), page.get_by_label("Order")
    for word, count in (("fax", 1), ("message", 3), ("international", 3), ("emergency", 1), ("toll_free", 0), ("", 9)):
        await category.select_option(word)
        await expect(records(page)).to_have_count(count)
    await expect(page.get_by_text("Nothing fits.")).to_have_count(0)

    await order.select_option("Longest first")
    await expect(records(page).first).to_contain_text("20:00")
    found = [each for each in await column(page, 6) if ":" in each]
    assert found == ["20:00", "10:00", "1:01", "1:00", "0:30", "0:05", *found[6:]]
    await order.select_option("Costliest first")
    await expect(records(page).first.get_by_role("cell").nth(6)).to_have_text("$0.20")
    costs = [float(each.removeprefix("$")) for each in await column(page, 7)]
    assert costs == sorted(costs, reverse=True)

    # Text is taken when the field is left, or by the button, or by Enter.
    await page.get_by_role("textbox", name="Department").fill("Support")
    await page.get_by_role("textbox", name="Team member").focus()
    await expect(records(page)).to_have_count(3)
    await page.get_by_role("textbox", name="Team member").fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing fits.")).to_be_visible()
    await page.get_by_role("textbox", name="Department").fill("")
    await page.get_by_role("textbox", name="Team member").fill(" ann ")
    await page.get_by_role("region", name="Calls and messages").get_by_role("button", name="Show").click()
    await expect(records(page)).to_have_count(4)
    await category.select_option("message")
    await expect(records(page)).to_have_count(2)
    await expect(records(page).filter(has_text="Blocked: not enough funds")).to_have_count(1)
    assert await page.evaluate("document.body.dataset.kept") == "yes"
    await assert_fine_in_every_form(page)


async def test_a_filter_that_cannot_be_is_told_where_the_table_was(
    scene: PageScene, page: Page, visitor: Visitor
) -> None:
    office_id = await make_many_calls(scene, 2)
    visitor.expect_status(400)
    await sign_in_to(scene, page, office_id, "/usage")
    await page.get_by_role("textbox", name="Team member").fill("Zoë")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("User id: must be 1 to 128 printable ASCII characters")
    await expect(page.get_by_role("heading", level=1)).to_have_text(["Usage"])
    await page.get_by_role("textbox", name="Team member").fill("ann")
    await page.keyboard.press("Enter")
    await expect(records(page)).to_have_count(1)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_filters_that_no_menu_has_are_refused(scene: PageScene, page: Page) -> None:
    office_id = await make_many_calls(scene, 1)
    await sign_in_by_post(page, await token_of(scene, office_id))
    for query in (
        "category=none",
        "category=2",
        "category=LOCAL",
        "order=cheapest",
        "order=0",
        "user=" + "x" * 129,
        "user=%00",
        "user=%C3%A4",
        "department=a%0Ab",
        "department=" + "x" * 5_000,
        "page=x",
        "page=AAAA",
        "page=" + "A" * 5_000,
        "page=%3Cscript%3E",
    ):
        for part in ("usage", "usage/records"):
            answer = await get(page, f"/offices/{office_id}/{part}?{query}")
            assert (query, answer.status) == (query, 400)
    # The page of one list is none of another.
    many = await make_many_calls(scene, PAGE_SIZE + 1)
    listed = await scene.operator.stub.ListUsage(
        pb.ListUsageRequest(office_id=many, month=this_month(), page_size=PAGE_SIZE)
    )
    assert listed.next_page_token
    token = quote(listed.next_page_token)
    await sign_in_by_post(page, await token_of(scene, many))
    assert (await get(page, f"/offices/{many}/usage?month={this_month()}&page={token}")).status == 200
    for query in ("order=longest", "user=ann", "category=local", "month=2020-01"):
        assert (await get(page, f"/offices/{many}/usage?{query}&page={token}")).status == 400


@pytest.mark.parametrize("scripts", [True, False])
async def test_records_are_paged_through(scene: PageScene, chromium: Browser, scripts: bool) -> None:
    office_id = await make_many_calls(scene, PAGE_SIZE * 2 + 3)
    async with usage_of(scene, chromium, office_id, "?order=longest", scripts=scripts) as page:
        seen: list[int] = []
        urls: list[str] = []
        for count in (PAGE_SIZE, PAGE_SIZE, 3):
            await expect(records(page)).to_have_count(count)
            # Each page begins where the one before has ended.
            await expect(records(page).first).to_contain_text(clock(PAGE_SIZE * 2 + 3 - len(seen)))
            seen += await durations(page)
            urls.append(page.url)
            if count == PAGE_SIZE:
                await page.get_by_role("link", name="Next page").click()
        assert seen == list(range(PAGE_SIZE * 2 + 3, 0, -1))
        await expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        assert len(set(urls)) == 3, "each page has its address"

        # Back and forward again, as with any page, and whoever gets the address sees the same.
        await page.go_back()
        await expect(records(page).first).to_contain_text(clock(PAGE_SIZE + 3))
        await page.go_forward()
        await expect(records(page).first).to_contain_text(clock(3))
        await page.reload()
        await expect(records(page)).to_have_count(3)
        await expect(page.get_by_label("Order")).to_have_value("longest")
        await page.get_by_role("link", name="First page").click()
        await expect(records(page).first).to_contain_text(clock(PAGE_SIZE * 2 + 3))
        await expect(page.get_by_role("link", name="First page")).to_have_count(0)


def clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


async def test_without_scripts_the_form_does_the_same(scene: PageScene, chromium: Browser) -> None:
    office_id = await make_many_calls(scene, 6)
    async with usage_of(scene, chromium, office_id, scripts=False) as page:
        assert await durations(page) == [6, 5, 4, 3, 2, 1]
        await page.get_by_label("Order").select_option("Oldest first")
        await page.get_by_role("textbox", name="Team member").fill("bob")
        await page.get_by_role("region", name="Calls and messages").get_by_role("button", name="Show").click()
        await expect(records(page)).to_have_count(3)
        assert await durations(page) == [2, 4, 6]
        await expect(page.get_by_label("Order")).to_have_value("oldest")
        await expect(page.get_by_role("textbox", name="Team member")).to_have_value("bob")
        assert urlsplit(page.url).path == f"/offices/{office_id}/usage"
        await page.get_by_label("Category").select_option("Fax")
        await page.get_by_role("region", name="Calls and messages").get_by_role("button", name="Show").click()
        await expect(page.get_by_text("Nothing fits.")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
async def test_the_export_is_what_the_api_exports(
    scene: PageScene, chromium: Browser, tmp_path: Path, scripts: bool
) -> None:
    office_id, month = await make_busy_office(scene), this_month()
    async with usage_of(scene, chromium, office_id, scripts=scripts) as page:
        async with page.expect_download() as coming:
            await page.get_by_role("link", name="Export CSV").click()
        download = await coming.value
        assert download.suggested_filename == f"usage-{office_id}-{month}.csv"
        await download.save_as(tmp_path / "usage.csv")
    found = (tmp_path / "usage.csv").read_bytes()
    assert found == await exported(scene, office_id, month)
    assert found.count(b"\n") == 1 + 9


async def test_the_export_is_of_the_month_that_is_shown(scene: PageScene, page: Page) -> None:
    office_id = await make_many_calls(scene, 1)
    await sign_in_by_post(page, await token_of(scene, office_id))
    await page.goto(f"/offices/{office_id}/usage?month=2020-02")
    link = await page.get_by_role("link", name="Export CSV").get_attribute("href")
    answer = await page.request.get(str(link))
    assert await answer.body() == await exported(scene, office_id, "2020-02")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="usage-{office_id}-2020-02.csv"'


async def explained(scene: PageScene, office_id: str, thing_id: str) -> Sequence[str]:
    request = pb.ExplainCallRequest(office_id=office_id, call_id=thing_id)
    return list((await scene.operator.stub.ExplainCall(request)).steps)


async def test_each_record_is_explained(scene: PageScene, page: Page) -> None:
    office_id = await make_busy_office(scene)
    await sign_in_to(scene, page, office_id, "/usage?order=oldest")
    rows = {each.id: each for each in await scene.operator.usage(office_id)}
    assert len(rows) == 9
    for thing_id, record in rows.items():
        await page.goto(f"/offices/{office_id}/usage?order=oldest")
        link = page.locator(f'a[href$="/usage/record?id={thing_id}"]')
        await link.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("What it cost, and why")
        steps = await explained(scene, office_id, thing_id)
        assert steps
        await expect(page.get_by_role("listitem")).to_have_text(steps)
        await expect(page.get_by_text(thing_id, exact=True)).to_be_visible()
        await expect(page.get_by_text(money(record.cost_micros, "USD"), exact=True).first).to_be_visible()
        at = record.started_at.ToDatetime(UTC).astimezone(ZoneInfo(ZONE))
        await expect(page.get_by_text(at.strftime("%-d %b %Y, %H:%M"))).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name="Back to Usage").click()
    await expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()


async def test_a_call_that_goes_on_is_explained_as_far_as_it_has_come(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    call_id = await scene.begin_call(office_id)
    await sign_in_to(scene, page, office_id, f"/usage/record?id={call_id}")
    await expect(page.get_by_role("listitem")).to_have_text(await explained(scene, office_id, call_id))
    await expect(page.get_by_text(call_id, exact=True)).to_be_visible()


async def test_a_record_that_is_none_is_told(scene: PageScene, page: Page) -> None:
    office_id, other_id = await make_many_calls(scene, 1), await make_many_calls(scene, 1)
    (of_another,) = await scene.operator.usage(other_id)
    await sign_in_by_post(page, await token_of(scene, office_id))
    for thing_id, status, told in (
        ("no-such-call", 404, "Nothing of this id is known"),
        (of_another.id, 404, "Nothing of this id is known"),
        ("<script>alert(1)</script>", 404, "Nothing of this id is known"),
        ("' OR 1=1 --", 404, "Nothing of this id is known"),
        ("", 400, "Call id: must be 1 to 128 printable ASCII characters"),
        ("x" * 129, 400, "Call id: must be 1 to 128 printable ASCII characters"),
        ("\u00e9", 400, "Call id: must be 1 to 128 printable ASCII characters"),
        ("a\nb", 400, "Call id: must be 1 to 128 printable ASCII characters"),
    ):
        answer = await get(page, f"/offices/{office_id}/usage/record?id={quote(thing_id)}")
        assert (thing_id, answer.status) == (thing_id, status)
        assert told in await answer.text()


async def test_times_are_those_of_the_office(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS, time_zone="Asia/Kathmandu")
    await scene.place_call(office_id)
    month = datetime.now(ZoneInfo("Asia/Kathmandu")).strftime("%Y-%m")
    request = pb.ListUsageRequest(office_id=office_id, month=month)
    await scene.operator.wait_usage(office_id, 1)
    (record,) = (await scene.operator.stub.ListUsage(request)).records
    await sign_in_to(scene, page, office_id, "/usage")
    await expect(page.get_by_label("Month")).to_have_value(month)
    at = record.started_at.ToDatetime(UTC).astimezone(ZoneInfo("Asia/Kathmandu"))
    await expect(records(page)).to_contain_text(at.strftime("%-d %b %Y, %H:%M"))
    bar = page.get_by_role("img", name="Cost by day").locator("title").last
    await expect(bar).to_have_text(f"{at:%Y-%m-%d}: $0.02")
