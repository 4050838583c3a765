"""Who sees and does what by its address: each role, on each page, in their own office and in that of others."""

import re
from dataclasses import dataclass

import pytest
from playwright.async_api import Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import get, post, sign_in_by_post
from tests.page.walking import sign_in
from tests.support.browser import Visitor
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]


@dataclass(frozen=True)
class Place:
    """An office, one beside it in the same company, and a company of others."""

    office_id: str
    company_id: str
    beside_id: str
    elsewhere_id: str
    card_id: str


async def make_place(scene: PageScene) -> Place:
    company_id, elsewhere_id = await scene.create_company(), await scene.create_company()
    office_id, beside_id = await scene.create_office(company_id), await scene.create_office(company_id)
    await scene.create_office(elsewhere_id)
    card_id = await scene.add_confirmed_card(office_id)
    return Place(office_id, company_id, beside_id, elsewhere_id, card_id)


async def token_for(scene: PageScene, place: Place, who: str) -> str:
    company_id, office_id, beside_id = place.company_id, place.office_id, place.beside_id
    match who:
        case "operator":
            return await scene.create_token(pb.ROLE_OPERATOR)
        case "company admin":
            return await scene.create_token(pb.ROLE_COMPANY_ADMIN, company_id)
        case "office admin":
            return await scene.create_token(pb.ROLE_OFFICE_ADMIN, company_id, [office_id])
        case "company viewer":
            return await scene.create_token(pb.ROLE_VIEWER, company_id)
        case "office viewer":
            return await scene.create_token(pb.ROLE_VIEWER, company_id, [office_id])
        case "admin of another office":
            return await scene.create_token(pb.ROLE_OFFICE_ADMIN, company_id, [beside_id])
        case "viewer of another office":
            return await scene.create_token(pb.ROLE_VIEWER, company_id, [beside_id])
        case "admin of another company":
            return await scene.create_token(pb.ROLE_COMPANY_ADMIN, place.elsewhere_id)
        case _:
            return await scene.create_token(pb.ROLE_VIEWER, place.elsewhere_id)


OPERATORS = ("operator",)
ADMINS = ("company admin", "office admin")
VIEWERS = ("company viewer", "office viewer")
STRANGERS = (
    "admin of another office",
    "viewer of another office",
    "admin of another company",
    "viewer of another company",
)
EVERYBODY = OPERATORS + ADMINS + VIEWERS + STRANGERS

# By GET: what operators, admins, viewers and strangers are answered; None: a stream, which does not end.
PAGES: list[tuple[str, int | None, int | None, int | None, int]] = [
    ("/operator", 200, 403, 403, 403),
    ("/operator/live", None, 403, 403, 403),
    ("/offices/{office}", 200, 200, 200, 403),
    ("/offices/{office}/live", None, None, None, 403),
    ("/offices/{office}/usage", 200, 200, 200, 403),
    ("/offices/{office}/usage?month=2999-12", 400, 400, 400, 403),
    ("/offices/{office}/usage/records", 200, 200, 200, 403),
    ("/offices/{office}/usage/export", 200, 200, 200, 403),
    ("/offices/{office}/usage/record?id=none", 404, 404, 404, 403),
    ("/offices/{office}/rates", 200, 200, 200, 403),
    ("/offices/{office}/rates?called=%2B442079460958", 200, 200, 200, 403),
    ("/offices/{office}/transactions", 200, 200, 200, 403),
    ("/offices/{office}/invoices", 200, 200, 200, 403),
    ("/offices/{office}/invoices/2026-01", 404, 404, 404, 403),
    ("/offices/{office}/cards", 200, 200, 403, 403),
    ("/offices/{office}/cards/new", 303, 303, 403, 403),
    ("/offices/{office}/cards/entered?entry=none", 400, 400, 403, 403),
    ("/offices/{office}/cards/{card}/remove", 200, 200, 403, 403),
    ("/offices/{office}/refill", 200, 200, 403, 403),
    ("/offices/{office}/purchases/new", 200, 200, 403, 403),
    ("/offices/{office}/purchases/a-key?amount=10000000&card={card}", 200, 200, 403, 403),
    ("/offices/no-such-office", 404, 403, 403, 403),
    ("/offices/no-such-office/usage", 404, 403, 403, 403),
    ("/offices/no-such-office/cards", 404, 403, 403, 403),
    ("/offices/a%20b", 400, 400, 400, 400),
    ("/offices/%3Cscript%3Ealert(1)%3C", 400, 400, 400, 400),
    ("/no-such-page", 404, 404, 404, 404),
    ("/offices/{office}/no-such-page", 404, 404, 404, 404),
]


@pytest.mark.parametrize("who", EVERYBODY)
async def test_each_sees_what_is_theirs(scene: PageScene, page: Page, who: str) -> None:
    place = await make_place(scene)
    await sign_in_by_post(page, await token_for(scene, place, who))
    for path, for_operators, for_admins, for_viewers, for_strangers in PAGES:
        if who in OPERATORS:
            status = for_operators
        elif who in ADMINS:
            status = for_admins
        else:
            status = for_viewers if who in VIEWERS else for_strangers
        if status is not None:
            answer = await get(page, path.format(office=place.office_id, card=place.card_id))
            assert (path, answer.status) == (path, status)


async def test_nobody_sees_anything(scene: PageScene, page: Page) -> None:
    place = await make_place(scene)
    for path in ("/", *(each[0] for each in PAGES)):
        if path.endswith("no-such-page"):
            continue
        answer = await get(page, path.format(office=place.office_id, card=place.card_id))
        assert (path, answer.status) == (path, 303)
        assert answer.headers["location"].startswith("/sign-in?next=")
        assert await answer.text() == ""


FORMS = [
    ("/offices/{office}/refill", {"enabled": "1", "threshold": "5", "amount": "50", "card": ""}),
    ("/offices/{office}/purchases/a-key", {"amount": "10000000", "card": "{card}"}),
    ("/offices/{office}/cards/{card}/confirm", {"amount": "1"}),
    ("/offices/{office}/cards/{card}/resume", {}),
    ("/offices/{office}/cards/{card}/remove", {}),
]


@pytest.mark.parametrize("who", [*VIEWERS, *STRANGERS])
async def test_who_may_not_change_anything_does_not(scene: PageScene, page: Page, who: str) -> None:
    place = await make_place(scene)
    csrf = await sign_in_by_post(page, await token_for(scene, place, who))
    cards = await cards_of(scene, place.office_id)
    for path, fields in FORMS:
        form = {name: value.format(card=place.card_id) for name, value in fields.items()}
        answer = await post(page, path.format(office=place.office_id, card=place.card_id), form | {"csrf": csrf})
        assert (path, answer.status) == (path, 403)
        assert "This token may not do that" in await answer.text()
    await assert_untouched(scene, place, cards)


async def test_nobody_changes_anything(scene: PageScene, page: Page) -> None:
    place = await make_place(scene)
    cards = await cards_of(scene, place.office_id)
    for path, fields in FORMS:
        answer = await post(page, path.format(office=place.office_id, card=place.card_id), fields | {"csrf": ""})
        assert (path, answer.status) == (path, 303)
        assert answer.headers["location"].startswith("/sign-in?next=")
    await assert_untouched(scene, place, cards)


async def assert_untouched(scene: PageScene, place: Place, cards: list[pb.PaymentMethod]) -> None:
    office = await scene.operator.office(place.office_id)
    assert office.balance_micros == 0
    assert office.refill.state == pb.REFILL_STATE_OFF
    assert await cards_of(scene, place.office_id) == cards


async def cards_of(scene: PageScene, office_id: str) -> list[pb.PaymentMethod]:
    listed = await scene.operator.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id))
    return list(listed.payment_methods)


@pytest.mark.parametrize("who", STRANGERS)
async def test_the_office_of_others_looks_like_one_that_does_not_exist(scene: PageScene, page: Page, who: str) -> None:
    place = await make_place(scene)
    csrf = await sign_in_by_post(page, await token_for(scene, place, who))
    for part in ("", "/usage", "/usage/export", "/cards", "/refill", "/purchases/new", "/invoices/2026-01"):
        theirs, nobodys = [
            await get(page, f"/offices/{office_id}{part}") for office_id in (place.office_id, "no-such-office")
        ]
        assert (theirs.status, await theirs.text()) == (nobodys.status, await nobodys.text())
        assert said_by(theirs.headers) == said_by(nobodys.headers)
        assert place.office_id not in (await theirs.text()).replace(csrf, "")


def said_by(headers: dict[str, str]) -> dict[str, str]:
    """What headers tell, without the time and the id of the request, which no two answers have in common."""
    return {name: value for name, value in headers.items() if name not in {"date", "x-request-id"}}


async def test_a_viewer_is_offered_nothing_that_is_refused(scene: PageScene, page: Page) -> None:
    place = await make_place(scene)
    await sign_in(page, await token_for(scene, place, "office viewer"), f"/offices/{place.office_id}")
    tabs = page.get_by_role("navigation", name="Office").get_by_role("link")
    await expect(tabs).to_have_text(["Calling Credits", "Usage", "Rates", "Transactions"])
    await expect(page.get_by_role("link", name=re.compile("Add Value|Turn it on"))).to_have_count(0)
    await expect(page.get_by_role("link", name="Operator")).to_have_count(0)
    for name in ("Usage", "Rates", "Transactions", "Calling Credits"):
        await tabs.get_by_text(name, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(name)


async def test_who_is_refused_is_told_and_led_back(scene: PageScene, page: Page, visitor: Visitor) -> None:
    place = await make_place(scene)
    await sign_in(page, await token_for(scene, place, "admin of another office"))
    visitor.expect_status(403)
    await page.goto(f"/offices/{place.office_id}")
    await expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
    await expect(page.get_by_text("This token may not do that")).to_be_visible()
    await page.get_by_role("link", name="To the offices").click()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    await expect(page.get_by_text(place.beside_id)).to_be_visible()
