"""The load: switches, strays, an owner and calls for help, from the first request to the last answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Final

from gateway.client import Client, LinkTimes
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub
from loadtest.chaos.books import Books, Occurrence
from loadtest.chaos.emergencies import Emergencies
from loadtest.chaos.meter import Meter
from loadtest.chaos.owners import Owner
from loadtest.chaos.site import Site
from loadtest.chaos.strays import Strays
from loadtest.chaos.switches import Payers, Switch
from loadtest.chaos.unary import PATIENCE_SECONDS, open_asker
from loadtest.load.offices import Offices
from loadtest.processes import BenchError
from loadtest.scene import OPERATOR_TOKEN

SWITCHES: Final = 3
_LINES: Final = 12
_STRAYS: Final = 6
_CONNECTIONS: Final = 6

_TIMES: Final = LinkTimes(live_calls_seconds=2.0)
"""Listed more often than a switch need, so that what a fault has left behind lapses before the run is over."""


class Load:
    """Everybody who asks.

    Attributes:
        books: What they were answered.
        meter: How much and how fast.
        owner: Whose credits are among it.
    """

    def __init__(
        self, books: Books, meter: Meter, owner: Owner, strays: Strays, callers: "list[asyncio.Task[None]]"
    ) -> None:
        self.books = books
        self.meter = meter
        self.owner = owner
        self._strays = strays
        self._callers = callers

    def check(self) -> None:
        """Raise what a caller has failed of, which is a fault of this program."""
        for caller in self._callers:
            if caller.done():
                caller.result()

    async def settle(self, occurrences: Sequence[Occurrence]) -> None:
        """Wait until everybody has come to the end of what they were doing, and has it settled, the stop being set.

        Args:
            occurrences: The faults that happened; of what they may have lost everybody goes through the records.

        Raises:
            BenchError: Somebody is not answered.
        """
        try:
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                await asyncio.gather(*self._callers)
                await self._strays.go_through_records(occurrences)
        except TimeoutError:
            raise BenchError("the load could not be settled: somebody is still not answered") from None


@asynccontextmanager
async def running_load(site: Site, offices: Offices, seed: str, stop: asyncio.Event) -> AsyncIterator[Load]:
    """Load the gateway until `stop` is set; the block must wait for `settle` then.

    Args:
        site: Whose bursts of retries, and whose offices, become this load's.
        offices: Who pays; those without funds are given some by their owner.
        seed: Of all chances.
        stop: Set: begin nothing new.
    """
    books = Books()
    meter = Meter(books)
    payers = Payers(offices.funded, offices.unfunded, offices.refilled)

    def chance(name: str) -> Random:
        return Random(f"{seed}/{name}")

    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(
            open_asker(site.server, CallAuthorizationStub, _CONNECTIONS, chance("unary"), meter.not_answered)
        )
        owner_asker = await stack.enter_async_context(
            open_asker(site.loaded.admin_server, CreditsStub, 1, chance("owner's"), lambda: None)
        )
        clients = [
            await stack.enter_async_context(
                Client(
                    f"127.0.0.1:{site.switch_proxy.port}",
                    OPERATOR_TOKEN,
                    switch_id=f"switch-{number}",
                    times=_TIMES,
                    random=chance(f"client {number}"),
                )
            )
            for number in range(SWITCHES)
        ]
        switches = [
            Switch(client, f"s{number}", payers, books, meter, chance(f"switch {number}"), stop)
            for number, client in enumerate(clients)
        ]
        strays = Strays(asker, payers.funded, books, meter, chance("strays"), stop)
        owner = Owner(owner_asker, payers.short, books, chance("owner"), stop)
        emergencies = Emergencies(clients, asker, payers.short[0], books, meter, stop)
        site.ask_again, site.offices = strays.ask_again, offices
        lives = [
            *(switch.live() for switch in switches for _ in range(_LINES)),
            *(strays.live() for _ in range(_STRAYS)),
            owner.live(),
            emergencies.by_session(),
            emergencies.directly(),
        ]
        callers = [asyncio.create_task(life) for life in lives]
        obeying = [asyncio.create_task(switch.obey()) for switch in switches]
        try:
            yield Load(books, meter, owner, strays, callers)
        finally:
            for task in (*callers, *obeying):
                task.cancel()
            await asyncio.gather(*callers, *obeying, return_exceptions=True)
