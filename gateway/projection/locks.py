"""One at a time for an office: credits and settings of one office are sent in the order in which SQL has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class OfficeLocks:
    """A lock for each office that somebody is working on, and none for the others: the table cannot grow.

    It saves this process from racing with itself. Between processes the numbers and versions decide, in the store.
    """

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, office_id: str) -> AsyncIterator[None]:
        """Hold the lock of an office; the others wait in the order they came."""
        lock, users = self._locks.get(office_id) or (asyncio.Lock(), 0)
        self._locks[office_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[office_id]
            if users == 1:
                del self._locks[office_id]
            else:
                self._locks[office_id] = lock, users - 1
