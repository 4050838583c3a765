"""What came in: the transactions of an office, and the invoices of one that pays by invoice."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import confirm, expect_receipt, heading, review_purchase
from tests.page.walking import assert_fine_in_every_form, sign_in_to
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, assert_accessible
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

PAGE_SIZE = 100
"""Of lists, where a request names none."""


def month_of(office_zone: str = "America/New_York") -> datetime:
    return datetime.now(UTC).astimezone(ZoneInfo(office_zone))


def rows(page: Page) -> Locator:
    """The rows of a table, without its head."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell"))


async def test_transactions_are_what_moved_outside_of_calls(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=30 * DOLLARS)
    card_id = await scene.add_confirmed_card(office_id)
    await scene.buy(office_id, 50 * DOLLARS, card_id)
    await scene.operator.adjust(office_id, -1_234_567)
    await scene.place_call(office_id, talk_seconds=60)
    await sign_in_to(scene, page, office_id, role=pb.ROLE_VIEWER)
    await page.get_by_role("link", name="Transactions", exact=True).click()
    await expect(heading(page, "Transactions")).to_be_visible()
    table = page.get_by_role("region", name="Transactions")
    await expect(rows(page)).to_have_count(3)
    for row, (what, number, amount) in enumerate(
        [
            ("Adjustment: a test", f"{office_id}/3", "-$1.234567"),
            ("Purchase", f"{office_id}/2", "+$50.00"),
            ("Adjustment: a test", f"{office_id}/1", "+$30.00"),
        ]
    ):
        for text in (what, number, amount):
            await expect(rows(page).nth(row).get_by_role("cell", name=text, exact=True)).to_be_visible()
    # In the office's own time.
    shown = await table.get_by_role("time").first.inner_text()
    assert month_of().strftime("%Y") in shown
    assert datetime.strptime(shown, "%d %b %Y, %H:%M").hour in {month_of().hour, (month_of().hour - 1) % 24}
    await assert_fine_in_every_form(page)


async def test_older_transactions_are_on_further_pages(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await scene.create_office()
    for start in range(0, PAGE_SIZE + 5, 21):
        await asyncio.gather(*(scene.operator.adjust(office_id, DOLLARS) for _ in range(start, start + 21)))
    await sign_in_to(scene, page, office_id, "/transactions")
    await expect(rows(page)).to_have_count(PAGE_SIZE)
    await page.get_by_role("link", name="Older ones").click()
    await expect(rows(page)).to_have_count(5)
    await expect(page.get_by_role("cell", name=f"{office_id}/1", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="Older ones")).to_have_count(0)
    await assert_accessible(page)
    visitor.expect_status(400)
    await page.goto(f"/offices/{office_id}/transactions?page=nowhere")
    await expect(heading(page, "Bad Request")).to_be_visible()


async def test_without_transactions_the_page_says_so(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, "/transactions")
    await expect(page.get_by_text("Nothing has been bought yet.")).to_be_visible()
    await assert_accessible(page)


async def test_what_is_bought_on_invoice_is_on_the_invoice_of_the_month(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    await scene.operator.adjust(office_id, 7 * DOLLARS)
    await sign_in_to(scene, page, office_id)
    await page.get_by_role("link", name="Invoices").click()
    await expect(page.get_by_text("Nothing has been bought on invoice yet.")).to_be_visible()
    await assert_accessible(page)
    for amount in ("$50.00", "$20.00"):
        await review_purchase(page, office_id, amount)
        await confirm(page, amount)
        await expect_receipt(page, amount)

    await page.get_by_role("link", name="Invoices").click()
    month = month_of()
    number = f"{office_id}/{month:%Y-%m}"
    await expect(rows(page)).to_have_count(1)
    await expect(page.get_by_role("cell", name=number, exact=True)).to_be_visible()
    await expect(page.get_by_role("cell", name="$70.00", exact=True)).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name=f"{month:%B %Y}").click()
    await expect(heading(page, f"Invoice of {month:%B %Y}")).to_be_visible()
    await expect(page.get_by_text(f"$70.00 {number}")).to_be_visible()
    # The adjustment is nothing that was bought.
    await expect(rows(page)).to_have_count(2)
    for text in (f"{office_id}/2", f"{office_id}/3", "+$50.00", "+$20.00"):
        await expect(page.get_by_role("cell", name=text, exact=True)).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name="All invoices").click()
    await expect(heading(page, "Invoices")).to_be_visible()


@pytest.mark.parametrize("month", ["2024-01", "2024-13", "now", "2024-01-01"])
async def test_a_month_without_an_invoice_is_told(scene: PageScene, visitor: Visitor, page: Page, month: str) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    await sign_in_to(scene, page, office_id)
    visitor.expect_status(404)
    answer = await page.goto(f"/offices/{office_id}/invoices/{month}")
    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("link", name="To the offices")).to_be_visible()
    await expect(page.get_by_text("The office has no such invoice.")).to_be_visible()
    await assert_accessible(page)
