"""The operator's view: decisions as they are made, why, and the refills that are not through."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Locator, Page, expect

from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from tests.page.walking import assert_fine_in_every_form, sign_in
from tests.support.billing import DOLLARS
from tests.support.browser import take_screenshots
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

LIVE_MS = 15_000.0
"""Decisions are sampled every second, the queue is looked at every fifth."""

PAYMENT_MS = 45_000.0


async def sign_in_as_operator(scene: PageScene, page: Page) -> None:
    await sign_in(page, await scene.create_token(pb.ROLE_OPERATOR))
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Operator").click()
    await expect(page.get_by_role("heading", name="Operator", level=1)).to_be_visible()


def figure(page: Page, label: str) -> Locator:
    return page.get_by_role("main").locator("div", has=page.get_by_text(label, exact=True)).last


def reason(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Decisions").get_by_role("row").filter(has_text=name)


def queued(page: Page, office_id: str) -> Locator:
    """The row of an office's refill."""
    link = page.get_by_role("link", name=office_id, exact=True)
    return page.get_by_role("region", name="Refills that are not through").get_by_role("row").filter(has=link)


async def pay_outside(scene: PageScene, office_id: str) -> None:
    """Close the first refill of an office with money that has come otherwise."""
    request = pb.AdjustBalanceRequest(
        office_id=office_id,
        amount_micros=50 * DOLLARS,
        reason="a transfer has come",
        idempotency_key=office_id,
        refill_id=f"{office_id}/1",
    )
    await scene.operator.stub.AdjustBalance(request)


@asynccontextmanager
async def traffic(scene: PageScene, office_id: str, poor_id: str) -> AsyncIterator[None]:
    """Calls and messages one after another, granted and denied, until the block ends."""

    async def place() -> None:
        while True:
            await scene.place_call(office_id, talk_seconds=1)
            await scene.place_call(office_id, "911", talk_seconds=1)
            assert (await scene.send_message(poor_id)).decision == call_pb.DENIED
            await asyncio.sleep(0.02)

    placing = asyncio.create_task(place())
    try:
        yield
        assert not placing.done(), placing
    finally:
        placing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await placing


async def test_decisions_move_while_calls_are_placed(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=100 * DOLLARS)
    poor_id = await scene.create_office()
    await sign_in_as_operator(scene, page)
    await expect(page).to_have_title("Operator · Tollgate")
    await page.evaluate("document.body.dataset.kept = 'yes'")
    await expect(figure(page, "A second")).to_be_visible(timeout=LIVE_MS)
    async with traffic(scene, office_id, poor_id):
        some = re.compile(r"A second\s*[1-9][\d,]*\s*[1-9][\d,]* of them denied")
        await expect(figure(page, "A second")).to_have_text(some, timeout=LIVE_MS)
        for name, words in (
            ("FUNDED", "Paid from credits"),
            ("EMERGENCY", "Emergency call"),
            ("INSUFFICIENT_FUNDS", "Blocked: not enough funds"),
        ):
            row = reason(page, f"{name} {words}")
            await expect(row.get_by_role("cell")).to_have_text(re.compile(r"^(?!0\.0$)[\d,]+\.\d$"))
        await expect(page.get_by_role("img", name="Decisions a second")).to_be_visible()
        await assert_fine_in_every_form(page)
        await take_screenshots(page, "operator")
    await expect(page.get_by_text("Nothing is being decided.")).to_be_visible(timeout=LIVE_MS)
    await expect(figure(page, "A second")).to_have_text(re.compile(r"A second\s*0\s*0 of them denied"))
    await expect(reason(page, "FUNDED")).to_have_count(0)
    assert await page.evaluate("document.body.dataset.kept") == "yes"


async def test_calls_in_progress_are_counted(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    await sign_in_as_operator(scene, page)
    await expect(figure(page, "Live calls")).to_be_visible(timeout=LIVE_MS)
    before = await live_calls(page)
    calls = [await scene.begin_call(office_id) for _ in range(3)]
    # Other tests have calls of their own, which nobody ends meanwhile.
    await expect(figure(page, "Live calls")).to_contain_text(f"Live calls{before + 3}", timeout=LIVE_MS)
    for call_id in calls:
        await scene.end_call(office_id, call_id, 1)
    await expect(figure(page, "Live calls")).to_contain_text(f"Live calls{before}", timeout=LIVE_MS)


async def live_calls(page: Page) -> int:
    found = re.match(r"\s*Live calls\s*([\d,]+)", await figure(page, "Live calls").inner_text())
    assert found is not None
    return int(found[1].replace(",", ""))


async def test_a_refill_that_waits_is_in_the_queue(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=6 * DOLLARS)
    card_id = await scene.add_confirmed_card(office_id, "tok_declined_after_1")
    request = pb.SetAutoRefillRequest(
        office_id=office_id, enabled=True, amount_micros=70 * DOLLARS, payment_method_id=card_id
    )
    await scene.operator.stub.SetAutoRefill(request)
    await sign_in_as_operator(scene, page)
    await expect(queued(page, office_id)).to_have_count(0)
    await page.evaluate("document.body.dataset.kept = 'yes'")
    await scene.operator.adjust(office_id, -2 * DOLLARS)
    row = queued(page, office_id).get_by_role("cell")
    await expect(row.nth(4)).to_have_text("Failed, attempt 1", timeout=PAYMENT_MS)
    await expect(row.nth(0)).to_have_text(f"{office_id}/1")
    await expect(row.nth(2)).to_have_text("$70.00")
    await expect(row.nth(3)).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    await expect(row.nth(5)).to_contain_text(re.compile("declined", re.IGNORECASE))
    await expect(row.nth(6)).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"), timeout=LIVE_MS)
    await assert_fine_in_every_form(page)
    assert await page.evaluate("document.body.dataset.kept") == "yes"

    await queued(page, office_id).get_by_role("link").click()
    await expect(page.get_by_text("The automatic refill failed.")).to_be_visible()
    await page.go_back()
    await expect(queued(page, office_id)).to_have_count(1)
    await pay_outside(scene, office_id)
    await expect(queued(page, office_id)).to_have_count(0, timeout=LIVE_MS)


async def test_a_refill_that_somebody_outside_pays_is_in_the_queue(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=6 * DOLLARS)
    await scene.operator.stub.SetAutoRefill(pb.SetAutoRefillRequest(office_id=office_id, enabled=True))
    await scene.operator.adjust(office_id, -2 * DOLLARS)
    await sign_in_as_operator(scene, page)
    row = queued(page, office_id).get_by_role("cell")
    await expect(row.nth(4)).to_have_text("Outside", timeout=LIVE_MS)
    await expect(row.nth(5)).to_have_text("\u2013")
    await pay_outside(scene, office_id)
    await expect(queued(page, office_id)).to_have_count(0, timeout=LIVE_MS)


async def test_the_way_to_all_offices(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_as_operator(scene, page)
    await page.get_by_role("link", name="All offices").click()
    await page.get_by_label("Name or id").fill(office_id)
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("row").filter(has_text=re.compile(rf"\b{office_id}\b")).get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    await expect(page.get_by_text(office_id, exact=True)).to_be_visible()
    # An operator may do for an office whatever its admin may.
    await expect(page.get_by_role("main").get_by_role("link", name="Add Value").first).to_be_visible()
