"""Payment methods: entered on the provider's page, confirmed by the amount of a small charge, locked, and removed."""

import pytest
from playwright.async_api import Locator, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import (
    FIFTY,
    answer_bank,
    confirm,
    expect_bought_once,
    expect_receipt,
    heading,
    open_choose,
    review,
)
from tests.page.walking import assert_fine_in_every_form, sign_in_to
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, assert_accessible, take_screenshots
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

CARDS = "/cards"
SMALL_CHARGE = "Amount of the small charge"


async def enter_card(page: Page, token: str) -> None:
    """Add a card on the provider's page."""
    await page.get_by_role("link", name="Add a card").click()
    await expect(page.get_by_role("heading", name="Add a card")).to_be_visible()
    await page.get_by_role("button", name=f"({token})").click()
    await expect(heading(page, "Payment methods")).to_be_visible()


async def the_card(scene: PageScene, office_id: str) -> pb.PaymentMethod:
    """The one card of an office, as clients see it."""
    listed = await scene.operator.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id))
    [card] = listed.payment_methods
    return card


async def small_charge(scene: PageScene, office_id: str) -> str:
    """The amount of the small charge of the one card, as its owner reads it."""
    micros = await scene.small_charge_micros((await the_card(scene, office_id)).payment_method_id)
    return f"{micros / DOLLARS:.2f}"


async def tell_amount(page: Page, amount: str) -> None:
    await page.get_by_label(SMALL_CHARGE).fill(amount)
    await page.get_by_role("button", name="Confirm").click()


def row(page: Page, card: str) -> Locator:
    """The card of a list, by how it ends."""
    return page.get_by_role("listitem").filter(has_text=card)


async def test_a_card_is_added_confirmed_and_pays(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id)
    await page.get_by_role("link", name="Payment methods").click()
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()
    await assert_accessible(page)

    await page.get_by_role("link", name="Add a card").click()
    await expect(page.get_by_role("heading", name="Add a card")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("button", name="(tok_mastercard)").click()
    await expect(page.get_by_role("status")).to_have_text("The card was added.")
    await expect(row(page, "Mastercard ending in 4444")).to_contain_text("To be confirmed")
    await expect(row(page, "Mastercard ending in 4444")).to_contain_text("expires 12/2040")
    # A reload adds nothing more.
    await page.reload()
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "cards")

    await tell_amount(page, await small_charge(scene, office_id))
    await expect(page.get_by_role("status")).to_have_text("The card can pay now.")
    await expect(row(page, "Mastercard ending in 4444")).to_contain_text("Can pay")
    await expect(page.get_by_label(SMALL_CHARGE)).to_have_count(0)
    await assert_accessible(page)
    assert (await the_card(scene, office_id)).confirmed

    await open_choose(page, office_id)
    await review(page, card="Mastercard ending in 4444")
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id, FIFTY)


async def test_who_goes_back_from_the_list_adds_no_second_card(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await enter_card(page, "tok_visa")
    for _ in range(2):
        await page.go_back()
        await page.go_forward()
    await page.goto(f"/offices/{office_id}{CARDS}")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await the_card(scene, office_id)


async def test_who_cancels_on_the_providers_page_is_back_without_a_card(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await page.get_by_role("link", name="Add a card").click()
    await page.get_by_role("link", name="Cancel").click()
    await expect(heading(page, "Payment methods")).to_be_visible()
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_count(0)


@pytest.mark.parametrize("whose", ["nobody's", "no", "another office's"])
async def test_an_entry_that_is_not_this_offices_adds_no_card(
    scene: PageScene, visitor: Visitor, page: Page, whose: str
) -> None:
    company_id = await scene.create_company()
    office_id, other_id = await scene.create_office(company_id), await scene.create_office(company_id)
    await sign_in_to(scene, page, other_id, CARDS, role=pb.ROLE_COMPANY_ADMIN)
    await enter_card(page, "tok_visa")
    await page.goto(f"/offices/{other_id}{CARDS}/new")
    entries = {"nobody's": "entry=ce_0000", "no": "", "another office's": page.url.partition("?")[2]}
    visitor.expect_status(400)
    await page.goto(f"/offices/{office_id}{CARDS}/entered?{entries[whose]}")
    await expect(page.get_by_role("alert")).to_contain_text("That did not work.")
    await assert_accessible(page)
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()


@pytest.mark.parametrize(
    ("token", "told", "listed"),
    [("tok_refused", "The card was declined", 0), ("tok_declined", "The card was declined", 1)],
)
async def test_a_card_that_its_bank_declines_is_told(
    scene: PageScene, visitor: Visitor, page: Page, token: str, told: str, listed: int
) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    visitor.expect_status(400)
    await enter_card(page, token)
    await expect(page.get_by_role("alert")).to_contain_text(told)
    await expect(page.get_by_role("listitem")).to_have_count(listed)
    await assert_accessible(page)


async def test_an_expired_card_is_not_added(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    visitor.expect_status(400)
    await enter_card(page, "tok_expired")
    await expect(page.get_by_role("alert")).to_contain_text("expired with 2020-12")
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()


async def test_wrong_amounts_are_counted_and_the_third_locks_the_card(
    scene: PageScene, visitor: Visitor, page: Page
) -> None:
    office_id = await scene.create_office()
    # A card of its own: what locks it locks it for all.
    await scene.add_card(office_id, "tok_visa_7301")
    await sign_in_to(scene, page, office_id, CARDS)
    visitor.expect_status(400)
    for told in ("2 more wrong answers will lock the card", "1 more wrong answer will lock the card"):
        await tell_amount(page, "12.34")
        await expect(page.get_by_role("alert")).to_contain_text(told)
        await expect(page.get_by_label(SMALL_CHARGE)).to_have_attribute("aria-invalid", "true")
        await assert_accessible(page)
    await tell_amount(page, "12.34")
    await expect(page.get_by_role("alert")).to_contain_text("locked after three wrong answers")
    await expect(page.get_by_role("listitem")).to_contain_text("Locked")
    await expect(page.get_by_label(SMALL_CHARGE)).to_have_count(0)
    await assert_accessible(page)
    assert (await the_card(scene, office_id)).locked
    await page.goto(f"/offices/{office_id}/purchases/new")
    await expect(page.get_by_text("There is no card that can pay.")).to_be_visible()


@pytest.mark.parametrize("amount", ["a dollar", "0", "-1.23", "1000.01", "1.2345678", "1,23", " ", "1e0"])
async def test_what_is_no_amount_is_not_counted(scene: PageScene, visitor: Visitor, page: Page, amount: str) -> None:
    office_id = await scene.create_office()
    await scene.add_card(office_id, "tok_visa_7302")
    await sign_in_to(scene, page, office_id, CARDS)
    visitor.expect_status(400)
    for _ in range(3):
        await tell_amount(page, amount)
        await expect(page.get_by_role("alert")).to_contain_text("Must be")
        await expect(page.get_by_role("alert")).not_to_contain_text("micros")
    await tell_amount(page, await small_charge(scene, office_id))
    await expect(page.get_by_role("status")).to_have_text("The card can pay now.")


async def test_a_card_is_removed_after_a_question(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await scene.add_confirmed_card(office_id, "tok_mastercard")
    await sign_in_to(scene, page, office_id, CARDS)
    remove = page.get_by_role("link", name="Remove Mastercard ending in 4444")
    await remove.click()
    await expect(heading(page, "Remove this card?")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("link", name="Keep it").click()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await remove.click()
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("status")).to_have_text("The card was removed.")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    assert (await the_card(scene, office_id)).last_four == "4242"
    # It is gone; who goes back finds the list.
    await page.go_back()
    await page.goto(f"/offices/{office_id}{CARDS}")
    await expect(page.get_by_role("listitem")).to_have_count(1)


async def test_the_card_that_the_refill_charges_is_not_removed(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=100 * DOLLARS)
    card_id = await scene.add_confirmed_card(office_id)
    request = pb.SetAutoRefillRequest(office_id=office_id, enabled=True, payment_method_id=card_id)
    await scene.operator.stub.SetAutoRefill(request)
    await sign_in_to(scene, page, office_id, CARDS)
    await expect(page.get_by_role("listitem")).to_contain_text("Automatic refill")
    await page.get_by_role("link", name="Remove Visa").click()
    visitor.expect_status(400)
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("alert")).to_contain_text("The automatic refill charges this card")
    await expect(page.get_by_role("alert")).not_to_contain_text("SetAutoRefill")
    await assert_accessible(page)
    await the_card(scene, office_id)

    await page.get_by_role("link", name="Automatic refill").click()
    await page.get_by_role("checkbox", name="Add credit by itself").uncheck()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_have_text("Saved.")
    await page.goto(f"/offices/{office_id}{CARDS}")
    await page.get_by_role("link", name="Remove Visa").click()
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()


async def test_a_card_whose_bank_asks_first(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await enter_card(page, "tok_action_required")
    await expect(page.get_by_role("listitem")).to_contain_text("Its bank wants its owner to agree first.")
    await assert_accessible(page)
    # Nobody has agreed yet: it goes on to wait.
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("listitem")).to_contain_text("Its bank wants its owner to agree first.")

    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Open the bank's page").click()
    await answer_bank(await opened.value, "")
    await page.get_by_role("button", name="Go on").click()
    await tell_amount(page, await small_charge(scene, office_id))
    await expect(page.get_by_role("status")).to_have_text("The card can pay now.")


async def test_a_card_that_its_owner_refuses_at_the_bank_is_gone(
    scene: PageScene, visitor: Visitor, page: Page
) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await enter_card(page, "tok_action_required")
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Open the bank's page").click()
    await answer_bank(await opened.value, "", "Refuse")
    visitor.expect_status(400)
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("alert")).to_contain_text("The payment was not confirmed by the card's owner")
    await expect(page.get_by_text("There is no card yet.")).to_be_visible()


async def test_a_card_whose_bank_asks_about_the_small_charge(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await enter_card(page, "tok_authentication_required")
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Open the bank's page").click()
    await answer_bank(await opened.value, "")
    await page.get_by_role("button", name="Go on").click()
    await tell_amount(page, await small_charge(scene, office_id))
    await expect(page.get_by_role("status")).to_have_text("The card can pay now.")


async def test_a_card_whose_small_charge_is_under_way(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, CARDS)
    await enter_card(page, "tok_reply_lost")
    await expect(page.get_by_role("status")).to_contain_text("Its small charge is still under way")
    await expect(page.get_by_role("listitem")).to_contain_text("To be confirmed")
    await assert_accessible(page)


async def test_an_invoiced_office_has_no_cards_among_its_pages(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    await sign_in_to(scene, page, office_id)
    await expect(page.get_by_role("link", name="Invoices")).to_be_visible()
    await expect(page.get_by_role("link", name="Payment methods")).to_have_count(0)
