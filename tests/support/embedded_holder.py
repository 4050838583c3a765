"""A gateway cut down to its embedded store: holds a data directory until it is killed, for tests that kill it.

Run as `python -m tests.support.embedded_holder DATA_DIR [BINARY]`. Prints one line, `ready <url>` or `refused <why>`;
stops the store in order when its standard input ends.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from gateway.log import configure_logging
from gateway.startup import StartupError
from gateway.store.embedded import EmbeddedStore


async def hold(data_dir: Path, binary: Path | None) -> None:
    store = EmbeddedStore(data_dir, binary=binary)
    try:
        address = await store.start()
    except StartupError as error:
        print("refused", str(error).replace("\n", " "), flush=True)
        return
    watch = asyncio.create_task(store.supervise())
    print("ready", address.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    await store.stop()


if __name__ == "__main__":
    configure_logging("info", "json", "holder")
    asyncio.run(hold(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
