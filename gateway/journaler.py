"""The journaler process: takes what moved money out of the outboxes of the store and into the ledger.

It is a process of its own because it is busy where the back must not be: to prepare and write thousands of rows holds
an event loop up for 100 ms at a time, and in the back a refill trigger that was published meanwhile would wait. And it
may be late where nothing else may, so it stands behind the others when processors are short.
"""

import asyncio
import math
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from gateway import collector, metrics
from gateway.background.journaler import EVERY_SECONDS, Journaler
from gateway.background.loops import Loop, run_until
from gateway.background.shards import JOURNAL, ShardLeases
from gateway.domain.fraud_guard import GuardPolicy
from gateway.ledger.database import Database
from gateway.ledger.journal import Journal
from gateway.ledger.outbox import Outbox
from gateway.ledger_opening import open_ledger
from gateway.news import News, news_teller
from gateway.settings import Settings
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock, StoreClock
from gateway.store.connection import StoreConnection
from gateway.store.durability import Durability
from gateway.store_opening import location_of, make_store
from gateway.tracing.ledger import TracedJournal
from gateway.tracing.tracer import Tracer, either

NICENESS: Final = 5
"""Of the process: beside a front on the same core it gets a quarter of it."""


async def run_journaler(settings: Settings, *, ready: Callable[[], None], stop: asyncio.Event) -> bool:
    """Journal until `stop` is set; returns whether it ended because it was told to.

    What it is in the midst of then is not committed, and comes again.

    Args:
        settings: With `redis_url`, which the supervisor fills in for the embedded store.
        ready: Called once the ledger is open.
        stop: Set when the process is told to stop.

    Raises:
        StartupError: There is no store, or the database cannot be used.
    """
    stand_behind()
    async with AsyncExitStack() as stack:
        parts = await open_journaler(settings, stack, news_teller())
        leases = ShardLeases(JOURNAL, parts.connection, parts.store, parts.clock)
        parts.journaler.shards = leases.held
        metrics.TLS_EXPIRES.set(math.inf)  # It has no listener: only what the others say is to count.
        collector.leave_alone()
        ready()
        return await run_until(
            stop,
            [
                parts.clock.follow(parts.connection),
                leases.run(),
                _journal(parts),
            ],
        )


async def _journal(parts: "JournalerParts") -> None:
    await parts.connection.wait_connected()
    await Loop("journaler", parts.journaler.turn, EVERY_SECONDS).run()


def stand_behind() -> None:
    """Let others first on the processors: this process, and the threads that it has from now on."""
    os.nice(NICENESS)


class JournalerParts(NamedTuple):
    """A journaler, and what it stands on."""

    connection: StoreConnection
    store: BalanceStore
    clock: StoreClock
    journaler: Journaler


async def open_journaler(
    settings: Settings, stack: AsyncExitStack, tell: Callable[[News], None] = lambda _: None
) -> JournalerParts:
    """Open the ledger and begin connecting to the store; the stack closes all of it.

    Raises:
        StartupError: There is no store, or the database cannot be used.
    """
    location = location_of(settings, "journaler")
    database, tracer = await open_ledger(settings, "journaler", stack)
    clock = StoreClock()
    connection, store = make_store(settings, location, clock, tracer)
    await connection.start()
    stack.push_async_callback(connection.close)
    journaler = make_journaler(settings, database, connection, store, tell, clock, tracer)
    stack.push_async_callback(journaler.close)
    return JournalerParts(connection, store, clock, journaler)


def make_journaler(
    settings: Settings,
    database: Database,
    connection: StoreConnection,
    store: BalanceStore,
    tell: Callable[[News], None],
    clock: Clock,
    tracer: Tracer | None = None,
) -> Journaler:
    """A journaler for all shards, which the caller closes."""
    policy = GuardPolicy(
        country_spend_micros=settings.fraud_country_spend_micros,
        office_spend_micros=settings.fraud_office_spend_micros,
        country_calls=settings.fraud_country_calls,
        office_calls=settings.fraud_office_calls,
        hours=settings.fraud_guard_hours,
    )
    journal = either(tracer, Journal, TracedJournal)(database, policy)
    return Journaler(connection, store, Durability(connection), journal, Outbox(database), tell, clock)
