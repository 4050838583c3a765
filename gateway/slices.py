"""Long lists, a piece at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 500
"""Values in one SQL statement; SQLite took 999 for a long time."""

BREATH: Final = 100
"""Values that are worked on in one turn of an event loop in which others wait: some 2 ms of a journal's entries."""


def slices(values: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of at most `size`, in order."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


async def breathing(values: Sequence[T], size: int = BREATH) -> AsyncIterator[T]:
    """Go through a list, and let others run after so many values, and at the end."""
    for piece in slices(values, size):
        for value in piece:
            yield value
        await asyncio.sleep(0)
