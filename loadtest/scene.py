"""A store with a deck, a token and funded offices, put there directly, and the front that decides for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from gateway.address import Address
from gateway.client_channel import open_channel
from gateway.domain.deck import parse_deck
from gateway.domain.vocabulary import OfficeState
from gateway.settings import Settings, load_settings
from gateway.settings_problems import PREFIX
from gateway.store.balances import BalanceStore
from gateway.store.clock import StoreClock
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.directory import publish_rates, publish_tokens
from gateway.store.location import StoreLocation
from gateway.store.records import OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.records_pb2 import OfficeProfile
from loadtest.processes import BenchError, BenchStore, Child, free_port, running_child
from tests.support.gateway_process import UNGUARDED

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

OPERATOR_TOKEN: Final = "bench-operator-token"
DEFAULT_RATES: Final = "default_rates.csv"
FUNDS_MICROS: Final = 10**12


@dataclass(frozen=True, slots=True)
class Front:
    """A running front.

    Attributes:
        address: Of CallAuthorization.
        process: Its child process.
        store: The balances it works on, for looking at them directly.
    """

    address: Address
    process: Child
    store: BalanceStore


@asynccontextmanager
async def store_access(store: BenchStore) -> AsyncIterator[tuple[StoreConnection, BalanceStore]]:
    """A connection of the benchmark's own to the balances."""
    connection = StoreConnection(StoreLocation.parse(store.url), load_library(), timeout_seconds=5.0)
    await connection.start()
    await connection.wait_connected()
    clock = StoreClock()
    try:
        await clock.measure(connection)
        yield connection, BalanceStore(connection, clock)
    finally:
        await connection.close()


@asynccontextmanager
async def running_front(
    store: BenchStore,
    offices: Sequence[str],
    *,
    deck: str = "",
    funds: Mapping[str, int] | None = None,
    settings: Mapping[str, object] | None = None,
    environment: Callable[[dict[str, str]], dict[str, str]] = dict,
) -> AsyncIterator[Front]:
    """Run the front process on a store in which these offices have funds.

    Args:
        store: The store.
        offices: By name.
        deck: As CSV; empty: the one that ships with the package.
        funds: What an office has that does not have FUNDS_MICROS.
        settings: That are not the benchmark's usual ones.
        environment: Makes the front's variables of these settings' own.
    """
    funds = funds or {}
    async with store_access(store) as (connection, balances):
        await publish_rates(connection, parse_deck(deck or packaged_deck().decode(), 1))
        await publish_tokens(connection, {})
        await asyncio.gather(
            *[_add_office(balances, office_id, funds.get(office_id, FUNDS_MICROS)) for office_id in offices]
        )
        checked = bench_settings(store, data_dir=str(store.directory), **(settings or {}))
        variables = environment(checked.environment())
        async with running_child("front", "gateway.process", "front", environment=variables) as process:
            async with open_stub(checked.listen) as stub:
                await wait_until_decides(stub, offices[0])
            yield Front(checked.listen, process, balances)


def bench_settings(store: BenchStore, **changes: object) -> Settings:
    """The settings of a gateway under test: the defaults, unguarded, on ports and a store of its own."""
    return load_settings(
        **{
            "redis_url": store.url,
            "operator_token": OPERATOR_TOKEN,
            # Not free_port() for each by itself: it might give the same one twice.
            **{name: f"127.0.0.1:{port}" for name, port in zip(_LISTENERS, _free_ports(len(_LISTENERS)), strict=True)},
            "log_level": "warning",
            **{name.removeprefix(PREFIX).lower(): value for name, value in UNGUARDED.items()},
            **changes,
        }
    )


@asynccontextmanager
async def open_stub(address: Address) -> "AsyncIterator[CallAuthorizationAsyncStub]":
    """A stub that carries the operator's token."""
    async with open_stub_with(address, OPERATOR_TOKEN) as stub:
        yield stub


@asynccontextmanager
async def open_stub_with(address: Address, token: str) -> "AsyncIterator[CallAuthorizationAsyncStub]":
    """A stub that carries somebody's token."""
    async with open_channel(address, token) as channel:
        yield CallAuthorizationStub(channel)


async def wait_until_decides(stub: "CallAuthorizationAsyncStub", office_id: str) -> None:
    """Return when the front has read deck and tokens; until then it says UNAVAILABLE.

    Raises:
        BenchError: It still does after 20 s.
    """
    request = pb.QuoteCallRequest(office_id=office_id, called_number="+442079460958", direction=pb.OUTBOUND)
    for _ in range(1_000):
        try:
            await stub.QuoteCall(request)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}:
                raise
            await asyncio.sleep(0.02)
        else:
            return
    raise BenchError("the front does not decide: it has no deck, or no store")


def packaged_deck() -> bytes:
    """The deck that ships with the package."""
    return files("gateway").joinpath("data", DEFAULT_RATES).read_bytes()


_LISTENERS: Final = ("listen", "admin_listen", "http_listen", "metrics_listen")


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


async def _add_office(store: BalanceStore, office_id: str, funds_micros: int) -> None:
    settings = OfficeSettingsRecord(1, OfficeState.ACTIVE, 0, 0, 0, 0, 5_000_000, 50_000_000, 1)
    profile = OfficeProfile(country="US", time_zone="America/New_York", company_id="bench")
    put = await store.put_office(office_id, settings.pack(profile), refill_enabled=True, create=True)
    # A new office has nothing and asks for a refill at once; as that its funds come, and arm the next one.
    credit = await store.apply_credit(office_id, 1, funds_micros, refill_number=1)
    if (put.code, credit.code) != (Code.OK, Code.OK):
        raise BenchError(f"{office_id} was not made: {put.code.name}, {credit.code.name}")
