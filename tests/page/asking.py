"""What a visitor's browser could ask besides what the pages make it ask: with their cookies, and without a page."""

import re
from collections.abc import Mapping

from playwright.async_api import APIResponse, Page


async def get(page: Page, path: str) -> APIResponse:
    """Ask for an address, and follow nowhere."""
    return await page.request.get(path, headers={"accept": "text/html"}, max_redirects=0)


async def post(page: Page, path: str, form: Mapping[str, str], **headers: str) -> APIResponse:
    """Post a form as a page of some site would, and follow nowhere."""
    fields: dict[str, str | float | bool] = dict(form)
    return await page.request.post(path, form=fields, headers=headers, max_redirects=0)


async def sign_in_by_post(page: Page, secret: str) -> str:
    """Sign in without a page; what the forms of the session carry."""
    assert (await post(page, "/sign-in", {"token": secret})).status == 303
    found = re.search(r'name="csrf" value="([^"]+)"', await (await page.request.get("/")).text())
    assert found is not None
    return found[1]
