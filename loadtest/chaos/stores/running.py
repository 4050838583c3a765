"""Runs a store of either form."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from loadtest.chaos.stores.cluster import running_cluster
from loadtest.chaos.stores.form import Form, Store
from loadtest.chaos.stores.one import running_one
from loadtest.chaos.stores.sentinels import running_sentinels
from tests.support.small_disk import SmallDisk


@asynccontextmanager
async def running_store(form: Form, directory: Path, disk: SmallDisk | None) -> AsyncIterator[Store]:
    """Run a store until the block ends.

    Args:
        form: What it is made of.
        directory: For its files; it is there already.
        disk: A small one that its append-only file is to be on, where it is one store; None: there is none.

    Raises:
        BenchError: It did not start.
    """
    if form is Form.ONE:
        async with running_one(directory, disk) as one:
            yield one
    elif form is Form.SENTINELS:
        async with running_sentinels(directory) as group:
            yield group
    else:
        async with running_cluster(directory) as cluster:
            yield cluster
