"""Whoever comes with a keyboard alone, or on a phone: every page can be gone through, and fits."""

import pytest
from playwright.async_api import Locator, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import sign_in_by_post
from tests.page.walking import purchases_of, sign_in, token_of
from tests.support.billing import DOLLARS
from tests.support.browser import PHONE, Visitor, assert_accessible
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

MOST_STOPS = 150
"""Of the Tab key on a page of these tests."""

ALL_PAGES = ["/sign-in", "/sign-in/a-link", "/", "/?q=nothing", "/operator"] + [
    f"/offices/{{office}}{part}"
    for part in (
        "",
        "/usage",
        "/usage/record?id={call}",
        "/rates",
        "/rates?called=%2B442079460958",
        "/rates?called=%2B442079460958&service=sms",
        "/transactions",
        "/invoices",
        "/cards",
        "/cards/{card}/remove",
        "/refill",
        "/purchases/new",
        "/purchases/a-key?amount=10000000&card={card}&refill=1&threshold=5&refill_amount=50",
    )
]


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus.

    Raises:
        AssertionError: It cannot be come to.
    """
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


async def test_credits_are_bought_by_keyboard(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await scene.add_confirmed_card(office_id, "tok_visa")
    await scene.add_confirmed_card(office_id, "tok_mastercard")
    secret = await token_of(scene, office_id)
    press = page.keyboard.press

    await page.goto("/")
    await tab_to(page, page.get_by_label("Your token"))
    await page.keyboard.type(secret)
    await press("Enter")
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()

    await tab_to(page, page.get_by_role("link", name="Add Value").first)
    await press("Enter")
    await expect(page.get_by_role("heading", name="Add Value")).to_be_visible()
    await tab_to(page, page.get_by_role("radio", name="$10.00"))
    await press("ArrowDown")
    await expect(page.get_by_role("radio", name="$20.00")).to_be_checked()
    await tab_to(page, page.get_by_role("radio", name="Visa").or_(page.get_by_role("radio", checked=True)).last)
    await press("ArrowDown")
    await tab_to(page, page.get_by_role("checkbox"))
    await press("Space")
    await expect(page.get_by_role("checkbox")).to_be_checked()
    await press("Space")
    await expect(page.get_by_role("checkbox")).not_to_be_checked()
    await tab_to(page, page.get_by_role("button", name="Review"))
    await press("Space")
    await expect(page.get_by_role("heading", name="Review")).to_be_visible()
    await tab_to(page, page.get_by_role("button", name="Confirm: $20.00"))
    await press("Enter")
    await expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    assert await purchases_of(scene, office_id) == [20 * DOLLARS]


async def test_usage_is_gone_through_by_keyboard(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=DOLLARS)
    await scene.place_call(office_id)
    await scene.operator.wait_usage(office_id, 1)
    await sign_in(page, await token_of(scene, office_id), f"/offices/{office_id}/usage")
    await tab_to(page, page.get_by_text("As a table"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("columnheader", name="Day")).to_be_visible()
    await tab_to(page, page.get_by_label("Category"))
    await page.keyboard.press("F")  # As in any menu: to the first entry that begins so.
    await expect(page.get_by_text("Nothing fits.")).to_be_visible()
    await page.keyboard.press("Home")
    region = page.get_by_role("region", name="Calls and messages").last  # Around it is the section of that name.
    await expect(region.get_by_role("link")).to_have_count(1)
    # What is wider than a phone can be scrolled by keyboard, too.
    await tab_to(page, region)
    await tab_to(page, region.get_by_role("link"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="What it cost, and why")).to_be_visible()


async def test_the_first_stop_skips_to_the_content(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office(balance_micros=20 * DOLLARS)
    await sign_in_by_post(page, await token_of(scene, office_id))
    for part in ("", "/usage", "/rates", "/refill"):
        await page.goto(f"/offices/{office_id}{part}")
        await page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        await expect(skip).to_be_focused()
        box = await skip.bounding_box()
        assert box is not None
        assert box["width"] > 50, "it is seen while it has the focus"
        assert box["height"] > 20
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")


_FOCUS_JS = """
() => {
    const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
    if (at === document.body) return null;
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return {name: at.outerHTML.slice(0, 120), seen, inside: box.right > 0 && box.bottom > 0 && box.width > 0};
}
"""


@pytest.mark.parametrize("width", [1280, 390])
async def test_the_focus_is_seen_wherever_it_is(scene: PageScene, page: Page, width: int) -> None:
    place = await make_full_place(scene)
    await sign_in_by_post(page, await scene.create_token(pb.ROLE_OPERATOR))
    await page.set_viewport_size({"width": width, "height": 800})
    for path in ("/sign-in", "/", *(each for each in ALL_PAGES if each.startswith("/offices/"))):
        await page.goto(path.format(**place))
        stops: list[str] = []
        for _ in range(MOST_STOPS):
            await page.keyboard.press("Tab")
            focus = await page.evaluate(_FOCUS_JS)
            if focus is None:
                break
            assert focus["seen"], (path, focus)
            assert focus["inside"], (path, focus)
            stops.append(focus["name"])
        assert len(stops) >= 3, path
        assert len(stops) < MOST_STOPS or path == "/", f"{path} keeps the focus"


async def make_full_place(scene: PageScene) -> dict[str, str]:
    """An office whose names and amounts are as long as they can be."""
    long_id = "W" * 128
    company_id = await scene.create_company("M" * 200)
    office_id = await scene.create_office(
        company_id,
        name="W" * 200,
        office_id=f"{company_id}-{'x' * 40}",
        balance_micros=900_000_000 * DOLLARS,
        credit_limit_micros=90_000_000 * DOLLARS,
        daily_spend_limit_micros=900_000_000 * DOLLARS,
    )
    card_id = await scene.add_confirmed_card(office_id)
    call_id = f"{'c' * 100}-{company_id}"
    await scene.place_call(office_id, call_id=call_id, user_id=long_id, department_id=long_id)
    await scene.begin_call(office_id, user_id=long_id, department_id=long_id)
    await scene.operator.wait_usage(office_id, 1)
    return {"office": office_id, "card": card_id, "call": call_id}


@pytest.mark.parametrize(("width", "height"), [PHONE, (320, 568)])
async def test_no_page_scrolls_sideways(scene: PageScene, page: Page, width: int, height: int) -> None:
    place = await make_full_place(scene)
    await sign_in_by_post(page, await scene.create_token(pb.ROLE_OPERATOR))
    await page.set_viewport_size({"width": width, "height": height})
    wide: list[str] = []
    for path in ALL_PAGES:
        await page.goto(path.format(**place))
        needed = await page.evaluate("document.scrollingElement.scrollWidth")
        if needed > width:
            wide.append(f"{path} is {needed} wide")
        await assert_accessible(page)
    assert not wide, "\n".join(wide)


async def test_faults_fit_too(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    await sign_in_by_post(page, await token_of(scene, office_id))
    visitor.expect_status(400, 403, 404)
    await page.set_viewport_size({"width": 320, "height": 568})
    for path in (
        f"/offices/{office_id}/usage?month=" + "9" * 200,
        f"/offices/{'x' * 64}",
        f"/offices/{office_id}/usage?order=" + "W" * 200,
        f"/offices/{office_id}/rates?called=%2B44&minutes=" + "W" * 200,
        f"/offices/{office_id}/rates?called=" + "W" * 64,
        f"/offices/{office_id}/usage/record?id=" + "W" * 128,
    ):
        await page.goto(path)
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= 320, path
