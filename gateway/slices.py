"""Long lists, a piece at a time."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 500
"""Values in one SQL statement; SQLite took 999 for a long time."""


def slices(values: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of at most `size`, in order."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
