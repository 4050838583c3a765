"""The steps of Add Value as a visitor takes them, for tests of purchases."""

import asyncio
import time
from typing import TypeAlias

from grpc import StatusCode
from grpc.aio import AioRpcError
from playwright.async_api import Locator, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.walking import CREDIT_SECONDS, purchases_of
from tests.support.billing import DOLLARS
from tests.support.page_scene import PageScene

FIFTY = 50 * DOLLARS
"""What tests buy; it is among the amounts that are offered unless the settings say otherwise."""

Form: TypeAlias = dict[str, str | float | bool]
"""As Playwright sends one; what pages write into theirs is text."""

BOUGHT_MEANWHILE = "Something else was bought meanwhile."


def heading(page: Page, name: str) -> Locator:
    """The heading of a page, which says what it is."""
    return page.get_by_role("heading", level=1, name=name, exact=True)


async def open_choose(page: Page, office_id: str) -> None:
    """Begin to buy for an office, on its page."""
    await page.goto(f"/offices/{office_id}")
    await page.get_by_role("link", name="Add Value").first.click()
    await expect(heading(page, "Add Value")).to_be_visible()


async def review(page: Page, amount: str = "$50.00", card: str = "") -> str:
    """Choose an amount, and a card by what it ends in, and go on to the review; the address of the purchase."""
    await page.get_by_role("radio", name=amount, exact=True).check()
    if card:
        await page.get_by_role("radio", name=card).check()
    await page.get_by_role("button", name="Review").click()
    await expect(heading(page, "Review")).to_be_visible()
    return page.url


async def review_purchase(page: Page, office_id: str, amount: str = "$50.00") -> str:
    """From the page of an office to the review of a purchase with its first card; the address of the purchase."""
    await open_choose(page, office_id)
    return await review(page, amount)


async def confirm(page: Page, amount: str = "$50.00") -> None:
    """Confirm what is reviewed."""
    await page.get_by_role("button", name=f"Confirm: {amount}", exact=True).click()


async def expect_receipt(page: Page, amount: str = "$50.00") -> None:
    """It is bought, and the page says so."""
    await expect(heading(page, "Receipt")).to_be_visible(timeout=1000 * CREDIT_SECONDS)
    await expect(page.get_by_text(f"{amount} added.")).to_be_visible()


async def expect_bought_once(scene: PageScene, office_id: str, amount_micros: int = FIFTY) -> None:
    """An office that began without money has bought this, once, and has it."""
    assert await purchases_of(scene, office_id) == [amount_micros]
    assert await scene.operator.balance(office_id) == amount_micros


async def expect_nothing_bought(scene: PageScene, office_id: str) -> None:
    """An office that began without money has bought nothing."""
    assert await purchases_of(scene, office_id) == []
    assert await scene.operator.balance(office_id) == 0


async def form_of(page: Page) -> Form:
    """What the form of the review would send."""
    fields = page.locator("main form input[type=hidden]")
    sent: Form = await fields.evaluate_all("all => Object.fromEntries(all.map(f => [f.name, f.value]))")
    assert {"csrf", "amount"} <= sent.keys(), sent
    return sent


async def edit_form(page: Page, name: str, value: str) -> None:
    """Change what the page has written into its form, as who knows browsers can."""
    field = page.locator(f"main form input[name={name}]").first
    await field.evaluate("(field, value) => { field.value = value }", value)


async def add_slow_card(scene: PageScene, office_id: str, token: str) -> str:
    """Add a card of which the provider says late what became of a charge, also of the small one; its id."""
    deadline = time.monotonic() + CREDIT_SECONDS
    while True:
        try:
            card: pb.PaymentMethod = await scene.add_card(office_id, token)
            break
        except AioRpcError as undecided:
            if undecided.code() is not StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    await scene.confirm_card(office_id, card.payment_method_id)
    return card.payment_method_id


async def add_asked_card(scene: PageScene, page: Page, office_id: str) -> str:
    """Add a card whose bank asks at every charge, and approve the small one there; its id."""
    asked = await scene.add_card(office_id, "tok_authentication_required")
    await answer_bank(page, asked.confirmation_url)
    card = await scene.add_card(office_id, "tok_authentication_required")
    assert not card.confirmation_url
    await scene.confirm_card(office_id, card.payment_method_id)
    return card.payment_method_id


async def answer_bank(page: Page, link: str, answer: str = "Approve") -> None:
    """Tell the bank, on its page."""
    if link:
        await page.goto(link)
    await page.get_by_role("button", name=answer).click()
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
