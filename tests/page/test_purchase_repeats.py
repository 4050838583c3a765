"""Nothing is charged twice: forms sent again, pages gone back to, other tabs and admins, lines and sessions lost."""

import asyncio

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import (
    BOUGHT_MEANWHILE,
    FIFTY,
    Form,
    confirm,
    expect_bought_once,
    expect_nothing_bought,
    expect_receipt,
    form_of,
    heading,
    open_choose,
    review,
    review_purchase,
)
from tests.page.walking import assert_fine_in_every_form, purchases_of, sign_in, sign_in_to, token_of
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, assert_accessible, visiting
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

PURCHASES = "**/purchases/*"


async def office_with_card(scene: PageScene) -> str:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id)
    return office_id


async def buy_once_more(page: Page, amount: str = "$50.00") -> None:
    await page.get_by_role("button", name=f"Buy once more: {amount}").click()


async def send(page: Page, address: str, form: Form) -> str:
    """Send a form as the page would; what came of it, in words of the page that answers."""
    answer = await page.request.post(address, form=form)
    assert answer.status == 200, await answer.text()
    return await answer.text()


async def test_two_clicks_buy_once(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id, "/purchases/new")
    await page.get_by_role("checkbox", name="Refill by itself").check()
    await review(page)
    await page.get_by_role("button", name="Confirm: $50.00").dblclick(no_wait_after=True)
    await expect_receipt(page)
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect_bought_once(scene, office_id)
    refill = (await scene.operator.office(office_id)).refill
    assert refill.state == pb.REFILL_STATE_ARMED


@pytest.mark.parametrize("invoiced", [False, True])
async def test_the_same_form_many_times_at_once_buys_once(scene: PageScene, page: Page, invoiced: bool) -> None:
    if invoiced:
        office_id = await scene.create_office(payment_terms=pb.PAYMENT_TERMS_INVOICE)
    else:
        office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    form = await form_of(page)
    for told in await asyncio.gather(*(send(page, address, form) for _ in range(8))):
        assert BOUGHT_MEANWHILE not in told
        assert "Receipt" in told or "Payment under way" in told
    await page.goto(address)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)
    assert "Receipt" in await send(page, address, form)
    assert "Receipt" in await send(page, address, {**form, "amount": str(100 * DOLLARS)})
    await expect_bought_once(scene, office_id)


async def test_a_reload_of_the_receipt_buys_nothing_more(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    await confirm(page)
    await expect_receipt(page)
    for _ in range(2):
        await page.reload()
        await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_back_from_the_receipt_buys_nothing_more(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    await confirm(page)
    await expect_receipt(page)
    # Whether the browser shows the page of then or asks for it anew: it is the page of this purchase.
    await page.go_back()
    while page.url == address and await page.get_by_role("button", name="Confirm: $50.00").count():
        await confirm(page)
    await expect_bought_once(scene, office_id)
    await page.goto(address)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_a_review_that_is_still_open_elsewhere_shows_the_receipt(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    kept = await page.context.new_page()
    await kept.goto(address)
    await expect(heading(kept, "Review")).to_be_visible()
    await confirm(page)
    await expect_receipt(page)
    await confirm(kept)
    await expect_receipt(kept)
    await expect(kept.get_by_role("alert")).to_have_count(0)
    await expect_bought_once(scene, office_id)


async def test_back_to_the_choice_begins_another_purchase(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    first = await review_purchase(page, office_id)
    await confirm(page)
    await expect_receipt(page)
    await page.go_back()
    while not page.url.endswith("/purchases/new"):
        await page.go_back()
    await expect(heading(page, "Add Value")).to_be_visible()
    second = await review(page, "$20.00")
    assert second.partition("?")[0] != first.partition("?")[0]
    await expect_bought_once(scene, office_id)
    await confirm(page, "$20.00")
    await expect_receipt(page, "$20.00")
    assert await purchases_of(scene, office_id) == [20 * DOLLARS, FIFTY]


async def test_another_tab_is_told_what_was_bought_meanwhile(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    other = await page.context.new_page()
    await review_purchase(other, office_id, "$20.00")
    await review_purchase(page, office_id)
    await confirm(page)
    await expect_receipt(page)

    visitor.expect_status(409)
    await confirm(other, "$20.00")
    await expect(other.get_by_role("alert")).to_contain_text(BOUGHT_MEANWHILE)
    await expect(other.get_by_role("alert")).to_contain_text("$50.00")
    await assert_fine_in_every_form(other)
    await expect_bought_once(scene, office_id)

    await buy_once_more(other, "$20.00")
    await expect_receipt(other, "$20.00")
    assert await purchases_of(scene, office_id) == [20 * DOLLARS, FIFTY]
    assert await scene.operator.balance(office_id) == FIFTY + 20 * DOLLARS


async def test_a_tab_that_had_only_begun_to_choose_is_told_at_the_review(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    other = await page.context.new_page()
    await open_choose(other, office_id)
    await review_purchase(page, office_id)
    await confirm(page)
    await expect_receipt(page)
    await review(other, "$20.00")
    await expect(other.get_by_role("alert")).to_contain_text(BOUGHT_MEANWHILE)
    await assert_accessible(other)
    await other.get_by_role("link", name="Cancel").click()
    await expect(heading(other, "Calling Credits")).to_be_visible()
    await expect_bought_once(scene, office_id)


async def test_another_admin_is_told_what_was_bought_meanwhile(
    scene: PageScene, visitor: Visitor, page: Page, chromium: Browser
) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    await review_purchase(page, office_id)
    async with visiting(chromium, scene.url) as somebody:
        theirs = await somebody.context.new_page()
        await sign_in_to(scene, theirs, office_id, role=pb.ROLE_COMPANY_ADMIN)
        await review_purchase(theirs, office_id, "$20.00")
        await confirm(theirs, "$20.00")
        await expect_receipt(theirs, "$20.00")
    visitor.expect_status(409)
    await confirm(page)
    await expect(page.get_by_role("alert")).to_contain_text(BOUGHT_MEANWHILE)
    await expect(page.get_by_role("alert")).to_contain_text("$20.00 were bought")
    await expect_bought_once(scene, office_id, 20 * DOLLARS)
    # What else is bought while they think about it is told as well.
    await scene.buy(office_id, 100 * DOLLARS, (await cards_of(scene, office_id))[0])
    await buy_once_more(page)
    await expect(page.get_by_role("alert")).to_contain_text("$100.00 were bought")
    assert await purchases_of(scene, office_id) == [100 * DOLLARS, 20 * DOLLARS]
    await buy_once_more(page)
    await expect_receipt(page)
    assert await purchases_of(scene, office_id) == [FIFTY, 100 * DOLLARS, 20 * DOLLARS]


async def cards_of(scene: PageScene, office_id: str) -> list[str]:
    listed = await scene.operator.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id))
    return [card.payment_method_id for card in listed.payment_methods]


async def test_a_purchase_that_was_refused_is_no_news(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    declined = await scene.add_confirmed_card(office_id, "tok_declined_after_1")
    await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id)
    other = await page.context.new_page()
    await open_choose(other, office_id)
    await review_purchase(page, office_id)
    assert declined in page.url
    await confirm(page)
    await expect(heading(page, "Not bought")).to_be_visible()
    await review(other, card="Visa ending in 4242")
    await expect(other.get_by_role("alert")).to_have_count(0)
    await confirm(other)
    await expect_receipt(other)
    await expect_bought_once(scene, office_id)


async def test_an_answer_that_is_lost_is_asked_for_at_the_same_address(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    answered: list[int] = []

    async def lose_answer(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        answer = await route.fetch(max_redirects=0)
        answered.append(answer.status)
        await route.abort("connectionreset")

    await page.route(PURCHASES, lose_answer)
    async with page.expect_event("requestfailed"):
        await confirm(page)
    await page.unroute_all()
    assert answered == [303]
    await page.goto(address)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def test_what_was_never_sent_is_still_to_be_confirmed(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    await page.context.set_offline(True)
    async with page.expect_event("requestfailed"):
        await confirm(page)
    await expect_nothing_bought(scene, office_id)
    await page.context.set_offline(False)
    await page.goto(address)
    await expect(heading(page, "Review")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def sign_in_again(page: Page, secret: str) -> None:
    await expect(heading(page, "Sign in")).to_be_visible()
    await page.get_by_label("Your token").fill(secret)
    await page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("how", ["forgotten", "of another session"])
async def test_a_session_that_has_ended_leads_back_and_buys_nothing(
    scene: PageScene, visitor: Visitor, page: Page, how: str
) -> None:
    office_id = await office_with_card(scene)
    secret = await sign_in_to(scene, page, office_id)
    address = await review_purchase(page, office_id)
    await page.context.clear_cookies()
    if how == "of another session":
        elsewhere = await page.context.new_page()
        await sign_in(elsewhere, secret)
        visitor.expect_status(403)
        await confirm(page)
        await expect(heading(page, "Nothing was done")).to_be_visible()
        await expect_nothing_bought(scene, office_id)
        await page.goto(address)
    else:
        await confirm(page)
        await sign_in_again(page, secret)
    assert page.url == address
    await expect(heading(page, "Review")).to_be_visible()
    await expect_nothing_bought(scene, office_id)
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)


async def wait_until_signed_out(context: BrowserContext, office_id: str) -> None:
    """Wait until the gateway has heard that a token was revoked, within a second or so; the browser has not."""
    cookies = await context.cookies()
    for _ in range(100):
        answer = await context.request.get(f"/offices/{office_id}", max_redirects=0)
        if answer.status == 303:
            await context.clear_cookies()
            await context.add_cookies([{**cookie} for cookie in cookies])  # type: ignore[typeddict-item]
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the session goes on")


async def test_a_token_that_is_revoked_buys_nothing_any_more(scene: PageScene, page: Page) -> None:
    office_id = await office_with_card(scene)
    company_id = (await scene.operator.office(office_id)).company_id
    request = pb.CreateTokenRequest(role=pb.ROLE_OFFICE_ADMIN, company_id=company_id, office_ids=[office_id])
    made = await scene.operator.stub.CreateToken(request)
    await sign_in(page, made.secret)
    address = await review_purchase(page, office_id)
    await scene.operator.stub.RevokeToken(pb.RevokeTokenRequest(token_id=made.token.token_id))
    await wait_until_signed_out(page.context, office_id)
    await confirm(page)
    await expect(page.get_by_role("alert")).to_contain_text("Your session has ended. Nothing was done since.")
    await assert_accessible(page)
    await expect_nothing_bought(scene, office_id)

    await sign_in_again(page, await token_of(scene, office_id))
    await expect(heading(page, "Review")).to_be_visible()
    assert page.url == address
    await confirm(page)
    await expect_receipt(page)
    await expect_bought_once(scene, office_id)
