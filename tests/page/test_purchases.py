"""Add Value: choose, review, confirm, receipt; by card, on the invoice, and as each of the sandbox's cards ends it."""

import pytest
from playwright.async_api import Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import (
    add_asked_card,
    add_slow_card,
    answer_bank,
    confirm,
    edit_form,
    expect_bought_once,
    expect_nothing_bought,
    expect_receipt,
    form_of,
    heading,
    open_choose,
    review,
    review_purchase,
)
from tests.page.walking import assert_fine_in_every_form, sign_in_to
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, assert_accessible, take_screenshots
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]


async def test_credits_are_bought_by_card(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await scene.add_confirmed_card(office_id, "tok_mastercard")
    await sign_in_to(scene, page, office_id)

    await open_choose(page, office_id)
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "purchase-choose")
    await review(page, "$100.00", "Mastercard ending in 4444")
    await expect(page.get_by_text("now, by Mastercard ending in 4444")).to_be_visible()
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "purchase-review")
    await expect_nothing_bought(scene, office_id)

    await confirm(page, "$100.00")
    await expect_receipt(page, "$100.00")
    await expect(page.get_by_text("The balance is $100.00, available are $100.00.")).to_be_visible()
    await expect(page.get_by_text(f"{office_id}/1", exact=True)).to_be_visible()
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "receipt")
    await expect_bought_once(scene, office_id, 100 * DOLLARS)

    await page.get_by_role("link", name="Done").click()
    await expect(page.get_by_role("cell", name="+$100.00")).to_be_visible()
    assert (await scene.operator.office(office_id)).refill.state == pb.REFILL_STATE_OFF


async def test_credits_are_bought_by_keyboard(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await page.get_by_role("radio", name="$10.00", exact=True).focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(heading(page, "Review")).to_be_visible()
    await page.get_by_role("button", name="Confirm: $50.00").focus()
    await page.keyboard.press("Enter")
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_automatic_refill_is_ordered_along_with_a_purchase(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    card_id = await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await page.get_by_role("checkbox", name="Refill by itself").check()
    await page.get_by_label("When available funds go below").fill("12.50")
    await page.get_by_label("Add", exact=True).fill("75")
    await review(page)
    ordered = "$75.00 from the same card, whenever available funds go below $12.50"
    await expect(page.get_by_text(ordered)).to_be_visible()
    await assert_accessible(page)
    assert (await scene.operator.office(office_id)).refill.state == pb.REFILL_STATE_OFF

    await confirm(page)
    await expect_receipt(page)
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect_bought_once(scene, office_id)
    refill = (await scene.operator.office(office_id)).refill
    assert (refill.threshold_micros, refill.amount_micros) == (12_500_000, 75 * DOLLARS)
    assert (refill.state, refill.payment_method_id) == (pb.REFILL_STATE_ARMED, card_id)
    await open_choose(page, office_id)
    await expect(page.get_by_role("checkbox")).to_have_count(0)


@pytest.mark.parametrize(
    ("threshold", "amount", "field", "told"),
    [
        ("soon", "50", "When available funds go below", "an amount such as 50.00"),
        ("", "50", "When available funds go below", "an amount such as 50.00"),
        ("-5", "50", "When available funds go below", "more than 0"),
        ("0", "50", "When available funds go below", "more than 0"),
        ("5", "-50", "Add", "more than 0"),
        ("5", "1.2345678", "Add", "7 decimals"),
        ("5", "10,50", "Add", "an amount such as 50.00"),
        ("50.01", "50", "Add", "at least what the funds go below"),
    ],
)
async def test_a_refill_that_cannot_be_is_told_before_anything_is_bought(
    scene: PageScene, visitor: Visitor, page: Page, threshold: str, amount: str, field: str, told: str
) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await scene.add_confirmed_card(office_id, "tok_mastercard")
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await page.get_by_role("radio", name="$20.00", exact=True).check()
    await page.get_by_role("radio", name="Mastercard").check()
    await page.get_by_role("checkbox", name="Refill by itself").check()
    await page.get_by_label("When available funds go below").fill(threshold)
    await page.get_by_label("Add", exact=True).fill(amount)
    visitor.expect_status(400)
    await page.get_by_role("button", name="Review").click()

    await expect(page.get_by_role("alert")).to_contain_text(told)
    await expect(page.get_by_label(field, exact=True)).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("When available funds go below")).to_have_value(threshold)
    await expect(page.get_by_label("Add", exact=True)).to_have_value(amount)
    await expect(page.get_by_role("checkbox", name="Refill by itself")).to_be_checked()
    await expect(page.get_by_role("radio", name="$20.00", exact=True)).to_be_checked()
    await expect(page.get_by_role("radio", name="Mastercard")).to_be_checked()
    await assert_accessible(page)

    await page.get_by_label("When available funds go below").fill("5")
    await page.get_by_label("Add", exact=True).fill("50")
    await review(page, "$20.00")
    await confirm(page, "$20.00")
    await expect_receipt(page, "$20.00")
    await expect_bought_once(scene, office_id, 20 * DOLLARS)


async def test_a_refill_that_charges_at_once_is_announced(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=5 * DOLLARS)
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    for threshold, is_announced in (("15.01", True), ("15", False)):
        await open_choose(page, office_id)
        await page.get_by_role("checkbox", name="Refill by itself").check()
        await page.get_by_label("When available funds go below").fill(threshold)
        await review(page, "$10.00")
        await expect(page.get_by_text("The card will be charged twice.")).to_have_count(int(is_announced))
        await assert_accessible(page)


async def test_an_invoiced_office_buys_without_a_card(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    await sign_in_to(scene, page, office_id)
    await open_choose(page, office_id)
    await expect(page.get_by_text("The amount goes on the invoice of this month.")).to_be_visible()
    await expect(page.get_by_role("group", name="Pay with")).to_have_count(0)
    await assert_accessible(page)
    await review(page)
    await expect(page.get_by_text("on the invoice of this month")).to_be_visible()
    await confirm(page)
    await expect_receipt(page)
    await expect(page.get_by_text("on the invoice of this month")).to_be_visible()
    await expect_bought_once(scene, office_id)


@pytest.mark.parametrize(("token", "way"), [("", "Add a card"), ("tok_visa", "Confirm the card")])
async def test_without_a_card_that_can_pay_the_way_to_one_is_shown(
    scene: PageScene, page: Page, token: str, way: str
) -> None:
    office_id = await scene.create_office()
    if token:
        await scene.add_card(office_id, token)
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await expect(page.get_by_text("There is no card that can pay.")).to_be_visible()
    await expect(page.get_by_role("button", name="Review")).to_have_count(0)
    await assert_accessible(page)
    await page.get_by_role("link", name=way).click()
    await expect(heading(page, "Payment methods")).to_be_visible()


async def test_a_declined_card_is_told_and_another_one_pays(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id, "tok_declined_after_1")
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    await confirm(page)
    await expect(heading(page, "Not bought")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("The card was declined.")
    await assert_fine_in_every_form(page)
    await expect_nothing_bought(scene, office_id)
    # The address goes on to tell that nothing came of it.
    await page.goto(address)
    await expect(heading(page, "Not bought")).to_be_visible()

    await page.get_by_role("link", name="Try another card").click()
    await review(page, card="Visa ending in 4242")
    await expect(page.get_by_role("alert")).to_have_count(0)
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_a_purchase_waits_for_its_bank_and_goes_on_by_itself(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await add_asked_card(scene, page, office_id)
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    await confirm(page)
    await expect(heading(page, "Payment under way")).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("Your bank wants you to confirm this payment.")
    await assert_fine_in_every_form(page)
    link = page.get_by_role("link", name="Confirm at the bank")
    await link.focus()
    async with page.expect_response(lambda answer: "hx-request" in answer.request.headers) as looked:
        pass
    await looked.value
    await expect(link).to_be_focused()
    await expect_nothing_bought(scene, office_id)

    async with page.context.expect_page() as opened:
        await page.keyboard.press("Enter")
    bank = await opened.value
    await expect(bank.get_by_role("heading", name="Pay 50.00 USD?")).to_be_visible()
    await answer_bank(bank, "")
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)
    await page.reload()
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_a_purchase_that_its_owner_refuses_at_the_bank_is_not_made(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await add_asked_card(scene, page, office_id)
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    await confirm(page)
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="Confirm at the bank").click()
    await answer_bank(await opened.value, "", "Refuse")
    await expect(heading(page, "Not bought")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("not confirmed by the card's owner")
    await expect_nothing_bought(scene, office_id)


@pytest.mark.parametrize("token", ["tok_reply_lost", "tok_unknown_1"])
async def test_a_charge_whose_answer_was_lost_comes_out_by_itself(scene: PageScene, page: Page, token: str) -> None:
    office_id = await scene.create_office()
    await add_slow_card(scene, office_id, token)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    async with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        await confirm(page)
    assert (await posted.value).status == 303
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)
    await page.goto(address)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_what_is_shown_while_nobody_knows_how_a_charge_ended(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await add_slow_card(scene, office_id, "tok_unknown_1")
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    await confirm(page)
    await expect(page.get_by_role("status")).to_contain_text("The payment is under way.")
    await assert_accessible(page)
    await page.get_by_role("button", name="Look again").click()
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_refill_ordered_with_a_purchase_charges_nothing_before_that_is_through(
    scene: PageScene, page: Page, asks: bool
) -> None:
    office_id = await scene.create_office()
    if asks:
        await add_asked_card(scene, page, office_id)
    else:
        await add_slow_card(scene, office_id, "tok_unknown_1")
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await page.get_by_role("checkbox", name="Refill by itself").check()
    await review(page)
    await confirm(page)
    if asks:
        async with page.context.expect_page() as opened:
            await page.get_by_role("link", name="Confirm at the bank").click()
        await answer_bank(await opened.value, "")
    await expect_receipt(page)
    await expect(page.get_by_role("alert")).to_contain_text("The automatic refill was not turned on.")
    assert (await scene.operator.office(office_id)).refill.state == pb.REFILL_STATE_OFF
    await assert_accessible(page)
    await page.get_by_role("link", name="Automatic refill").last.click()
    await expect(heading(page, "Automatic refill")).to_be_visible()
    await expect_bought_once(scene, office_id)


async def test_a_suspended_office_buys_nothing_and_is_told_why(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    await scene.operator.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=office_id, reason="a test"))
    visitor.expect_status(400)
    await confirm(page)
    await expect(page.get_by_role("alert")).to_contain_text("suspended")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was bought.")
    await assert_accessible(page)
    await expect_nothing_bought(scene, office_id)
    # Nothing was written down, so that the same purchase can be made when it is possible.
    await scene.operator.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=office_id, reason="a test"))
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


@pytest.mark.parametrize("amount", ["7000000", "50000001", "-50000000", "5e7", ""])
async def test_an_amount_that_is_not_offered_is_not_bought(
    scene: PageScene, visitor: Visitor, page: Page, amount: str
) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    visitor.expect_status(400)
    await review_purchase(page, office_id)
    await edit_form(page, "amount", amount)
    await confirm(page)
    await expect(page.get_by_text("must be one of the amounts on the page")).to_be_visible()
    await expect_nothing_bought(scene, office_id)

    await open_choose(page, office_id)
    await page.get_by_role("radio", name="$10.00", exact=True).check()
    await edit_form(page, "amount", amount)
    await page.get_by_role("button", name="Review").click()
    await expect(page.get_by_text("must be one of the amounts on the page")).to_be_visible()
    await expect_nothing_bought(scene, office_id)


@pytest.mark.parametrize("whose", ["another office's", "nobody's", "removed", "unconfirmed"])
async def test_a_card_that_is_not_on_the_page_is_not_charged(
    scene: PageScene, visitor: Visitor, page: Page, whose: str
) -> None:
    office_id, other_id = await scene.create_office(), await scene.create_office()
    await scene.add_confirmed_card(office_id)
    cards = {
        "another office's": await scene.add_confirmed_card(other_id),
        "nobody's": "pm_000000000000000000000000",
        "removed": await scene.add_confirmed_card(office_id, "tok_mastercard"),
        "unconfirmed": (await scene.add_card(office_id, "tok_visa_1")).payment_method_id,
    }
    await scene.operator.stub.RemovePaymentMethod(
        pb.RemovePaymentMethodRequest(office_id=office_id, payment_method_id=cards["removed"])
    )
    await sign_in_to(scene, page, office_id)
    visitor.expect_status(400)
    await review_purchase(page, office_id)
    await edit_form(page, "card", cards[whose])
    await confirm(page)
    await expect(page.get_by_text("must be one of the cards on the page")).to_be_visible()
    assert await page.get_by_text("4444").count() == 0
    await expect_nothing_bought(scene, office_id)
    await expect_nothing_bought(scene, other_id)


async def test_a_form_without_the_words_of_its_session_is_refused(
    scene: PageScene, visitor: Visitor, page: Page
) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    sent = await form_of(page)
    without = {name: value for name, value in sent.items() if name != "csrf"}
    for wrong in ({**sent, "csrf": "A" * 22}, {**sent, "csrf": "é"}, {**sent, "csrf": ""}, without):
        assert (await page.request.post(address, form=wrong)).status == 403
    visitor.expect_status(403)
    await edit_form(page, "csrf", "wrong")
    await confirm(page)
    await expect(heading(page, "Nothing was done")).to_be_visible()
    await assert_accessible(page)
    await expect_nothing_bought(scene, office_id)
