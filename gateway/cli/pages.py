"""Lists that the gateway answers page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol, TypeVar

PAGE_SIZE: Final = 1_000
"""Items of a page; the most that the gateway gives."""


class _Request(Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    next_page_token: str


Request = TypeVar("Request", bound=_Request)
Page = TypeVar("Page", bound=_Page)


async def pages_of(ask: Callable[[Request], Awaitable[Page]], request: Request) -> AsyncIterator[Page]:
    """Every page of a list.

    Args:
        ask: The rpc.
        request: What is listed; its page size and token are set here.
    """
    request.page_size = PAGE_SIZE
    while True:
        page = await ask(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
