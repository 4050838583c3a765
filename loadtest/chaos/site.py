"""What the faults happen to: a gateway with two workers, its store, its switches behind a proxy, and its clock."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from gateway.address import Address
from gateway.cli.health import SERVING, ask_health
from loadtest.chaos.means import Means
from loadtest.chaos.stores.form import Form, Store
from loadtest.chaos.stores.running import running_store
from loadtest.load.fronts import processes_of
from loadtest.load.gateway import LoadedGateway
from loadtest.load.offices import Offices
from loadtest.processes import BenchError
from loadtest.scene import OPERATOR_TOKEN
from tests.support.false_clock import FalseClock
from tests.support.gateway_process import UNGUARDED
from tests.support.mortal_gateway import MortalGateway
from tests.support.proxy import FaultProxy
from tests.support.small_disk import SmallDisk, mounted

WORKERS: Final = 2

_DECK: Final = Path(__file__).with_name("deck.csv")
_DATABASE: Final = "tollgate.db"

_DISK_MEGABYTES: Final = 256
_NOBODY: Final = Offices(())

_WHOLE_SECONDS: Final = 60.0
_LISTENS: Final = "0A"

_LOCKER: Final = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""
"""Holds the database until it is killed, or whoever started it is gone."""


@dataclass
class Site:
    """Everything that a fault can get at.

    Attributes:
        gateway: Started with this store, and SQLite.
        store: Its store.
        switch_proxy: Between the switches' Sessions and the gateway.
        clock: Of all processes of the gateway; None: they go by the right one.
        ask_again: Asks again what was settled last, many times and out of order; the load's to set.
        offices: Who is under load; the load's to set.
    """

    gateway: MortalGateway
    store: Store
    switch_proxy: FaultProxy
    clock: FalseClock | None
    ask_again: Callable[[Random], Awaitable[None]]
    offices: Offices = _NOBODY

    @property
    def server(self) -> Address:
        """CallAuthorization itself, past the proxy of the switches."""
        return Address.parse(self.gateway.server)

    @property
    def loaded(self) -> LoadedGateway:
        """The same as other loads know a gateway."""
        admin = Address.parse(self.gateway.admin_server)
        return LoadedGateway(self.server, admin, OPERATOR_TOKEN, self.gateway.data_dir, self.gateway.pid, is_own=True)

    async def start_gateway(self) -> None:
        """Start the gateway, and return when it serves.

        Raises:
            BenchError: It does not; with its log.
        """
        try:
            await asyncio.to_thread(self.gateway.start)
        except AssertionError as error:
            raise BenchError(f"the gateway did not start: {str(error)[-3000:]}") from None

    def kill_gateway(self) -> None:
        """Kill all its processes."""
        pid = self.gateway.pid
        self.gateway.kill()
        if self.clock is not None:
            self.clock.forget(pid)

    async def wait_whole(self) -> None:
        """Return when all workers and the back serve, and the store is whole.

        Raises:
            BenchError: They do not in time.
        """
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                while True:
                    back = await ask_health(Address.parse(self.gateway.admin_server), 1.0)
                    serves = back == SERVING and _listeners(self.server.port) == WORKERS
                    if serves and await asyncio.to_thread(self.store.is_whole):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BenchError(f"the gateway is not whole again after {_WHOLE_SECONDS:g} s") from None

    def kill_child(self, name: str, number: int) -> None:
        """Kill one of the gateway's processes of a name; nothing if the supervisor has none at this moment."""
        pids = processes_of(self.gateway.pid, name)
        if pids:
            with suppress(ProcessLookupError):
                os.kill(pids[number % len(pids)], signal.SIGKILL)

    def lock_database(self) -> "subprocess.Popen[str]":
        """Have another process hold the database; it lets go when it is killed.

        Raises:
            BenchError: It could not.
        """
        holder = subprocess.Popen(
            [sys.executable, "-c", _LOCKER, str(self.gateway.data_dir / _DATABASE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "locked":
            holder.kill()
            raise BenchError(f"the database could not be locked: {holder.communicate()[1][-1000:]}")
        return holder


@asynccontextmanager
async def running_site(directory: Path, form: Form, means: Collection[Means]) -> AsyncIterator[Site]:
    """Run gateway, store and proxies until the block ends.

    Args:
        directory: For all their files; it is there already.
        form: Of the store.
        means: What faults are going to need.

    Raises:
        BenchError: One of them did not start.
    """
    with ExitStack() as stack:
        clock = _clock(directory) if Means.FALSE_CLOCK in means else None
        disk: SmallDisk | None = None
        if Means.SMALL_DISK in means:
            disk = stack.enter_context(mounted(directory / "disk", _DISK_MEGABYTES))
        (directory / "store").mkdir()
        async with running_store(form, directory / "store", disk) as store:
            gateway = MortalGateway(directory, _settings(store, clock))
            address = Address.parse(gateway.server)
            async with FaultProxy((address.host, address.port)) as switch_proxy:
                site = Site(gateway, store, switch_proxy, clock, _nothing)
                try:
                    await site.start_gateway()
                    yield site
                finally:
                    await asyncio.to_thread(gateway.stop)


def _clock(directory: Path) -> FalseClock:
    """One that is right."""
    clock = FalseClock(directory / "clock")
    clock.set(0)
    return clock


def _settings(store: Store, clock: FalseClock | None) -> Mapping[str, str]:
    """The gateway's variables."""
    return {
        "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "TOLLGATE_REDIS_URL": store.gateway_url,
        "TOLLGATE_RATES": str(_DECK),
        "TOLLGATE_WORKERS": str(WORKERS),
        # As many as the money that is spent asks for.
        "TOLLGATE_REFILLS_A_DAY": "1000",
        # What a fault has left behind lapses while the audit waits.
        "TOLLGATE_SETUP_TIMEOUT_SECONDS": "30",
        "TOLLGATE_GRACE_SECONDS": "10",
        **UNGUARDED,
        **(clock.environment if clock else {}),
    }


def _listeners(port: int) -> int:
    """How many sockets listen on a port: one a worker."""
    tables = (Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    sockets = (line.split() for table in tables for line in table)
    return sum(socket[1].endswith(f":{port:04X}") and socket[3] == _LISTENS for socket in sockets)


async def _nothing(_: Random) -> None:
    """There is no load yet."""
