"""One store behind a proxy, on a small disk of its own where that is to be filled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.chaos.stores.form import Store
from loadtest.chaos.stores.server import MortalServer
from tests.support.proxy import FaultProxy
from tests.support.small_disk import SmallDisk


@dataclass
class OneStore(Store):
    """One store.

    Attributes:
        server: The store.
        proxy: Between the gateway and it.
        disk: That its append-only file is on; None: there is no small one.
    """

    server: MortalServer
    proxy: FaultProxy
    disk: SmallDisk | None = None

    @property
    def url(self) -> str:
        """Past the proxy."""
        return self.server.url

    @property
    def gateway_url(self) -> str:
        """By way of the proxy."""
        return self.proxy.url

    def is_whole(self) -> bool:
        """The faults start it again themselves, and wait for it."""
        return True


@asynccontextmanager
async def running_one(directory: Path, disk: SmallDisk | None) -> AsyncIterator[OneStore]:
    """Run it until the block ends.

    Args:
        directory: For its files; it is there already.
        disk: Where its append-only file goes instead.

    Raises:
        BenchError: It did not start.
    """
    # The log is not on the small disk: it has to say what happened when that was full.
    server = MortalServer(directory, {} if disk is None else {"dir": str(disk.path)})
    try:
        server.start()
        await asyncio.to_thread(server.wait_ready)
        async with FaultProxy(("127.0.0.1", server.port)) as proxy:
            yield OneStore(server, proxy, disk)
    finally:
        server.kill()
