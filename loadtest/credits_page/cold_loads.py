"""Pages opened with nothing in the browser's cache, by Chromium."""

import asyncio
from pathlib import Path
from typing import Any, Final

from gateway.v1 import credits_pb2 as pb
from loadtest.figures import Figure
from tests.page.asking import sign_in_by_post
from tests.support.billing import DOLLARS
from tests.support.browser import find_chromium, measure_cold_load, running_chromium, visiting
from tests.support.gateway_process import GatewayProcess
from tests.support.page_scene import PageScene, gateway_for_pages

MOST_BYTES: Final = 100_000
MOST_MS: Final = 300.0
"""The aims: of one page."""

_RECORDS: Final = 12
_CALLS: Final = 3


def measure_cold_loads(directory: Path, times: int) -> dict[str, Any]:
    """Open each page so many times.

    Returns:
        By page: requests, the most bytes, and the milliseconds until it could be used; and the aims.
    """
    with gateway_for_pages(directory) as gateway:
        pages = asyncio.run(_measure(gateway, times))  # Playwright does not start under uvloop.
    return {"times": times, "pages": pages, "aims": {"most_bytes": MOST_BYTES, "interactive_ms": MOST_MS}}


async def _measure(gateway: GatewayProcess, times: int) -> dict[str, Any]:
    async with (
        PageScene.of(gateway) as scene,
        running_chromium(find_chromium()) as chromium,
        visiting(chromium, scene.url) as visitor,
    ):
        page = await visitor.context.new_page()
        full, usual = await scene.create_full_office(), await _create_usual_office(scene)
        pages = {}

        async def measure(name: str, path: str) -> None:
            loads = [await measure_cold_load(page, path) for _ in range(times)]
            pages[name] = {
                "requests": loads[0].requests,
                "most_bytes": max(each.received_bytes for each in loads),
                "interactive_ms": Figure.of(each.interactive_ms for each in loads).to_json(),
            }

        await measure_cold_load(page, "/sign-in")  # The browser's own first time.
        await measure("Sign-in", "/sign-in")
        await sign_in_by_post(page, await scene.create_token(pb.ROLE_OPERATOR))
        await measure(f"Calling Credits, {_CALLS} calls", f"/offices/{usual}")
        await measure("Calling Credits, 50 calls", f"/offices/{full}")
        await measure(f"Usage, {_RECORDS} records", f"/offices/{usual}/usage")
        await measure("Usage, 50 records", f"/offices/{full}/usage")
        await measure("Offices, 50", "/")
        await measure("Operator", "/operator")
        await page.goto("about:blank")
    return pages


async def _create_usual_office(scene: PageScene) -> str:
    office_id = await scene.create_office(balance_micros=50 * DOLLARS)
    for number in range(_RECORDS):
        await scene.place_call(office_id, user_id=f"user-{number}")
    for number in range(_CALLS):
        await scene.begin_call(office_id, user_id=f"user-{number}")
    await scene.operator.wait_usage(office_id, _RECORDS)
    return office_id
