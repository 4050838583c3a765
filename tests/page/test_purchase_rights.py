"""Whose money it is: a viewer buys nothing, and nobody finds out anything about an office that is not theirs."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.buying import FIFTY, expect_nothing_bought, heading
from tests.page.walking import sign_in_to
from tests.support.browser import Visitor, assert_accessible
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

SECRET_NAME = "Shelbyville"
PURCHASE = "/purchases/some-key"
ADMINS_PAGES = ["/purchases/new", "/purchases/review", PURCHASE, "/cards", "/cards/new", "/cards/entered", "/refill"]
OTHER_PAGES = ["", "/live", "/transactions", "/invoices", "/invoices/2024-01"]
FORMS = [PURCHASE, "/cards/{card}/confirm", "/cards/{card}/resume", "/cards/{card}/remove", "/refill"]


async def csrf_of(page: Page) -> str:
    """What the forms of a session carry; each page has one: to sign out."""
    return await page.locator("input[name=csrf]").first.input_value()


async def post_all(scene: PageScene, page: Page, office_id: str, card_id: str) -> list[tuple[int, str]]:
    """Send every form of an office with what would do something; status and text of each answer."""
    sent = {
        "csrf": await csrf_of(page),
        "amount": str(FIFTY),
        "card": card_id,
        "seen": "",
        "enabled": "1",
        "threshold": "5",
    }
    answers = []
    for path in FORMS:
        answer = await page.request.post(f"/offices/{office_id}{path.format(card=card_id)}", form={**sent})
        answers.append((answer.status, await answer.text()))
    return answers


async def forbidden(page: Page, path: str) -> str:
    """What a page shows that is not theirs to see."""
    answer = await page.goto(path)
    assert answer is not None
    assert answer.status == 403, path
    await expect(heading(page, "Forbidden")).to_be_visible()
    return await page.content()


async def expect_untouched(scene: PageScene, office_id: str) -> None:
    await expect_nothing_bought(scene, office_id)
    assert (await scene.operator.office(office_id)).refill.state == pb.REFILL_STATE_OFF
    listed = await scene.operator.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id))
    assert [card.confirmed for card in listed.payment_methods] == [True]


async def test_a_viewer_sees_the_money_and_moves_none(scene: PageScene, visitor: Visitor, page: Page) -> None:
    office_id = await scene.create_office()
    card_id = await scene.add_confirmed_card(office_id)
    await sign_in_to(scene, page, office_id, role=pb.ROLE_VIEWER)
    await expect(heading(page, "Calling Credits")).to_be_visible()
    await expect(page.get_by_text("Funds are low.")).to_be_visible()
    for name in ("Add Value", "Payment methods", "Automatic refill", "Turn it on"):
        await expect(page.get_by_role("link", name=name)).to_have_count(0)
    await assert_accessible(page)
    assert [status for status, _ in await post_all(scene, page, office_id, card_id)] == [403] * len(FORMS)
    visitor.expect_status(403)
    query = urlencode({"amount": FIFTY, "card": card_id})
    for path in ADMINS_PAGES:
        await forbidden(page, f"/offices/{office_id}{path}?{query}")
        await expect(page.get_by_text("4242")).to_have_count(0)
    await assert_accessible(page)
    await expect_untouched(scene, office_id)


@pytest.mark.parametrize("role", [pb.ROLE_OFFICE_ADMIN, pb.ROLE_COMPANY_ADMIN, pb.ROLE_VIEWER])
async def test_another_office_looks_as_if_it_were_not_there(
    scene: PageScene, visitor: Visitor, page: Page, role: "pb.Role.ValueType"
) -> None:
    office_id = await scene.create_office()
    other_id = await scene.create_office(name=SECRET_NAME)
    card_id = await scene.add_confirmed_card(other_id)
    await sign_in_to(scene, page, office_id, role=role)
    for (status, told), (missing, told_of_none) in zip(
        await post_all(scene, page, other_id, card_id),
        await post_all(scene, page, "no-such-office", card_id),
        strict=True,
    ):
        assert (status, missing) == (403, 403)
        assert told == told_of_none
        assert SECRET_NAME not in told
    visitor.expect_status(403)
    query = urlencode({"amount": FIFTY, "card": card_id})
    for path in [*OTHER_PAGES, *ADMINS_PAGES]:
        shown = [await forbidden(page, f"/offices/{each}{path}?{query}") for each in ("no-such-office", other_id)]
        assert shown[0] == shown[1], path
        for known in (SECRET_NAME, "4242", other_id):
            await expect(page.get_by_text(known)).to_have_count(0)
    await assert_accessible(page)
    await expect_untouched(scene, other_id)


@pytest.mark.parametrize("path", [*OTHER_PAGES, *ADMINS_PAGES])
async def test_nobody_is_told_anything(scene: PageScene, page: Page, path: str) -> None:
    office_id = await scene.create_office(name=SECRET_NAME)
    answers = [await page.request.get(f"/offices/{each}{path}", max_redirects=0) for each in (office_id, "none")]
    assert [answer.status for answer in answers] == [303, 303]
    assert all(answer.headers["location"].startswith("/sign-in?") for answer in answers)
    assert SECRET_NAME not in await answers[0].text()
