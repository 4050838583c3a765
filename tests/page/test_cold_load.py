"""What it takes to open a page for the first time: few bytes, few requests, nothing from elsewhere."""

import asyncio

import pytest
from playwright.async_api import Page

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import sign_in_by_post
from tests.page.walking import token_of
from tests.support.billing import DOLLARS
from tests.support.browser import measure_cold_load
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

MOST_BYTES = 100_000
MOST_REQUESTS = 5
"""The page, its style, its two scripts, and the stream that keeps it up to date."""

FULL_PAGES = ["/sign-in", "/", "/operator"] + [
    f"/offices/{{office}}{part}" for part in ("", "/usage", "/rates", "/transactions", "/cards", "/purchases/new")
]


async def make_full_office(scene: PageScene) -> str:
    """An office whose pages are as full as they get: as many rows as are shown at a time."""
    company_id = await scene.create_company()
    office_id = await scene.create_office(company_id, balance_micros=100 * DOLLARS)
    await asyncio.gather(*(scene.create_office(company_id, name=f"Branch {number}") for number in range(50)))
    await scene.add_confirmed_card(office_id)
    for _ in range(6):
        await scene.operator.adjust(office_id, DOLLARS)
    await asyncio.gather(*(scene.place_call(office_id, user_id=f"user-{number}") for number in range(60)))
    await asyncio.gather(*(scene.begin_call(office_id, user_id=f"user-{number}") for number in range(51)))
    await scene.operator.wait_usage(office_id, 60)
    return office_id


async def test_a_full_page_is_small(scene: PageScene, page: Page) -> None:
    office_id = await make_full_office(scene)
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
