"""Calling Credits of an office: its money and its calls as they move, without a reload, and what needs attention."""

import asyncio
import contextlib
import re
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import grpc
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from gateway.address import Address
from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from tests.page.asking import sign_in_by_post
from tests.page.walking import assert_fine_in_every_form, sign_in_to, token_of
from tests.support.billing import DOLLARS
from tests.support.browser import take_screenshots, visiting
from tests.support.page_scene import LONDON, NEW_YORK, USER, PageScene
from tests.support.proxy import FaultProxy

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

MINUTE_MICROS = 20_000
"""Of a call to London (gateway/data/default_rates.csv)."""

LIVE_MS = 15_000.0
"""A page looks every second, and every 5 s at what needs attention."""

PAYMENT_MS = 45_000.0
"""What a payment takes that fails by itself."""


def figure(page: Page, label: str) -> Locator:
    """A figure of the funds, with its hint."""
    return page.get_by_role("region", name="Funds").locator("div", has=page.get_by_text(label, exact=True)).last


def call_row(page: Page, text: str) -> Locator:
    return page.get_by_role("region", name="Calls in progress").get_by_role("row").filter(has_text=text)


async def mark(page: Page) -> None:
    """Leave something in the page that a reload would sweep away."""
    await page.evaluate("document.body.dataset.kept = 'yes'")


async def assert_not_reloaded(page: Page) -> None:
    assert await page.evaluate("document.body.dataset.kept") == "yes"


async def add_slow_card(scene: PageScene, office_id: str) -> str:
    """A confirmed card whose charges take a while: the provider cannot say at first what became of them."""
    deadline = time.monotonic() + PAYMENT_MS / 1000
    while time.monotonic() < deadline:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return await scene.add_confirmed_card(office_id, "tok_unknown_2")
        await asyncio.sleep(0.2)
    raise AssertionError("the card was not added in time")


async def test_money_and_calls_move_while_calls_run(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    await sign_in_to(scene, page, office_id)
    await expect(page).to_have_title("Calling Credits of Springfield · Tollgate")
    await expect(page.get_by_text("Nobody is on a call that is paid from here.")).to_be_visible()
    await expect(figure(page, "Available")).to_contain_text("$10.00")
    await expect(figure(page, "Balance")).to_contain_text("$10.00")
    await mark(page)

    call_id = await scene.begin_call(office_id)
    row = call_row(page, USER).get_by_role("cell")
    whose: list[str | re.Pattern[str]] = [re.compile(r"\d\d:\d\d:\d\d"), USER, "+1 212-555-0142", "+44 20 7946 0958"]
    await expect(row).to_have_text([*whose, "Talking", "0:00", "$0.00", "$0.02"])
    await expect(figure(page, "Available")).to_contain_text("$9.98")
    await expect(figure(page, "Balance")).to_contain_text("$10.00")
    await expect(figure(page, "Balance")).to_contain_text("$0.02 held for calls in progress")

    # A minute has been talked, and the next one is held.
    assert (await scene.tick_call(office_id, call_id, 60)).debited_micros == MINUTE_MICROS
    await expect(row.nth(5)).to_have_text("1:00")
    await expect(row.nth(6)).to_have_text("$0.02")
    await expect(figure(page, "Available")).to_contain_text("$9.96")
    await expect(figure(page, "Balance")).to_contain_text("$9.98")
    await expect(figure(page, "Spent today")).to_contain_text("$0.02")

    # A second call, which is free, and a third that rings.
    free = await scene.begin_call(office_id, NEW_YORK, user_id="free@example.com")
    await expect(call_row(page, "free@example.com").get_by_role("cell").nth(6)).to_have_text("Free")
    await expect(call_row(page, "free@example.com").get_by_role("cell").nth(7)).to_have_text("\u2013")
    await assert_fine_in_every_form(page)
    await scene.begin_call(office_id, user_id="third@example.com", department_id="Sales")
    await expect(page.get_by_role("region", name="Calls in progress").get_by_role("row")).to_have_count(1 + 3)
    await take_screenshots(page, "office")

    await scene.end_call(office_id, call_id, 125)
    await expect(call_row(page, USER)).to_have_count(0)
    await scene.end_call(office_id, free, 30)
    await expect(call_row(page, "free@example.com")).to_have_count(0)
    await expect(figure(page, "Balance")).to_contain_text("$9.94")
    await expect(figure(page, "Available")).to_contain_text("$9.92")
    await assert_not_reloaded(page)


async def test_a_call_that_rings_and_one_that_ends_unanswered(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    await sign_in_to(scene, page, office_id, role=pb.ROLE_VIEWER)
    await mark(page)
    call_id = await scene.begin_call(office_id, direction=call_pb.INBOUND, calling_number="", called_number=NEW_YORK)
    await expect(call_row(page, "+1 212-555-0142")).to_be_visible()
    await scene.end_call(office_id, call_id, 0)
    await expect(page.get_by_text("Nobody is on a call that is paid from here.")).to_be_visible()
    await expect(figure(page, "Balance")).to_contain_text("$1.00")
    await assert_not_reloaded(page)


async def test_the_last_minutes_of_a_call_are_told(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=MINUTE_MICROS * 3 // 2)
    await sign_in_to(scene, page, office_id)
    call_id = await scene.begin_call(office_id)
    await expect(call_row(page, USER)).to_be_visible()
    assert (await scene.tick_call(office_id, call_id, 30)).final_unit
    await expect(call_row(page, USER)).to_contain_text("funds run out")
    await expect(figure(page, "Available")).to_contain_text("$0.01")
    await assert_fine_in_every_form(page)


async def test_calls_are_listed_by_when_they_began(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    for user in ("third", "first", "second"):
        await scene.begin_call(office_id, call_id=f"{user[::-1]}-{office_id}", user_id=user)
    await sign_in_to(scene, page, office_id)
    who = page.get_by_role("region", name="Calls in progress").get_by_role("row").locator("td:nth-child(2)")
    await expect(who).to_have_text(["third", "first", "second"])


async def test_of_many_calls_some_are_shown(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    calls = await asyncio.gather(*(scene.begin_call(office_id) for _ in range(52)))
    await sign_in_to(scene, page, office_id)
    rows = page.get_by_role("region", name="Calls in progress").get_by_role("row")
    await expect(rows).to_have_count(1 + 50)
    await expect(page.get_by_text("And more: these are 50 of them.")).to_be_visible()
    await expect(figure(page, "Available")).to_contain_text("$8.96")
    await asyncio.gather(*(scene.end_call(office_id, call_id, 60) for call_id in calls))
    await expect(rows).to_have_count(0)
    await expect(figure(page, "Balance")).to_contain_text("$8.96")


async def test_limits_of_the_office_are_told(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(
        balance_micros=DOLLARS, credit_limit_micros=25 * DOLLARS, daily_spend_limit_micros=40 * DOLLARS
    )
    request = pb.SetAutoRefillRequest(
        office_id=office_id, enabled=True, threshold_micros=7 * DOLLARS, amount_micros=70 * DOLLARS
    )
    await scene.operator.stub.SetAutoRefill(request)
    await sign_in_to(scene, page, office_id)
    await expect(figure(page, "Available")).to_have_text(re.compile(r"\$26\.00\s*With a credit limit of \$25\.00"))
    await expect(figure(page, "Automatic refill")).to_have_text(re.compile(r"On\s*\$70\.00 when below \$7\.00"))
    await expect(figure(page, "Spent today")).to_have_text(re.compile(r"\$0\.00\s*Of at most \$40\.00"))


async def test_who_may_buy_is_shown_how(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=20 * DOLLARS)
    await sign_in_to(scene, page, office_id)
    await figure(page, "Automatic refill").get_by_role("link", name="Turn it on").click()
    await expect(page.get_by_role("heading", name="Automatic refill", level=1)).to_be_visible()
    await page.get_by_role("link", name="Calling Credits").click()
    await page.get_by_role("link", name="Add Value").click()
    await expect(page.get_by_role("heading", name="Add Value")).to_be_visible()


async def test_low_funds_are_told_until_there_are_more(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=6 * DOLLARS)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_text("Funds are low.")).to_have_count(0)
    await mark(page)
    await scene.operator.adjust(office_id, -2 * DOLLARS)
    await expect(page.get_by_text("Funds are low.")).to_be_visible(timeout=LIVE_MS)
    await assert_fine_in_every_form(page)
    await scene.operator.adjust(office_id, 20 * DOLLARS)
    await expect(page.get_by_text("Funds are low.")).to_have_count(0, timeout=LIVE_MS)
    await expect(figure(page, "Available")).to_contain_text("$24.00")
    await assert_not_reloaded(page)

    await scene.operator.adjust(office_id, -20 * DOLLARS)
    await expect(page.get_by_text("Funds are low.")).to_be_visible(timeout=LIVE_MS)
    # The one thing to do about it stands in the banner; that it leads on is enough here.
    await page.get_by_text("Funds are low.").locator("xpath=ancestor::div[1]").get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Add Value")).to_be_visible()


async def test_blocked_messages_are_told_while_funds_are_short(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=20_000)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_text("Funds are low.")).to_be_visible()
    sent = 0
    while (await scene.send_message(office_id)).decision == call_pb.GRANTED:
        sent += 1
    assert sent == 2
    await expect(page.get_by_text("Messages are being blocked. 1 message was not sent")).to_be_visible(timeout=LIVE_MS)
    for _ in range(2):
        assert (await scene.send_message(office_id)).decision == call_pb.DENIED
    blocked = page.get_by_text("Messages are being blocked. 3 messages were not sent")
    await expect(blocked).to_be_visible(timeout=LIVE_MS)
    await expect(page.get_by_text("Funds are low.")).to_have_count(0)
    await assert_fine_in_every_form(page)
    await scene.operator.adjust(office_id, 20 * DOLLARS)
    await expect(blocked).to_have_count(0, timeout=LIVE_MS)
    # What was blocked before is no news to whoever comes now.
    await page.reload()
    await expect(figure(page, "Available")).to_contain_text("$20.00")
    await expect(blocked).to_have_count(0)


async def test_a_refill_that_failed_is_told_with_its_cause(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=6 * DOLLARS, time_zone="Asia/Kathmandu")
    card_id = await scene.add_confirmed_card(office_id, "tok_declined_after_1")
    request = pb.SetAutoRefillRequest(
        office_id=office_id,
        enabled=True,
        threshold_micros=5 * DOLLARS,
        amount_micros=50 * DOLLARS,
        payment_method_id=card_id,
    )
    await scene.operator.stub.SetAutoRefill(request)
    await sign_in_to(scene, page, office_id)
    await expect(figure(page, "Automatic refill")).to_contain_text("On")
    await mark(page)
    await scene.operator.adjust(office_id, -2 * DOLLARS)
    failed = page.get_by_text("The automatic refill failed.")
    await expect(failed).to_be_visible(timeout=PAYMENT_MS)
    refill = (await scene.operator.office(office_id)).refill
    assert refill.state == pb.REFILL_STATE_WAITING
    again_at = refill.waiting_until.ToDatetime(UTC).astimezone(ZoneInfo("Asia/Kathmandu"))
    await expect(page.get_by_text(f"It is tried again at {again_at:%-d %b %Y, %H:%M}")).to_be_visible(timeout=LIVE_MS)
    await expect(page.get_by_text(re.compile("declined", re.IGNORECASE))).to_be_visible()
    await expect(figure(page, "Automatic refill")).to_contain_text("Waiting to try again")
    await assert_not_reloaded(page)
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name="Check the card").click()
    await expect(page.get_by_role("heading", name="Payment methods")).to_be_visible()

    # The money has come otherwise: nothing is to be done any more.
    await page.get_by_role("link", name="Calling Credits").click()
    await expect(failed).to_be_visible()
    await scene.operator.adjust(office_id, 50 * DOLLARS)
    await expect(failed).to_have_count(0, timeout=LIVE_MS)


async def test_a_refill_that_is_under_way_is_told(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=6 * DOLLARS)
    card_id = await add_slow_card(scene, office_id)
    request = pb.SetAutoRefillRequest(office_id=office_id, enabled=True, payment_method_id=card_id)
    await scene.operator.stub.SetAutoRefill(request)
    await sign_in_to(scene, page, office_id)
    await expect(figure(page, "Automatic refill")).to_contain_text("$50.00 when below $5.00")
    await mark(page)
    await scene.operator.adjust(office_id, -2 * DOLLARS)
    refilling = page.get_by_text("Refilling. $50.00 are being charged to the card.")
    await expect(refilling).to_be_visible(timeout=LIVE_MS)
    await expect(figure(page, "Automatic refill")).to_contain_text("Refilling now")
    await expect(figure(page, "Balance")).to_contain_text("$54.00", timeout=PAYMENT_MS)
    await expect(refilling).to_have_count(0, timeout=LIVE_MS)
    await assert_not_reloaded(page)


async def test_a_suspended_office_is_told_so(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_text("Funds are low.")).to_be_visible()
    await mark(page)
    await scene.operator.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=office_id))
    await expect(page.get_by_text("This office is suspended.")).to_be_visible(timeout=LIVE_MS)
    # More money would not help.
    await expect(page.get_by_text("Funds are low.")).to_have_count(0)
    await assert_fine_in_every_form(page)
    await scene.operator.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=office_id))
    await expect(page.get_by_text("Funds are low.")).to_be_visible(timeout=LIVE_MS)
    await expect(page.get_by_text("This office is suspended.")).to_have_count(0)
    await assert_not_reloaded(page)


async def test_a_viewer_is_told_the_same_and_asked_for_nothing(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, role=pb.ROLE_VIEWER)
    await expect(page.get_by_text("Funds are low.")).to_be_visible()
    await expect(page.get_by_role("main").get_by_role("link", name=re.compile("Add Value|Turn|Check"))).to_have_count(0)
    await expect(figure(page, "Automatic refill")).to_contain_text("Nothing is added by itself")


async def test_a_page_goes_on_after_the_network_was_gone(scene: PageScene, chromium: Browser) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    http = Address.parse(scene.gateway.http)
    async with (
        FaultProxy((http.host, http.port)) as network,
        visiting(chromium, f"http://127.0.0.1:{network.port}") as somebody,
    ):
        page = await somebody.context.new_page()
        await sign_in_to(scene, page, office_id)
        await scene.operator.adjust(office_id, DOLLARS)
        await expect(figure(page, "Balance")).to_contain_text("$11.00")
        await mark(page)

        # What is open is cut, and nothing new goes through; Chromium says so in its console, and htmx does.
        async with page.expect_event("console", lambda said: said.type == "error"):
            await somebody.context.set_offline(True)
            network.cut_all()
        await scene.operator.adjust(office_id, DOLLARS)
        call_id = await scene.begin_call(office_id)
        # What was shown last stays as long as there is no news.
        await expect(figure(page, "Balance")).to_contain_text("$11.00")

        await somebody.context.set_offline(False)
        await expect(figure(page, "Balance")).to_contain_text("$12.00", timeout=LIVE_MS)
        await expect(call_row(page, USER)).to_be_visible()
        await scene.end_call(office_id, call_id, 60)
        await expect(call_row(page, USER)).to_have_count(0)
        await expect(figure(page, "Balance")).to_contain_text("$11.98")
        await assert_not_reloaded(page)
        assert all(each.status is None and each.text.startswith("console:") for each in somebody.problems)
        somebody.problems.clear()


@pytest.mark.parametrize(("time_zone", "country"), [("Asia/Kathmandu", "NP"), ("America/New_York", "US")])
async def test_times_are_those_of_the_office(
    scene: PageScene, page: Page, chromium: Browser, time_zone: str, country: str
) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS, time_zone=time_zone, country=country)
    await scene.begin_call(office_id, calling_number="", direction=call_pb.INBOUND, called_number=LONDON)
    secret = await token_of(scene, office_id)
    for viewer_zone in ("Pacific/Auckland", "UTC"):
        # Wherever the browser is.
        async with visiting(chromium, scene.url, timezone_id=viewer_zone, locale="de-DE") as somebody:
            theirs = await somebody.context.new_page()
            await sign_in_by_post(theirs, secret)
            await theirs.goto(f"/offices/{office_id}")
            for region, form in (("Calls in progress", "%H:%M:%S"), ("Transactions", "%-d %b %Y, %H:%M")):
                shown = theirs.get_by_role("region", name=region).locator("time").first
                at = datetime.fromisoformat(str(await shown.get_attribute("datetime")))
                assert abs((datetime.now(UTC) - at).total_seconds()) < 120
                await expect(shown).to_have_text(at.astimezone(ZoneInfo(time_zone)).strftime(form))


async def test_what_came_in_last_is_listed(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_text("Nothing has been bought yet.")).to_be_visible()
    for amount in (10, 20, 50, 100, 200, 500):
        await scene.buy(office_id, amount * DOLLARS)
    await scene.operator.adjust(office_id, -5 * DOLLARS)
    await page.reload()
    rows = page.get_by_role("region", name="Transactions").get_by_role("row")
    await expect(rows).to_have_count(1 + 5)
    await expect(rows.nth(1)).to_contain_text("Adjustment: a test")
    await expect(rows.nth(1)).to_contain_text("-$5.00")
    await expect(rows.nth(2)).to_contain_text("Purchase")
    await expect(rows.nth(2)).to_contain_text("+$500.00")
    await page.get_by_role("link", name="All transactions").click()
    await expect(page.get_by_role("heading", name="Transactions", level=1)).to_be_visible()
    await expect(rows).to_have_count(1 + 7)


async def test_without_scripts_the_page_is_as_of_when_it_was_loaded(scene: PageScene, chromium: Browser) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    await scene.begin_call(office_id)
    secret = await token_of(scene, office_id)
    async with visiting(chromium, scene.url, java_script_enabled=False) as somebody:
        page = await somebody.context.new_page()
        await page.goto(f"/offices/{office_id}")
        await page.get_by_label("Your token").fill(secret)
        await page.get_by_role("button", name="Sign in").click()
        await expect(call_row(page, USER)).to_be_visible()
        await expect(page.get_by_text("Funds are low.")).to_be_visible()
        await scene.operator.adjust(office_id, 50 * DOLLARS)
        await page.reload()
        await expect(figure(page, "Balance")).to_contain_text("$51.00")
        await expect(page.get_by_text("Funds are low.")).to_have_count(0)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
