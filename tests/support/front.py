"""A front of the gateway within the test's own process, on a real store, with offices put there directly."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.client.tls import Tls, dial
from gateway.domain.deck import parse_deck
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import OfficeState, Role
from gateway.front import run_front
from gateway.settings import load_settings
from gateway.store.balances import BalanceStore
from gateway.store.clock import StoreClock
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.directory import PublishedToken, publish_rates, publish_tokens
from gateway.store.location import StoreLocation
from gateway.store.records import OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.records_pb2 import OfficeProfile
from tests.support.balances import PATIENT_SECONDS
from tests.support.servers import free_port
from tests.support.store_keys import flush_all

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

OPERATOR = "test-operator-token-0123456789"
SWITCH_A, SWITCH_B = "tg_switch-a", "tg_switch-b"
ADMIN = "tg_admin"

DECK = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,STANDARD,,,LOCAL,0,0,60,60,0,60,local calls are free
,VOICE,OUTBOUND,,,,TOLL_FREE,0,0,60,60,0,60,toll-free calls are free
,VOICE,INBOUND,,,,,0,0,60,60,0,60,inbound calls are free
,VOICE,INBOUND,,US,,TOLL_FREE,0,0.02,60,60,0,60,inbound to a toll-free number
,VOICE,OUTBOUND,,,44,,0,0.12,60,60,0,60,United Kingdom
,VOICE,OUTBOUND,,,33,,0,0.10,60,1,0,60,France by the second
,FAX,OUTBOUND,,,44,,0,0.12,60,60,0.05,60,Fax to the United Kingdom
,SMS,,,,,,,0.03,,,,,SMS
"""


TOKENS: Mapping[str, PublishedToken] = {
    hash_secret(secret): PublishedToken(identity, None)
    for secret, identity in {
        SWITCH_A: Identity(Role.SWITCH, "a", office_ids=frozenset({"*"}), switch_id="switch-a"),
        SWITCH_B: Identity(Role.SWITCH, "b", office_ids=frozenset({"b"}), switch_id="switch-b"),
        ADMIN: Identity(Role.COMPANY_ADMIN, "c", company_id="acme"),
    }.items()
}
"""Of an operator there is one in the settings."""
NO_TOKENS: Mapping[str, PublishedToken] = {}


def metadata(secret: str = OPERATOR) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a token."""
    return (("authorization", f"Bearer {secret}"),)


@dataclass
class Front:
    """A running front with what a test needs beside it."""

    stub: "CallAuthorizationAsyncStub"
    channel: grpc.aio.Channel
    store: BalanceStore
    connection: StoreConnection
    port: int
    stop: asyncio.Event
    task: "asyncio.Task[bool]"

    async def add_office(self, office_id: str, balance_micros: int = 0, **settings: int) -> None:
        """Put an office into the store, with a balance."""
        record = {
            "version": 1,
            "credit_limit_micros": 0,
            "max_concurrent_calls": 0,
            "max_price_per_minute_micros": 0,
            "daily_spend_limit_micros": 0,
            "refill_threshold_micros": 0,
            "refill_amount_micros": 0,
            "refill_generation": 0,
        } | settings
        state = OfficeState(record.pop("state", OfficeState.ACTIVE))
        packed = OfficeSettingsRecord(state=state, **record).pack(OfficeProfile(country="US", time_zone="UTC"))
        put = await self.store.put_office(office_id, packed, refill_enabled=False, create=True)
        assert put.code is Code.OK
        if balance_micros:
            assert (await self.store.apply_credit(office_id, 1, balance_micros)).code is Code.OK

    async def available(self, office_id: str) -> int:
        """What an office may still spend."""
        office = await self.store.read_office(office_id)
        assert office is not None
        return office.available_micros


@asynccontextmanager
async def running_front(
    store_url: str,
    *,
    flush: bool = True,
    via: str | None = None,
    tls: Tls | None = None,
    tokens: Mapping[str, PublishedToken] = NO_TOKENS,
    **flags: Any,
) -> AsyncIterator[Front]:
    """Start a front on a store, with the deck above and tokens of an operator, two switches and an admin.

    Args:
        store_url: The store.
        flush: Empty it first.
        via: Where the front believes the store to be, e.g. a proxy; the default is the store itself.
        tls: How the channel of the test speaks to it; None: in the clear.
        tokens: More of them, by hash.
        **flags: Settings.
    """
    connection = StoreConnection(StoreLocation.parse(store_url), load_library(), timeout_seconds=PATIENT_SECONDS)
    await connection.start()
    await connection.wait_connected()
    if flush:
        await flush_all(connection)
    await publish_rates(connection, parse_deck(DECK, 1))
    await publish_tokens(connection, {**TOKENS, **tokens})
    port = free_port()
    values: dict[str, Any] = {
        "listen": f"127.0.0.1:{port}",
        "redis_url": via or store_url,
        "operator_token": OPERATOR,
        # A busy machine's store may be slow; tests of slow stores say how slow.
        "store_timeout_ms": int(PATIENT_SECONDS * 1000),
    }
    settings = load_settings(**values | flags)
    ready, stop = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_front(settings, ready=ready.set, stop=stop))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    channel = dial(f"127.0.0.1:{port}", tls, CHANNEL_OPTIONS)
    stub = CallAuthorizationStub(channel)
    clock = StoreClock()
    try:
        await clock.measure(connection)
        yield Front(stub, channel, BalanceStore(connection, clock), connection, port, stop, task)
    finally:
        await channel.close()
        stop.set()
        await task
        await connection.close()
