"""One event loop for all tests of a session that share what lives in one, such as a browser.

The root conftest runs a coroutine test in this loop if the test, or a fixture of it, asks for `session_loop`; between
tests the loop stands still. All other coroutine tests have a loop of their own.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import pytest

SESSION_LOOP = "session_loop"

T = TypeVar("T")


@pytest.fixture(scope="session", name=SESSION_LOOP)
def session_loop() -> Iterator[asyncio.Runner]:
    """The loop, as fixtures run coroutines in it."""
    with asyncio.Runner() as runner:
        yield runner


@contextmanager
def entered(runner: asyncio.Runner, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context from a fixture that is none, and leave it when the block ends."""

    async def enter() -> T:
        return await manager.__aenter__()

    async def leave() -> None:
        await manager.__aexit__(None, None, None)

    value = runner.run(enter())
    try:
        yield value
    finally:
        runner.run(leave())
