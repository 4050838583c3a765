"""What tests of pages stand on, tried on the pages of a payment: a page is watched, judged, measured and shown."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from grpc import StatusCode
from playwright.async_api import Browser, Page, Route, expect

from gateway.v1 import authorization_pb2 as call_pb
from gateway.v1 import credits_pb2 as pb
from tests.page.walking import wait_for_balance
from tests.support import browser as support
from tests.support.back import refused
from tests.support.billing import DOLLARS
from tests.support.browser import (
    DESKTOP,
    PHONE,
    SCREENSHOTS_VARIABLE,
    Visitor,
    assert_accessible,
    measure_cold_load,
    take_screenshots,
    visiting,
)
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

RETURN = "/payments/return"
PICTURES = {"return-light.png", "return-dark.png", "return-phone.png"}
ELSEWHERE = "http://elsewhere.example/"

INLINE_SCRIPT = "document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
INLINE_STYLE = "document.body.setAttribute('style', 'color: red')"
UNCAUGHT = "setTimeout(() => { throw new Error('nobody caught this') })"

Misstep = Callable[[Visitor, Page], Awaitable[object]]


async def ask_bank(scene: PageScene) -> tuple[str, str, str]:
    """An office, the id of its card, and the link by which the bank asks about the small charge."""
    office_id = await scene.create_office()
    added = await scene.add_card(office_id, "tok_authentication_required")
    assert added.confirmation_url
    return office_id, added.payment_method_id, added.confirmation_url


async def test_a_purchase_is_approved_in_the_browser(scene: PageScene, page: Page) -> None:
    office_id, card_id, link = await ask_bank(scene)
    await page.goto(link)
    await page.get_by_role("button", name="Approve").click()
    await page.wait_for_url(f"**{RETURN}")
    # Added again, the card tells how its owner has answered, whether the webhook has come yet or not.
    assert not (await scene.add_card(office_id, "tok_authentication_required")).confirmation_url
    await scene.confirm_card(office_id, card_id)

    buying = scene.buy(office_id, 20 * DOLLARS, card_id, "k1")
    asked = await refused(StatusCode.FAILED_PRECONDITION, "CONFIRMATION_REQUIRED", buying)
    await page.goto(asked.metadata["confirmation_url"])
    await expect(page.get_by_role("heading", name="Pay 20.00 USD?")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    await assert_accessible(page)

    await wait_for_balance(scene, office_id, 20 * DOLLARS)
    assert (await scene.buy(office_id, 20 * DOLLARS, card_id, "k1")).replayed
    await page.goto(asked.metadata["confirmation_url"])
    await expect(page.get_by_role("heading", name="Nothing to confirm")).to_be_visible()
    await assert_accessible(page)


async def test_a_purchase_is_refused_in_the_browser(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    added = await scene.add_card(office_id, "tok_action_required")
    await page.goto(added.confirmation_url)
    await expect(page.get_by_role("heading", name="Allow future charges?")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("button", name="Refuse").click()
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    assert await scene.operator.balance(office_id) == 0


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(*DESKTOP, "light"), (*DESKTOP, "dark"), (*PHONE, "light"), (*PHONE, "dark"), (320, 480, "light")],
)
async def test_what_is_asked_is_accessible_in_every_form(
    scene: PageScene, page: Page, width: int, height: int, scheme: str
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for link in ((await ask_bank(scene))[2], RETURN):
        await page.goto(link)
        await assert_accessible(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


async def test_what_is_asked_can_be_answered_by_keyboard(scene: PageScene, page: Page) -> None:
    _, card_id, link = await ask_bank(scene)
    await page.goto(link)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Approve")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{RETURN}")
    assert await scene.small_charge_micros(card_id)


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        ("document.documentElement.removeAttribute('lang')", "html-has-lang"),
        ("document.title = ''", "document-title"),
        ("document.querySelector('main').append(document.createElement('input'))", "label"),
        ("document.querySelector('main').append(document.createElement('button'))", "button-name"),
        ("document.querySelector('p').style.color = '#999'", "color-contrast"),
    ],
)
async def test_what_is_not_accessible_is_found(page: Page, spoil: str, finding: str) -> None:
    await page.goto(RETURN)
    await assert_accessible(page)
    await page.evaluate(f"() => {{ {spoil} }}")
    with pytest.raises(AssertionError, match=finding):
        await assert_accessible(page)


async def go_elsewhere(visitor: Visitor, page: Page) -> None:
    await _answered(visitor, page, ELSEWHERE, 200)


async def fail(visitor: Visitor, page: Page) -> None:
    await _answered(visitor, page, "/failing", 503)


async def _answered(visitor: Visitor, page: Page, url: str, status: int) -> None:
    """Open a page that the browser's driver answers, and no server."""

    async def answer(route: Route) -> None:
        await route.fulfill(status=status, content_type="text/plain", body="as it is to be")

    await visitor.context.route(url, answer)
    await page.goto(url)


@pytest.mark.parametrize(
    ("misstep", "finding"),
    [
        (lambda _, page: page.evaluate(INLINE_SCRIPT), "Content Security Policy"),
        (lambda _, page: page.evaluate(INLINE_STYLE), "Content Security Policy"),
        (lambda _, page: page.evaluate(f"fetch('{ELSEWHERE}').catch(() => 0)"), "Content Security Policy"),
        (lambda _, page: page.evaluate("console.error('something broke')"), "console: something broke"),
        (lambda _, page: page.evaluate(UNCAUGHT), "exception: .*nobody caught this"),
        (lambda _, page: page.goto("/no-such-page"), "status of 404"),
        (fail, "status 503: .*/failing"),
        (go_elsewhere, f"leaves this machine: GET {ELSEWHERE}"),
    ],
)
async def test_a_misstep_of_a_page_is_caught(
    chromium: Browser, scene: PageScene, misstep: Misstep, finding: str
) -> None:
    async def visit() -> None:
        async with visiting(chromium, scene.url) as visitor:
            page = await visitor.context.new_page()
            await page.goto(RETURN)
            visitor.assert_no_problem()
            await misstep(visitor, page)
            # What the page did before, the browser has told by the time that it answers this.
            await page.evaluate("new Promise(done => setTimeout(done))")

    with pytest.raises(AssertionError, match=finding):
        await visit()


async def test_a_status_that_is_expected_is_no_problem(visitor: Visitor, page: Page) -> None:
    visitor.expect_status(404, 503)
    await page.goto("/no-such-page")
    await expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
    await assert_accessible(page)
    await fail(visitor, page)
    assert visitor.problems
    visitor.assert_no_problem()


async def test_a_cold_load_is_measured(page: Page) -> None:
    cold = await measure_cold_load(page, RETURN)
    assert cold.requests == 2, "the page and its style sheet"
    assert 1_000 < cold.received_bytes < 16_384
    assert 0 < cold.interactive_ms < 10_000
    again = await measure_cold_load(page, RETURN)
    assert (again.requests, again.received_bytes) == (cold.requests, cold.received_bytes), "nothing came from a cache"


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize(("value", "taken"), [("1", PICTURES), ("0", set()), (None, set())])
async def test_screenshots_are_taken_only_on_demand(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, taken: set[str]
) -> None:
    monkeypatch.setattr(support, "SCREENSHOTS", tmp_path)
    if value is None:
        monkeypatch.delenv(SCREENSHOTS_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(SCREENSHOTS_VARIABLE, value)
    await page.goto(RETURN)
    await take_screenshots(page, "return")
    assert names_in(tmp_path) == taken


async def test_a_scene_has_calls_messages_and_people(scene: PageScene) -> None:
    company_id = await scene.create_company()
    by_card = await scene.create_office(company_id, balance_micros=10 * DOLLARS)
    invoiced = await scene.create_office(company_id, payment_terms=pb.PAYMENT_TERMS_INVOICE)
    card_id = await scene.add_confirmed_card(by_card)
    assert (await scene.buy(by_card, 20 * DOLLARS, card_id)).balance_micros == 30 * DOLLARS
    assert (await scene.buy(invoiced, 20 * DOLLARS)).balance_micros == 20 * DOLLARS

    secrets = {
        await scene.create_token(pb.ROLE_COMPANY_ADMIN, company_id),
        await scene.create_token(pb.ROLE_OFFICE_ADMIN, company_id, [by_card]),
        await scene.create_token(pb.ROLE_VIEWER, company_id, [by_card, invoiced]),
        await scene.create_token(pb.ROLE_SWITCH, switch_id="switch-1"),
        await scene.create_token(pb.ROLE_OPERATOR),
    }
    assert len(secrets) == 5

    assert (await scene.place_call(by_card, talk_seconds=61)).debited_micros > 0
    assert (await scene.send_message(by_card)).decision == call_pb.GRANTED
    poor = await scene.create_office(company_id)
    assert (await scene.send_message(poor)).decision == call_pb.DENIED
    call_id = await scene.begin_call(by_card)
    assert [each.call_id for each in await scene.operator.live_calls(by_card)] == [call_id]
    assert (await scene.end_call(by_card, call_id, 0)).debited_micros == 0
    assert len(await scene.operator.wait_usage(by_card, 2)) >= 2
