"""The gateways of the month: two fronts and two backs on one store and one ledger, whose loops take turns at random."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.api.calls import Calls
from gateway.api.messages import Messages
from gateway.api.rating import CurrentRater
from gateway.background.due import DueLoop
from gateway.domain.identity import ALL_OFFICES, Identity
from gateway.domain.vocabulary import Role
from gateway.errors import Unavailable
from gateway.ledger.database import Database
from gateway.ledger.errors import DatabaseError
from gateway.payments.sandbox import SandboxProvider
from gateway.store.balances import BalanceStore
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS
from gateway.store.location import StoreLocation
from gateway.store.offices import OfficeCache
from gateway.store.scripts import load_library
from gateway.store.switch_lists import SwitchLists
from tests.simulation.month.rates import BLOCKED_PREFIX, DECK
from tests.support.back import BackUnderTest, running_back
from tests.support.balances import PATIENT_SECONDS, ManualClock
from tests.support.servers import StoreServer

MAX_DURATION: Final = 14_400
SWITCH: Final = Identity(Role.SWITCH, "token-of-the-switch", "", frozenset({ALL_OFFICES}), "sw1")


class SureManualClock(ManualClock):
    """The clock that tests move; never in doubt."""

    is_sure = True


@dataclass
class Front:
    """What decides, as front.py puts it together, without gRPC before it."""

    connection: StoreConnection
    store: BalanceStore
    offices: OfficeCache
    calls: Calls
    messages: Messages
    due: DueLoop


@asynccontextmanager
async def running_front(server: StoreServer, back: BackUnderTest) -> AsyncIterator[Front]:
    """A front on the store; of the shards it looks after every other, and of the rest what is overdue."""
    connection = StoreConnection(StoreLocation.parse(server.url), load_library(), timeout_seconds=PATIENT_SECONDS)
    await connection.start()
    try:
        await connection.wait_connected()
        clock = back.clock
        assert isinstance(clock, SureManualClock)
        store, offices = BalanceStore(connection, clock, back.back.lifetimes), OfficeCache(connection)
        rater = CurrentRater((BLOCKED_PREFIX,))
        assert back.back.directory.deck is not None
        rater.use(back.back.directory.deck)
        calls = Calls(store, offices, rater, max_duration_seconds=MAX_DURATION)
        due = DueLoop(connection, store, offices, clock, SwitchLists(connection), shards=lambda: range(0, SHARDS, 2))
        yield Front(connection, store, offices, calls, Messages(store, offices, rater), due)
        await calls.close()
    finally:
        await connection.close()


@dataclass
class Gateways:
    """Two of each."""

    fronts: list[Front]
    backs: list[BackUnderTest]

    def turns(self, dice: random.Random, pace: float) -> Iterator[Awaitable[object]]:
        """Turns of loops as they happen to come, now and then the same loop of both gateways at once."""
        for front in self.fronts:
            if dice.random() < 0.15 * pace:
                yield front.due.turn()
        for chance, name in _CHANCES:
            if dice.random() < chance * pace:
                both = dice.random() < 0.3
                for back in self.backs if both else [dice.choice(self.backs)]:
                    yield patiently(_turn(back, name))

    async def take_turns(self) -> None:
        """Every loop of every gateway once."""
        for front in self.fronts:
            while await front.due.turn():
                pass
        for back in self.backs:
            for _, name in _CHANCES:
                await _turn(back, name)()

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """The database does not answer anybody."""
        databases = [back.back.database for back in self.backs]
        for database in databases:
            _be_away(database)
        try:
            yield
        finally:
            for database in databases:
                del database.read, database.write


_CHANCES: Final = (
    (0.04, "journaler"),
    (0.04, "refiller"),
    (0.02, "billing"),
    (0.02, "applier"),
    (0.02, "projector"),
    (0.01, "waker"),
    (0.005, "reconciler"),
    (0.01, "webhooks"),
)


def _turn(back: BackUnderTest, name: str) -> Callable[[], Awaitable[object]]:
    if name == "webhooks":
        provider = back.back.provider
        assert isinstance(provider, SandboxProvider)
        return lambda: provider.send_webhooks(back.back.webhooks.receive)
    if name == "journaler":
        return back.journaler.turn
    loop = getattr(back.back.background, name)
    if name == "reconciler":
        loop.ask()
    turn: Callable[[], Awaitable[object]] = loop.turn
    return turn


async def patiently(turn: Callable[[], Awaitable[object]]) -> None:
    """A turn as `Loop` takes it: what did not answer is asked again some other time."""
    try:
        await turn()
    except Unavailable:
        return


def _be_away(database: Database) -> None:
    @asynccontextmanager
    async def nobody() -> AsyncIterator[None]:
        await asyncio.sleep(0)
        raise DatabaseError("the database is away")
        yield

    database.read = nobody  # type: ignore[method-assign,assignment]
    database.write = nobody  # type: ignore[method-assign,assignment]


@asynccontextmanager
async def running_gateways(server: StoreServer, folder: Path, clock: SureManualClock) -> AsyncIterator[Gateways]:
    """Two gateways on a store that is emptied and a ledger in this folder."""
    (folder / "deck.csv").write_text(DECK)
    async with AsyncExitStack() as stack:
        # The month's own book knows no fraud guards: they count, and stop nothing.
        unlimited = {"fraud_country_spend_micros": 0, "fraud_office_spend_micros": 0}
        backs = [
            await stack.enter_async_context(running_back(server, folder, flush=first, clock=clock, **unlimited))
            for first in (True, False)
        ]
        fronts = [await stack.enter_async_context(running_front(server, backs[0])) for _ in range(2)]
        yield Gateways(fronts, backs)
