"""Automatic refill: turned on and off, what cannot be is told in its field, and money that comes by itself."""

import pytest
from playwright.async_api import Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import add_asked_card, answer_bank, heading
from tests.page.walking import CREDIT_SECONDS, assert_fine_in_every_form, sign_in_to
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, assert_accessible, take_screenshots
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

REFILL = "/refill"
ENABLED = "Add credit by itself when funds run low"
THRESHOLD = "When available funds go below"
AMOUNT = "Add"
CARD = "From"


async def fill(page: Page, threshold: str, amount: str) -> None:
    await page.get_by_label(THRESHOLD).fill(threshold)
    await page.get_by_label(AMOUNT, exact=True).fill(amount)


async def save(page: Page) -> None:
    await page.get_by_role("button", name="Save").click()


async def refill_of(scene: PageScene, office_id: str) -> pb.Refill:
    return (await scene.operator.office(office_id)).refill


async def refills_of(scene: PageScene, office_id: str) -> list[int]:
    """What automatic refills have added, in micros."""
    listed = await scene.operator.stub.ListTransactions(pb.ListTransactionsRequest(office_id=office_id, page_size=100))
    return [each.amount_micros for each in listed.transactions if each.kind == "refill"]


async def test_the_refill_is_turned_on_and_off(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=100 * DOLLARS)
    await scene.add_confirmed_card(office_id, "tok_mastercard")
    card_id = await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    await page.get_by_role("link", name="Turn it on").click()
    await expect(heading(page, "Automatic refill")).to_be_visible()
    await expect(page.get_by_role("checkbox", name=ENABLED)).not_to_be_checked()
    await page.get_by_role("checkbox", name=ENABLED).check()
    await fill(page, "25.50", "1,250")
    await page.get_by_label(CARD).select_option("Visa ending in 4242")
    await save(page)
    await expect(page.get_by_role("status")).to_have_text("Saved.")
    await expect(page.get_by_role("checkbox", name=ENABLED)).to_be_checked()
    await expect(page.get_by_label(THRESHOLD)).to_have_value("25.50")
    await expect(page.get_by_label(AMOUNT, exact=True)).to_have_value("1250.00")
    await expect(page.get_by_label(CARD)).to_have_value(card_id)
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "refill")
    refill = await refill_of(scene, office_id)
    assert (refill.threshold_micros, refill.amount_micros) == (25_500_000, 1_250 * DOLLARS)
    assert (refill.state, refill.payment_method_id) == (pb.REFILL_STATE_ARMED, card_id)
    await page.goto(f"/offices/{office_id}")
    await expect(page.get_by_text("$1,250.00 when below $25.50")).to_be_visible()

    await page.goto(f"/offices/{office_id}{REFILL}")
    await page.get_by_role("checkbox", name=ENABLED).uncheck()
    await save(page)
    await expect(page.get_by_role("status")).to_have_text("Saved.")
    await expect(page.get_by_role("checkbox", name=ENABLED)).not_to_be_checked()
    # What it was stays, for the next time.
    await expect(page.get_by_label(THRESHOLD)).to_have_value("25.50")
    assert (await refill_of(scene, office_id)).state == pb.REFILL_STATE_OFF
    assert await scene.operator.balance(office_id) == 100 * DOLLARS
    assert await refills_of(scene, office_id) == []


@pytest.mark.parametrize(
    ("threshold", "amount", "field", "told"),
    [
        ("soon", "50", THRESHOLD, "an amount such as 50.00"),
        ("5", "much", AMOUNT, "an amount such as 50.00"),
        ("-5", "50", THRESHOLD, "more than 0"),
        ("5", "-50", AMOUNT, "more than 0"),
        ("0", "50", THRESHOLD, "more than 0"),
        ("5", "0", AMOUNT, "more than 0"),
        ("5.0000001", "50", THRESHOLD, "7 decimals"),
        ("5", "50.0000001", AMOUNT, "7 decimals"),
        ("5", "50.005", AMOUNT, "a multiple of 0.01"),
        ("50.01", "50", AMOUNT, "at least what the funds go below, 50.01"),
        ("1e3", "5000", THRESHOLD, "an amount such as 50.00"),
        ("5,00", "5000", THRESHOLD, "an amount such as 50.00"),
        ("5", "9999999999", AMOUNT, "beyond 1,000,000,000"),
        (" ", "50", THRESHOLD, "an amount is missing"),
    ],
)
async def test_what_cannot_be_is_told_in_its_field_and_changes_nothing(
    scene: PageScene, visitor: Visitor, page: Page, threshold: str, amount: str, field: str, told: str
) -> None:
    office_id = await scene.create_office(balance_micros=100 * DOLLARS)
    card_id = await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id, REFILL)
    before = await refill_of(scene, office_id)
    await page.get_by_role("checkbox", name=ENABLED).check()
    await fill(page, threshold, amount)
    await page.get_by_label(CARD).select_option("Visa ending in 4242")
    visitor.expect_status(400)
    await save(page)
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was changed.")
    await expect(page.get_by_role("alert")).to_contain_text(told)
    await expect(page.get_by_role("alert")).not_to_contain_text("micros")
    for name, value in ((THRESHOLD, threshold), (AMOUNT, amount)):
        shown = page.get_by_label(name, exact=True)
        await expect(shown).to_have_value(value.strip())
        if name == field:
            await expect(shown).to_have_attribute("aria-invalid", "true")
            await expect(shown).to_have_accessible_description(await page.locator("#problem").inner_text())
        else:
            await expect(shown).not_to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_role("checkbox", name=ENABLED)).to_be_checked()
    await expect(page.get_by_label(CARD)).to_have_value(card_id)
    await assert_accessible(page)
    assert await refill_of(scene, office_id) == before

    await fill(page, "5", "50")
    await save(page)
    await expect(page.get_by_role("status")).to_have_text("Saved.")
    await expect(page.get_by_role("alert")).to_have_count(0)
    assert (await refill_of(scene, office_id)).state == pb.REFILL_STATE_ARMED


async def test_a_field_that_is_empty_is_not_even_sent(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, REFILL)
    await fill(page, "", "50")
    await save(page)
    await expect(page.get_by_label(THRESHOLD)).to_be_focused()
    await expect(page.get_by_role("status")).to_have_count(0)


@pytest.mark.parametrize("gone", ["removed", "another office's"])
async def test_a_card_that_the_office_does_not_have_is_refused(
    scene: PageScene, visitor: Visitor, page: Page, gone: str
) -> None:
    office_id, other_id = await scene.create_office(), await scene.create_office()
    card_id = await scene.add_confirmed_card(office_id)
    theirs = await scene.add_confirmed_card(other_id)
    await sign_in_to(scene, page, office_id, REFILL)
    await page.get_by_role("checkbox", name=ENABLED).check()
    await page.get_by_label(CARD).select_option("Visa ending in 4242")
    if gone == "removed":
        request = pb.RemovePaymentMethodRequest(office_id=office_id, payment_method_id=card_id)
        await scene.operator.stub.RemovePaymentMethod(request)
    else:
        option = page.get_by_role("option", name="Visa ending in 4242")
        await option.evaluate("(option, id) => { option.value = id }", theirs)
    visitor.expect_status(400)
    await save(page)
    await expect(page.get_by_role("alert")).to_contain_text("The office has no such card, or no more")
    await expect(page.get_by_label(CARD)).to_have_attribute("aria-invalid", "true")
    await assert_accessible(page)
    assert (await refill_of(scene, office_id)).state == pb.REFILL_STATE_OFF


async def test_funds_that_are_low_already_are_refilled_at_once(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=3 * DOLLARS)
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_text("Funds are low.")).to_be_visible()
    watching = await page.context.new_page()
    await watching.goto(f"/offices/{office_id}{REFILL}")
    await watching.get_by_role("checkbox", name=ENABLED).check()
    await fill(watching, "10", "40")
    await watching.get_by_label(CARD).select_option("Visa ending in 4242")
    await save(watching)
    await expect(watching.get_by_role("status")).to_have_text("Saved.")

    # On the page of the office, which nobody has touched.
    funds = page.get_by_role("region", name="Funds")
    await expect(funds.get_by_text("$43.00").first).to_be_visible(timeout=1000 * CREDIT_SECONDS)
    await expect(page.get_by_text("Funds are low.")).to_have_count(0, timeout=1000 * CREDIT_SECONDS)
    await expect(funds.get_by_text("$40.00 when below $10.00")).to_be_visible()
    assert await refills_of(scene, office_id) == [40 * DOLLARS]
    assert await scene.operator.balance(office_id) == 43 * DOLLARS
    await assert_accessible(page)
    await page.reload()
    await expect(page.get_by_role("cell", name="Refill")).to_be_visible()
    await expect(page.get_by_role("cell", name="+$40.00")).to_be_visible()


async def test_a_refill_that_fails_is_told_on_the_page_of_the_office(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=3 * DOLLARS)
    await scene.add_confirmed_card(office_id, "tok_declined_after_1")
    await sign_in_to(scene, page, office_id, REFILL)
    await page.get_by_role("checkbox", name=ENABLED).check()
    await page.get_by_label(CARD).select_option(index=1)
    await save(page)
    await page.goto(f"/offices/{office_id}")
    await expect(page.get_by_text("The automatic refill failed.")).to_be_visible(timeout=1000 * CREDIT_SECONDS)
    await expect(page.get_by_text("The card was declined.")).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("link", name="Check the card").click()
    await expect(heading(page, "Payment methods")).to_be_visible()
    assert await scene.operator.balance(office_id) == 3 * DOLLARS


async def test_a_refill_that_the_bank_asks_about_is_confirmed_from_the_page_of_the_office(
    scene: PageScene, page: Page
) -> None:
    office_id = await scene.create_office(balance_micros=3 * DOLLARS)
    await add_asked_card(scene, page, office_id)
    await sign_in_to(scene, page, office_id, REFILL)
    await page.get_by_role("checkbox", name=ENABLED).check()
    await page.get_by_label(CARD).select_option(index=1)
    await save(page)
    await page.goto(f"/offices/{office_id}")
    waits = page.get_by_text("The automatic refill waits for the card's owner.")
    await expect(waits).to_be_visible(timeout=1000 * CREDIT_SECONDS)
    await assert_fine_in_every_form(page)
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Confirm at the bank").click()
    await answer_bank(await opened.value, "")
    await expect(waits).to_have_count(0, timeout=1000 * CREDIT_SECONDS)
    await expect(page.get_by_role("region", name="Funds").get_by_text("$53.00").first).to_be_visible()
    assert await refills_of(scene, office_id) == [50 * DOLLARS]


async def test_an_invoiced_office_is_refilled_by_the_operator(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE, balance_micros=100 * DOLLARS)
    await sign_in_to(scene, page, office_id, REFILL)
    await expect(page.get_by_role("option")).to_have_text(["The next invoice, by the operator"])
    await page.get_by_role("checkbox", name=ENABLED).check()
    await save(page)
    await expect(page.get_by_role("status")).to_have_text("Saved.")
    await assert_accessible(page)
    refill = await refill_of(scene, office_id)
    assert (refill.state, refill.payment_method_id) == (pb.REFILL_STATE_ARMED, "")


async def test_without_a_card_the_way_to_one_is_shown(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, REFILL)
    await assert_accessible(page)
    await page.get_by_role("link", name="Add one").click()
    await expect(heading(page, "Payment methods")).to_be_visible()
