"""What it takes to open a page for the first time: few bytes, few requests, nothing from elsewhere."""

import pytest
from playwright.async_api import Page

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import sign_in_by_post
from tests.page.walking import token_of
from tests.support.browser import measure_cold_load
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

MOST_BYTES = 100_000
MOST_REQUESTS = 5
"""The page, its style, its two scripts, and the stream that keeps it up to date."""

FULL_PAGES = ["/sign-in", "/", "/operator"] + [
    f"/offices/{{office}}{part}" for part in ("", "/usage", "/rates", "/transactions", "/cards", "/purchases/new")
]


async def test_a_full_page_is_small(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_full_office()
    await sign_in_by_post(page, await scene.create_token(pb.ROLE_OPERATOR))
    for path in FULL_PAGES:
        cold = await measure_cold_load(page, path.format(office=office_id))
        assert cold.received_bytes < MOST_BYTES, path
        assert cold.requests <= MOST_REQUESTS, path


async def test_the_sign_in_is_small_to_whoever_is_nobody(page: Page) -> None:
    cold = await measure_cold_load(page, "/")
    assert cold.requests <= 5
    assert cold.received_bytes < 30_000


async def test_the_second_page_brings_itself_alone(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    await sign_in_by_post(page, await token_of(scene, office_id))
    await page.goto(f"/offices/{office_id}")
    await page.goto(f"/offices/{office_id}/usage")
    sizes = await page.evaluate("performance.getEntriesByType('resource').map(each => [each.name, each.transferSize])")
    kept = [size for name, size in sizes if "/static/" in name]
    assert len(kept) >= 3
    assert not any(kept), "style and scripts come from the cache, and are not asked about"
