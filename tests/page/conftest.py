"""One gateway and one browser for all tests of pages (xdist_group "page"); each test is a visitor of its own.

They end with the last of these tests: an idle gateway and an idle browser would still take time from all others.
"""

import asyncio
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page

from gateway.v1 import credits_pb2 as pb
from tests.support.browser import Visitor, find_chromium, running_chromium, visiting
from tests.support.gateway_process import GatewayProcess
from tests.support.operator import Operator
from tests.support.page_scene import PageScene, gateway_for_pages
from tests.support.session_loop import entered


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """What everything here depends on, so that nothing else is started where it is missing."""
    return find_chromium()


@pytest.fixture(scope="package")
def page_gateway(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The gateway."""
    with gateway_for_pages(tmp_path_factory.mktemp("page")) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def chromium(chromium_path: str, session_loop: asyncio.Runner) -> Iterator[Browser]:
    """The browser."""
    with entered(session_loop, running_chromium(chromium_path)) as browser:
        yield browser


@pytest.fixture(scope="package")
def operator_token(page_gateway: GatewayProcess, session_loop: asyncio.Runner) -> str:
    """Of an operator; after the many wrong tokens of the tests of the sign-in that of the settings is held up."""

    async def make() -> str:
        async with Operator.of(page_gateway.admin_server) as operator:
            return (await operator.stub.CreateToken(pb.CreateTokenRequest(role=pb.ROLE_OPERATOR))).secret

    return session_loop.run(make())


@pytest.fixture
def scene(page_gateway: GatewayProcess, operator_token: str, session_loop: asyncio.Runner) -> Iterator[PageScene]:
    """Makes what the pages are to show."""
    with entered(session_loop, PageScene.of(page_gateway, operator_token)) as opened:
        yield opened


@pytest.fixture
def visitor(chromium: Browser, scene: PageScene, session_loop: asyncio.Runner) -> Iterator[Visitor]:
    """Somebody without cookies; the test fails if a page did what it may not (tests/support/browser.py)."""
    with entered(session_loop, visiting(chromium, scene.url)) as somebody:
        yield somebody


@pytest.fixture
def page(visitor: Visitor, session_loop: asyncio.Runner) -> Page:
    """Their first page, still empty."""

    async def open_page() -> Page:
        return await visitor.context.new_page()

    return session_loop.run(open_page())
