"""Rates: what a call or message would cost now and why, whatever somebody types."""

import re
from urllib.parse import quote, urlencode

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import get, sign_in_by_post
from tests.page.walking import assert_fine_in_every_form, sign_in_to, token_of
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, take_screenshots, visiting
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]


async def look_up(page: Page, called: str, **fields: str) -> None:
    """Fill the form in and send it; `fields` are by the ids of the form."""
    await page.get_by_label("To number").fill(called)
    for name, value in fields.items():
        field = page.locator(f"#{name}")
        if await field.evaluate("each => each.tagName") == "SELECT":
            await field.select_option(value)
        else:
            await field.fill(value)
    await page.get_by_role("button", name="Look up").click()


def figure(page: Page, label: str) -> Locator:
    return page.get_by_role("main").locator("div", has=page.get_by_text(label, exact=True)).last


async def test_a_price_has_its_why(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    await sign_in_to(scene, page, office_id, "/rates")
    await expect(page).to_have_title("Rates of Springfield · Tollgate")
    await expect(page.get_by_text("as they are dialled in US")).to_be_visible()
    await look_up(page, "+44 20 7946 0958", calling="+12125550142", minutes="10")
    await expect(page.get_by_role("heading", name="+44 20 7946 0958")).to_be_visible()
    await expect(figure(page, "10 minutes")).to_contain_text("$0.20")
    await expect(figure(page, "10 minutes")).to_contain_text("At most $0.02 a minute")
    await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Let through\s*Paid from credits"))
    await expect(figure(page, "Category")).to_have_text(re.compile(r"International\s*GB"))
    await expect(page.get_by_role("heading", name="Why")).to_be_visible()
    await expect(page.get_by_text(re.compile(r"line \d+ of deck \d+"))).to_be_visible()
    await expect(page.get_by_text("$0.02 per 60 s, in steps of 60 s")).to_be_visible()
    # What was asked stays in the form.
    await expect(page.get_by_label("To number")).to_have_value("+44 20 7946 0958")
    await expect(page.get_by_label("From number")).to_have_value("+12125550142")
    await expect(page.get_by_label("Minutes")).to_have_value("10")
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "rates")
    # The price is what a call then costs.
    assert (await scene.place_call(office_id, talk_seconds=600)).debited_micros == 200_000


async def test_what_is_free_is_told_so(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, "/rates", pb.ROLE_VIEWER)
    await look_up(page, "(212) 555-0142", minutes="1")
    await expect(page.get_by_role("heading", name="+1 212-555-0142")).to_be_visible()
    await expect(figure(page, "1 minute")).to_have_text(re.compile(r"Free\s*Never debited"))
    await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Let through\s*Free"))
    await expect(figure(page, "Category")).to_have_text(re.compile(r"Local\s*US"))


async def test_an_emergency_number_is_let_through_whatever_is(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.operator.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=office_id))
    await sign_in_to(scene, page, office_id, "/rates")
    await look_up(page, "911")
    await expect(page.get_by_role("heading", name="911")).to_be_visible()
    await expect(figure(page, "5 minutes")).to_have_text(re.compile(r"Free\s*Never debited"))
    await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Let through\s*Emergency call"))
    await expect(figure(page, "Category")).to_contain_text("Emergency")
    await look_up(page, "+442079460958")
    await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Refused\s*The office is suspended"))


async def test_what_is_no_number_is_refused_without_a_price(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    await sign_in_to(scene, page, office_id, "/rates")
    for called in ("12345", "hello", "+", "+999999", "+44", "anonymous", "()", "0" * 64):
        for service in ("voice", "sms"):
            await look_up(page, called, service=service)
            await expect(page.get_by_role("heading", name=called, exact=True)).to_be_visible()
            await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Refused\s*The number is not valid"))
            # It has no price; nought would be one.
            await expect(page.get_by_text("$")).to_have_count(0)
            await expect(page.get_by_role("heading", name="Why")).to_have_count(0)


async def test_who_has_no_money_is_told_so(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, "/rates")
    await look_up(page, "+442079460958")
    await expect(figure(page, "Now it would be")).to_have_text(re.compile(r"Refused\s*Blocked: not enough funds"))
    await expect(figure(page, "5 minutes")).to_contain_text("$0.1")


@pytest.mark.parametrize(
    ("service", "called", "label", "price", "category"),
    [
        ("sms", "+12125550142", "A message", "$0.0085", "Messages"),
        ("sms", "+442079460958", "A message", "$0.05", "Messages"),
        ("mms", "+12125550142", "A message", "$0.02", "Messages"),
        ("fax", "+12125550142", "5 minutes", "$0.25", "Fax"),
        ("fax", "+442079460958", "5 minutes", "$1.00", "Fax"),
    ],
)
async def test_messages_and_faxes_have_their_prices(
    scene: PageScene, page: Page, service: str, called: str, label: str, price: str, category: str
) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    await sign_in_to(scene, page, office_id, "/rates")
    await look_up(page, called, calling="+12125550199", service=service)
    await expect(figure(page, label)).to_contain_text(price)
    await expect(figure(page, "Category")).to_contain_text(category)
    await expect(figure(page, "Now it would be")).to_contain_text("Let through")


async def test_direction_and_licence_make_the_price(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=10 * DOLLARS)
    await sign_in_to(scene, page, office_id, "/rates")
    for direction, licence, price in (
        ("inbound", "standard", "Free"),
        ("inbound", "contact_center", "$0.05"),
        ("inbound", "sales", "$0.05"),
        ("outbound", "standard", "Free"),
        ("outbound", "contact_center", "$0.10"),
    ):
        await look_up(page, "+12125550142", direction=direction, license=licence, calling="+12125550199")
        await expect(page.locator("#direction")).to_have_value(direction)
        await expect(page.locator("#license")).to_have_value(licence)
        await expect(figure(page, "5 minutes")).to_contain_text(price)


GARBAGE: list[tuple[dict[str, str], str]] = [
    ({"minutes": "0"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "-1"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "1441"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "1.5"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "1,5"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "1e3"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "five"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "\u0665"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "\u00b2"}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "9" * 5_000}, "Must be a whole number from 1 to 1440"),
    ({"minutes": "<script>alert(1)</script>"}, "Must be a whole number from 1 to 1440"),
    ({"service": "telegraph"}, "Must be one of voice, fax, sms, mms"),
    ({"service": "1"}, "Must be one of voice, fax, sms, mms"),
    ({"service": "VOICE"}, "Must be one of voice, fax, sms, mms"),
    ({"direction": "sideways"}, "Must be one of outbound, inbound"),
    ({"direction": "1"}, "Must be one of outbound, inbound"),
    ({"license": "gold"}, "Must be one of standard, contact_center, sales"),
    ({"license": "0"}, "Must be one of standard, contact_center, sales"),
    ({"segments": "0", "service": "sms"}, "Must be a whole number from 1 to 255"),
    ({"segments": "256", "service": "sms"}, "Must be a whole number from 1 to 255"),
    ({"called": "+" + "4" * 64}, "Is too long for a number"),
    ({"called": "x" * 5_000}, "Is too long for a number"),
]


async def test_garbage_in_a_field_is_told(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_by_post(page, await token_of(scene, office_id))
    for fields, told in GARBAGE:
        query = urlencode({"called": "+442079460958"} | fields)
        answer = await get(page, f"/offices/{office_id}/rates?{query}")
        assert (fields, answer.status) == (fields, 400)
        html = await answer.text()
        assert "That could not be looked up." in html
        assert told in html
        assert "<script>alert" not in html


async def test_nothing_of_the_garbage_is_a_fault(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_by_post(page, await token_of(scene, office_id))
    for text in (
        "\x00",
        "\n",
        "\u202e",
        "\U0001f4de",
        "' OR 1=1 --",
        "{{ 7 * 7 }}",
        "%",
        "%00",
        "..",
        "\ud7ff",
        "tel:+1",
    ):
        for name in ("called", "calling"):
            query = urlencode({"called": "+442079460958"} | {name: text})
            answer = await get(page, f"/offices/{office_id}/rates?{query}")
            assert (name, text, answer.status) in {(name, text, 200), (name, text, 400)}
    # Nothing was asked yet.
    for query in ("", "called=", f"called={quote('  ')}", "minutes=x", "unknown=1"):
        answer = await get(page, f"/offices/{office_id}/rates?{query}")
        assert (query, answer.status) == (query, 200)
        assert 'id="result"' not in await answer.text()


async def test_the_field_that_is_wrong_is_marked(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    visitor.expect_status(400)
    await sign_in_to(scene, page, office_id, "/rates")
    await look_up(page, "+442079460958", minutes="many")
    await expect(page.get_by_role("alert")).to_contain_text("Must be a whole number from 1 to 1440")
    await expect(page.get_by_label("Minutes")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Minutes")).to_have_value("many")
    await expect(page.get_by_label("To number")).to_have_value("+442079460958")
    await assert_fine_in_every_form(page)
    await look_up(page, "+442079460958", minutes="3")
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(figure(page, "3 minutes")).to_be_visible()


async def test_without_a_number_the_form_is_not_sent(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id, "/rates")
    before = page.url
    await page.get_by_role("button", name="Look up").click()
    await expect(page.get_by_label("To number")).to_be_focused()
    assert page.url == before


async def test_a_price_can_be_looked_up_without_scripts(scene: PageScene, chromium: Browser) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    secret = await token_of(scene, office_id, pb.ROLE_VIEWER)
    async with visiting(chromium, scene.url, java_script_enabled=False) as somebody:
        page = await somebody.context.new_page()
        await sign_in_by_post(page, secret)
        await page.goto(f"/offices/{office_id}/rates")
        await page.get_by_label("To number").fill("+442079460958")
        await page.get_by_role("button", name="Look up").click()
        await expect(figure(page, "5 minutes")).to_be_visible()
