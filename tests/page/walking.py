"""What tests of the Credits page do again and again: sign in, look at a page in every form, and see what was bought."""

import asyncio
import time

from playwright.async_api import Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.support.browser import DESKTOP, PHONE, assert_accessible
from tests.support.page_scene import PageScene

CREDIT_SECONDS = 30.0
"""How long money may take that comes by itself: the provider is asked again after 5 s at the earliest."""


async def sign_in(page: Page, secret: str, path: str = "/") -> None:
    """Sign in with a token on the way to a page; somebody who sees one office only gets from / to that."""
    await page.goto(path)
    await page.get_by_label("Your token").fill(secret)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


async def token_of(scene: PageScene, office_id: str, role: "pb.Role.ValueType" = pb.ROLE_OFFICE_ADMIN) -> str:
    """The secret of a new token, for an office or (ROLE_COMPANY_ADMIN) for all of its company."""
    company_id = (await scene.operator.office(office_id)).company_id
    return await scene.create_token(role, company_id, [] if role == pb.ROLE_COMPANY_ADMIN else [office_id])


async def sign_in_to(
    scene: PageScene, page: Page, office_id: str, path: str = "", role: "pb.Role.ValueType" = pb.ROLE_OFFICE_ADMIN
) -> str:
    """Sign in as somebody new of an office, on the way to a page below it, e.g. /cards; the secret of their token."""
    secret = await token_of(scene, office_id, role)
    await sign_in(page, secret, f"/offices/{office_id}{path}")
    return secret


async def assert_fine_in_every_form(page: Page) -> None:
    """A page as it stands is accessible, light and dark, and never scrolls sideways, on a desk and on a phone.

    Raises:
        AssertionError: It is not, or does.
    """
    for width, height in (DESKTOP, PHONE):
        await page.set_viewport_size({"width": width, "height": height})
        for dark in (False, True):
            await page.emulate_media(color_scheme="dark" if dark else "light")
            await assert_accessible(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} scrolls sideways"
    await page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    await page.emulate_media(color_scheme="null")


async def purchases_of(scene: PageScene, office_id: str) -> list[int]:
    """What was bought for an office and credited, newest first, in micros."""
    listed = await scene.operator.stub.ListTransactions(pb.ListTransactionsRequest(office_id=office_id, page_size=100))
    return [each.amount_micros for each in listed.transactions if each.kind == "purchase"]


async def wait_for_balance(scene: PageScene, office_id: str, balance_micros: int) -> None:
    """Wait until an office has a balance.

    Raises:
        AssertionError: It has another after CREDIT_SECONDS.
    """
    deadline = time.monotonic() + CREDIT_SECONDS
    while (found := await scene.operator.balance(office_id)) != balance_micros:
        assert time.monotonic() < deadline, f"the balance is {found}, not {balance_micros}"
        await asyncio.sleep(0.1)
