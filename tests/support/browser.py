"""Chromium of Debian, driven by Playwright, and what a page has to keep to while a test looks at it.

Playwright's objects live in one event loop: that of the session's runner (tests/support/session_loop.py), in which the
tests that use it run.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    async_playwright,
)

from tests.support.programs import find_program

HOST = "127.0.0.1"
"""The only one that a page may talk to."""

DESKTOP = (1280, 800)
PHONE = (390, 844)
"""Width and height, in CSS pixels."""

ACTION_LIMIT_MS = 10_000.0
"""How long Playwright waits for what a test expects of a page, before it says what it saw instead."""

SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
SCREENSHOTS_VARIABLE = "TOLLGATE_SCREENSHOTS"

_OPTIONS = [
    # Nothing of a page leaves this machine, whatever its author forgot.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
    # /dev/shm is small in a container; without room there a tab dies.
    "--disable-dev-shm-usage",
]

_STATUS = re.compile(r"the server responded with a status of (\d{3})")

_INTERACTIVE_JS = """
() => new Promise(done => {
    let ends = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
    const see = entries => { for (const each of entries) ends = Math.max(ends, each.startTime + each.duration); };
    const observer = new PerformanceObserver(list => see(list.getEntries()));
    observer.observe({type: "longtask", buffered: true});
    // Without a window nothing may ever be drawn again, and then nobody says that it is idle.
    const limit = {timeout: 500};
    const end = () => { see(observer.takeRecords()); done(ends); };
    requestIdleCallback(() => requestIdleCallback(end, limit), limit);
})
"""


def find_chromium() -> str:
    """The path of Chromium; skip the test where it is missing, or fail it when CI=true."""
    return find_program("chromium-headless-shell", "chromium-headless-shell")


@asynccontextmanager
async def running_chromium(path: str) -> AsyncIterator[Browser]:
    """Run a browser without a window until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path,
            args=_OPTIONS,
            # Chromium's sandbox refuses to run as root, and what it would keep in are our own pages.
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(frozen=True, slots=True)
class Problem:
    """What a page did that it may not.

    Attributes:
        text: For people.
        status: The HTTP status, where that was the problem.
    """

    text: str
    status: int | None = None


@dataclass
class Visitor:
    """Somebody with a browser of their own: cookies, pages, and all that went wrong on them.

    Attributes:
        context: Where their pages are opened.
        problems: Errors in the console, violated content security policies among them; requests that would leave this
            machine; answers of 500 and above.
    """

    context: BrowserContext
    problems: list[Problem] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(ACTION_LIMIT_MS)
        self.context.on("console", self._hear)
        self.context.on("weberror", self._catch)
        self.context.on("request", self._see_request)
        self.context.on("response", self._see_response)

    def expect_status(self, *statuses: int) -> None:
        """Allow answers with these statuses from now on: of 400 and above none is expected otherwise."""
        self._expected.update(statuses)

    def assert_no_problem(self) -> None:
        """All pages did as they should.

        Raises:
            AssertionError: They did not; with everything that went wrong.
        """
        found = [each.text for each in self.problems if each.status not in self._expected]
        assert not found, "\n".join(["in the browser:", *found])

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            # Chromium writes each answer of 400 and above into the console.
            status = _STATUS.search(message.text)
            where = f"{message.location['url']}:{message.location['lineNumber']}"
            self.problems.append(Problem(f"console: {message.text} ({where})", int(status[1]) if status else None))

    def _catch(self, error: WebError) -> None:
        self.problems.append(Problem(f"exception: {error.error}"))

    def _see_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in {"http", "https", "ws", "wss"} and url.hostname != HOST:
            self.problems.append(Problem(f"leaves this machine: {request.method} {request.url}"))

    def _see_response(self, response: Response) -> None:
        if response.status >= 500:
            self.problems.append(Problem(f"status {response.status}: {response.url}", response.status))


@asynccontextmanager
async def visiting(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visitor]:
    """Be somebody new, without cookies, until the block ends.

    Args:
        browser: Whose browser.
        url: Of the gateway; pages are opened by their paths.
        **options: More of Browser.new_context, e.g. color_scheme="dark".

    Raises:
        AssertionError: A page did what it may not.
    """
    width, height = DESKTOP
    context = await browser.new_context(base_url=url, viewport={"width": width, "height": height}, **options)
    try:
        visitor = Visitor(context)
        yield visitor
    finally:
        await context.close()
    visitor.assert_no_problem()


async def assert_accessible(page: Page) -> None:
    """axe-core finds nothing serious or critical on a page as it stands.

    Raises:
        AssertionError: It does; with the rules and the elements.
    """
    # What the debugger runs is not held to the page's content security policy.
    found = (await Axe().run(page)).response["violations"]
    told = [
        f"{each['impact']}: {each['help']} ({each['id']})\n    {node['html']}\n    {node['failureSummary']}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
    assert not told, "\n".join([f"not accessible: {page.url}", *told])


@dataclass(frozen=True, slots=True)
class ColdLoad:
    """What it takes to open a page for the first time.

    Attributes:
        requests: How many, of documents, scripts, style sheets and all else.
        received_bytes: Over the network, headers included.
        interactive_ms: From the beginning until the document was ready and no task longer than 50 ms was left.
    """

    requests: int
    received_bytes: int
    interactive_ms: float


async def measure_cold_load(page: Page, url: str) -> ColdLoad:
    """Open a page with nothing in the cache, and with the cookies of its visitor.

    A stream that goes on is counted with what came of it so far. The page's icon is not: Chromium asks for it when all
    else is there, if it has not kept it.
    """
    urls: dict[str, str] = {}
    received: dict[str, int] = {}

    def see_head(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["response"]["url"]
        received[event["requestId"]] = int(event["response"]["encodedDataLength"])

    def see_data(event: dict[str, Any]) -> None:
        received[event["requestId"]] = received.get(event["requestId"], 0) + int(event["encodedDataLength"])

    def see_end(event: dict[str, Any]) -> None:
        received[event["requestId"]] = int(event["encodedDataLength"])

    await page.goto("about:blank")  # So that nothing more comes of the page before.
    debugger = await page.context.new_cdp_session(page)
    debugger.on("Network.responseReceived", see_head)
    debugger.on("Network.dataReceived", see_data)
    debugger.on("Network.loadingFinished", see_end)
    await debugger.send("Network.enable")
    await debugger.send("Network.clearBrowserCache")
    try:
        await page.goto(url, wait_until="load")
        interactive_ms = float(await page.evaluate(_INTERACTIVE_JS))
        icons = await page.evaluate("[...document.querySelectorAll('link[rel~=icon]')].map(each => each.href)")
    finally:
        await debugger.detach()
    counted = [size for request, size in received.items() if urls.get(request) not in icons]
    return ColdLoad(len(counted), sum(counted), interactive_ms)


async def take_screenshots(page: Page, name: str) -> None:
    """Show a page as it stands in docs/screenshots, light, dark and on a phone; only if TOLLGATE_SCREENSHOTS=1."""
    if os.environ.get(SCREENSHOTS_VARIABLE) != "1":
        return
    SCREENSHOTS.mkdir(exist_ok=True)
    for form, (width, height), scheme in (
        ("light", DESKTOP, "light"),
        ("dark", DESKTOP, "dark"),
        ("phone", PHONE, "light"),
    ):
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        # With the caret as it is: to hide it, Playwright would write a style into the page, which may have none.
        await page.screenshot(path=SCREENSHOTS / f"{name}-{form}.png", full_page=True, caret="initial")
    await page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    await page.emulate_media(color_scheme="null")
