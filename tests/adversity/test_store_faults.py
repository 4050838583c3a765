"""The balance store behind a bad network, dying, read-only, full or loading: an operation fails soon, can be retried
with the same id, and everything works again without a restart of ours."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.domain.vocabulary import RefillState
from gateway.store.balances import Lifetimes
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import lease_key, outbox_key, shard_of
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from tests.support.balances import BY_THE_SECOND, OFFICE, PATIENT_SECONDS, ManualClock, Till, open_till
from tests.support.proxy import FaultProxy
from tests.support.servers import ENGINE_PARAMETERS, StartStore, StoreServer

T = TypeVar("T")

each_engine = pytest.mark.parametrize("engine", ENGINE_PARAMETERS)

IMPATIENT_SECONDS = 0.2
SLACK_SECONDS = 2.0
"""What a busy machine may add to a time-out."""


@asynccontextmanager
async def proxied(server: StoreServer) -> AsyncIterator[tuple[FaultProxy, Till]]:
    async with FaultProxy((server.host, server.port)) as proxy, open_till(proxy.url) as till:
        yield proxy, till


@asynccontextmanager
async def impatient(url: str, *, timeout_seconds: float = IMPATIENT_SECONDS) -> AsyncIterator[Till]:
    """A till with a short time-out, which need not be connected; nothing is flushed."""
    connection = StoreConnection(StoreLocation.parse(url), load_library(), timeout_seconds=timeout_seconds)
    await connection.start()
    try:
        yield Till(connection, ManualClock(), Lifetimes())
    finally:
        await connection.close()


async def retried(till: Till, operation: Callable[[], Awaitable[T]]) -> T:
    """Do what a caller does who is told UNAVAILABLE: ask again, with the same id, until there is an answer."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            await till.connection.wait_connected()
            try:
                return await operation()
            except StoreUnavailable:
                await asyncio.sleep(0)


async def until_it_fails(operation: Callable[[], Awaitable[Any]]) -> None:
    while True:
        await operation()


async def state_of(till: Till) -> tuple[dict[bytes, bytes], list[Any]]:
    """What the store holds, ids of outbox entries apart, which are of the server's own clock."""
    outbox = outbox_key(shard_of(OFFICE))
    return {name: value for name, value in (await till.dump()).items() if name != outbox}, await till.outbox()


# A reply is lost, or a request.


@dataclass(frozen=True)
class Case:
    """An operation, what must be there before it, and the codes of its first and its repeated answer."""

    prepare: Callable[[Till], Awaitable[Any]]
    operation: Callable[[Till], Awaitable[Any]]
    first: Code
    again: Code


async def nothing(_: Till) -> None:
    return


async def with_call(till: Till) -> None:
    await till.authorize(rate=BY_THE_SECOND, by_gateway=True)


async def with_answered_call(till: Till) -> None:
    await with_call(till)
    await till.answer()
    till.clock.move(50)


async def with_last_grant(till: Till) -> None:
    await till.authorize(rate=BY_THE_SECOND, requested=86_400)
    await till.answer()
    till.clock.move(5_000)


async def with_message(till: Till) -> None:
    await till.message(30_000)


async def with_pending_refill(till: Till) -> None:
    await till.put_office(refill=True, generation=1, threshold=20_000_000)


async def with_waiting_refill(till: Till) -> None:
    await with_pending_refill(till)
    await till.balances.fail_refill(OFFICE, 1, 1, till.clock.now_ms())


CASES = {
    "authorize_call": Case(nothing, Till.authorize, Code.FUNDED, Code.REPLAYED),
    "answer_call": Case(with_call, Till.answer, Code.OK, Code.OK),
    "tick_call": Case(with_answered_call, lambda till: till.tick(50), Code.OK, Code.OK),
    "tick_call by the clock": Case(with_answered_call, Till.tick_by_clock, Code.OK, Code.OK),
    "cut_call": Case(with_last_grant, Till.cut, Code.CUT, Code.REPLAYED),
    "cut_call forced": Case(with_call, lambda till: till.cut(forced=True), Code.CUT, Code.REPLAYED),
    "end_call": Case(with_answered_call, lambda till: till.end(50), Code.OK, Code.REPLAYED),
    "end_call, unknown": Case(nothing, lambda till: till.end(50), Code.NOT_FOUND, Code.NOT_FOUND),
    "lapse_call": Case(with_call, lambda till: till.lapse(forced=True), Code.LAPSED, Code.NOT_FOUND),
    "authorize_message": Case(nothing, lambda till: till.message(30_000), Code.FUNDED, Code.REPLAYED),
    "refund_message": Case(with_message, Till.refund, Code.OK, Code.REPLAYED),
    "apply_credit": Case(nothing, lambda till: till.balances.apply_credit(OFFICE, 2, 500), Code.OK, Code.REPLAYED),
    "put_office": Case(nothing, lambda till: till.put_office(version=9, max_calls=3), Code.OK, Code.STALE),
    "fail_refill": Case(
        with_pending_refill,
        lambda till: till.balances.fail_refill(OFFICE, 1, 1, till.clock.now_ms() + 1),
        Code.OK,
        Code.REPLAYED,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("fault", ["reply lost", "request lost", "no fault, asked twice"])
async def test_asking_again_gives_the_state_of_asking_once(
    standalone_server: StoreServer, case: Case, fault: str
) -> None:
    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10_000_000)
        await case.prepare(till)
        assert (await case.operation(till)).code == case.first
        once = await state_of(till)

    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10_000_000)
        await case.prepare(till)
        if fault == "no fault, asked twice":
            await case.operation(till)
        else:
            (proxy.cut_after_send if fault == "reply lost" else proxy.cut_before_send)()
            with pytest.raises(StoreUnavailable):
                await case.operation(till)
        again = await retried(till, lambda: case.operation(till))
        assert again.code == (case.first if fault == "request lost" else case.again)
        assert await state_of(till) == once


async def test_a_claim_whose_reply_was_lost_may_be_made_again(standalone_server: StoreServer) -> None:
    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10_000_000)
        await with_pending_refill(till)
        before = await till.money()
        proxy.cut_after_send()
        with pytest.raises(StoreUnavailable):
            await till.balances.claim_refill(OFFICE, 1)
        claim = await retried(till, lambda: till.balances.claim_refill(OFFICE, 1))
        assert claim.code == Code.OK
        assert await till.money() == before


async def test_a_trigger_whose_reply_was_lost_is_raised_once(standalone_server: StoreServer) -> None:
    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10_000_000)
        await with_waiting_refill(till)
        proxy.cut_after_send()
        with pytest.raises(StoreUnavailable):
            await till.balances.judge_refill(OFFICE)
        assert not await retried(till, lambda: till.balances.judge_refill(OFFICE))
        assert await till.refill_state() == RefillState.PENDING
        assert (await till.kinds()).count("refill") == 2


async def test_a_trim_whose_reply_was_lost(standalone_server: StoreServer) -> None:
    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10_000_000)
        await till.message(1)
        proxy.cut_after_send()
        with pytest.raises(StoreUnavailable):
            await till.balances.trim_outbox(shard_of(OFFICE), "0-0")
        assert await retried(till, lambda: till.balances.trim_outbox(shard_of(OFFICE), "0-0")) == 2


async def test_every_request_in_flight_fails_when_the_connection_breaks(standalone_server: StoreServer) -> None:
    async with proxied(standalone_server) as (proxy, till):
        await till.open_office(10**9)
        proxy.cut_before_send()
        calls = [till.authorize(f"c{number}") for number in range(200)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}
        again = await asyncio.gather(*(retried(till, partial(till.authorize, f"c{n}")) for n in range(200)))
        assert {grant.code for grant in again} == {Code.FUNDED}
        assert (await till.office()).concurrent_calls == 200


# The store does not answer.


async def test_a_stalled_store_is_unavailable_in_time_and_back_on_the_same_connection(
    standalone_server: StoreServer,
) -> None:
    async with FaultProxy((standalone_server.host, standalone_server.port)) as proxy:
        async with open_till(proxy.url) as set_up:
            await set_up.open_office(1_000_000)
        async with impatient(proxy.url) as till:
            await till.connection.wait_connected()
            connections = proxy.connections
            proxy.stall()
            loop = asyncio.get_running_loop()
            began = loop.time()
            results = await asyncio.gather(
                *(till.authorize(f"c{number}") for number in range(3)), return_exceptions=True
            )
            assert {type(result) for result in results} == {StoreUnavailable}
            assert IMPATIENT_SECONDS <= loop.time() - began < IMPATIENT_SECONDS + SLACK_SECONDS
            proxy.resume()
            # The replies that came too late are nobody's: the next ones belong to those who ask now.
            grants = [await retried(till, partial(till.authorize, f"c{n}")) for n in range(4)]
            assert [grant.code for grant in grants] == [Code.REPLAYED] * 3 + [Code.FUNDED]
            assert proxy.connections == connections


async def test_a_connection_that_owes_replies_for_too_long_is_replaced(standalone_server: StoreServer) -> None:
    async with FaultProxy((standalone_server.host, standalone_server.port)) as proxy:
        async with open_till(proxy.url) as set_up:
            await set_up.open_office(1_000_000)
        async with impatient(proxy.url) as till:
            await till.connection.wait_connected()
            connections = proxy.connections
            proxy.stall()
            with pytest.raises(StoreUnavailable):
                await till.authorize()
            # Never resumed: what was sent on the old connection is lost with it.
            grant = await retried(till, till.authorize)
            assert grant.code == Code.FUNDED
            assert proxy.connections == connections + 1


@each_engine
async def test_a_store_that_is_stopped_and_continued(start_store: StartStore, engine: str) -> None:
    server = start_store(engine)
    async with open_till(server.url) as set_up:
        await set_up.open_office(1_000_000)
    async with impatient(server.url) as till:
        await till.connection.wait_connected()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                await till.authorize()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # It ran when the store went on, or never: asking again tells, and there is one call.
        assert (await retried(till, till.authorize)).code in (Code.REPLAYED, Code.FUNDED)
        assert (await till.office()).concurrent_calls == 1


async def test_an_address_where_nobody_listens(start_store: StartStore) -> None:
    server = start_store()
    os.kill(server.pid, signal.SIGKILL)
    async with impatient(server.url) as till:
        assert not till.connection.is_connected
        with pytest.raises(StoreUnavailable, match="retry with the same id"):
            await till.authorize()


# The store dies and comes back.


def start_again(start_store: StartStore, engine: str, socket: Path, **options: str) -> StoreServer:
    return start_store(engine, unixsocket=str(socket), **options)


@each_engine
async def test_a_killed_store_comes_back_with_all_that_was_acknowledged(
    start_store: StartStore, tmp_path: Path, engine: str
) -> None:
    socket = tmp_path / "s"
    server = start_again(start_store, engine, socket)
    async with open_till(f"unix://{socket}") as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.answer()
        await till.tick(50)
        before = await state_of(till)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await until_it_fails(partial(till.tick, 50))
        start_again(start_store, engine, socket, dir=str(server.data_dir))
        tick = await retried(till, lambda: till.tick(50))
        assert (tick.code, tick.granted_seconds, tick.debited_micros) == (Code.OK, 110, 100_000)
        assert await state_of(till) == before
        assert (await till.end(60)).debited_micros == 120_000


@each_engine
async def test_functions_are_loaded_again_into_a_store_that_lost_them(
    start_store: StartStore, tmp_path: Path, engine: str
) -> None:
    socket = tmp_path / "s"
    server = start_again(start_store, engine, socket)
    async with open_till(f"unix://{socket}") as till:
        await till.open_office(1_000_000)
        os.kill(server.pid, signal.SIGKILL)
        start_again(start_store, engine, socket)
        assert (await retried(till, till.authorize)).code == Code.UNKNOWN_OFFICE
        assert len(await till.connection.ask("FUNCTION", "LIST")) == 1


@pytest.mark.slow
@each_engine
async def test_a_store_that_is_loading_is_unavailable_until_it_has_loaded(
    start_store: StartStore, tmp_path: Path, engine: str
) -> None:
    socket = tmp_path / "s"
    server = start_again(start_store, engine, socket)
    async with open_till(f"unix://{socket}") as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await asyncio.gather(*(till.connection.send("SET", f"filler:{n}", "x") for n in range(30_000)))
        os.kill(server.pid, signal.SIGKILL)
        # Loads at 80 us a command, so for more than two seconds, and looks at its clients every 1,024 of them.
        loading = start_again(
            start_store,
            engine,
            socket,
            dir=str(server.data_dir),
            key_load_delay="80",
        )
        with loading.client() as client:
            assert client.info("persistence")["loading"] == 1
        with pytest.raises(StoreUnavailable):
            await until_it_fails(till.authorize)
        assert (await retried(till, till.authorize)).code == Code.REPLAYED


# The store cannot write.


@each_engine
async def test_a_replica_is_unavailable_until_it_is_promoted(start_store: StartStore, engine: str) -> None:
    server = start_store(engine)
    async with open_till(server.url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        # Of a primary that does not exist, so that it keeps what it has.
        await till.connection.ask("REPLICAOF", "127.0.0.1", "1")
        for operation in (lambda: till.authorize("c2"), lambda: till.end(5), lambda: till.credit(5)):
            with pytest.raises(StoreUnavailable):
                await operation()
        async with impatient(server.url) as late:
            # Nor does a gateway that comes now find a store to work with.
            with pytest.raises(StoreUnavailable):
                await late.authorize()
            await till.connection.ask("REPLICAOF", "NO", "ONE")
            assert (await retried(late, lambda: late.authorize("c2"))).code == Code.FUNDED
        assert (await till.end(5)).code == Code.OK


@each_engine
async def test_a_full_store_stops_selling_and_goes_on_settling(start_store: StartStore, engine: str) -> None:
    server = start_store(engine)
    async with open_till(server.url) as till:
        await till.open_office(1_000_000)
        await till.put_office(refill=True, generation=1, threshold=1, refill_amount=50_000_000)
        for call_id in ("to end", "to lapse", "to tick"):
            await till.authorize(call_id, BY_THE_SECOND)
        await till.message(10_000)
        await till.connection.ask("CONFIG", "SET", "maxmemory", "1")
        selling: list[Callable[[], Awaitable[Any]]] = [
            lambda: till.authorize("new"),
            lambda: till.authorize_emergency("911"),
            lambda: till.message(1, "m2"),
            lambda: till.answer("to tick"),
            lambda: till.tick(50, "to tick"),
        ]
        before = await state_of(till)
        for sale in selling:
            with pytest.raises(StoreUnavailable):
                await sale()
        assert await state_of(till) == before
        assert (await till.end(30, "to end")).code == Code.OK
        assert (await till.lapse("to lapse", forced=True)).code == Code.LAPSED
        assert (await till.cut("to tick")).code == Code.NOT_DUE
        assert await till.balances.lease_shard(lease_key(0), "gateway", 1_000)
        assert (await till.refund()).code == Code.OK
        assert await till.credit(5) == Code.OK
        # Settling may raise the trigger, too.
        assert await till.credit(-(await till.money())[2], 3) == Code.OK
        assert await till.refill_state() == RefillState.PENDING
        await till.balances.trim_outbox(shard_of(OFFICE), "0-0")
        await till.connection.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await till.tick(50, "to tick")).code == Code.OK


@each_engine
async def test_a_gateway_that_connects_to_a_full_store_settles_as_well(start_store: StartStore, engine: str) -> None:
    server = start_store(engine)
    async with open_till(server.url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.connection.ask("CONFIG", "SET", "maxmemory", "1")
        async with impatient(server.url) as late:
            async with asyncio.timeout(5):
                await late.connection.wait_connected()
            with pytest.raises(StoreUnavailable):
                await late.authorize("c2")
            assert (await late.end(30)).code == Code.OK


# Cancellation.


@pytest.mark.parametrize("flushed", [False, True], ids=["functions there", "functions flushed"])
async def test_a_cancellation_at_any_moment_leaves_the_connection_usable(store_url: str, flushed: bool) -> None:
    """Cancelled after so many turns of the loop, until one is done before: every await is met on the way."""
    async with open_till(store_url) as till:
        await till.open_office(10**9)
        turns, done_in_a_row = 0, 0
        while done_in_a_row < 3:
            if flushed:
                await till.connection.ask("FUNCTION", "FLUSH", "SYNC")
            task = asyncio.ensure_future(till.authorize(f"c{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            done_in_a_row = done_in_a_row + 1 if task.done() else 0
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Whoever asks next gets their own reply, and what was cancelled has happened once or not at all.
            assert await till.connection.ask("ECHO", f"token {turns}") == f"token {turns}".encode()
            assert (await till.authorize(f"c{turns}")).code in (Code.FUNDED, Code.REPLAYED)
            turns += 1
        assert turns > 3
        assert (await till.office()).concurrent_calls == turns


async def test_replies_are_not_mixed_up_between_callers_that_are_cancelled_at_random(store_url: str) -> None:
    chance = random.Random(12)
    async with open_till(store_url) as till:
        await till.open_office(10**12)

        async def ask(number: int) -> int:
            grant = await till.message(number + 1, f"m{number}")
            assert (grant.code, grant.debited_micros) == (Code.FUNDED, number + 1)
            echoed = await till.connection.ask("ECHO", str(number))
            return int(echoed)

        tasks = [asyncio.ensure_future(ask(number)) for number in range(500)]
        cancelled = set()
        for turn in range(60):
            await asyncio.sleep(0)
            victim = chance.randrange(500)
            if turn % 2 and not tasks[victim].done():
                tasks[victim].cancel()
                cancelled.add(victim)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(results):
            assert result == number or (number in cancelled and isinstance(result, asyncio.CancelledError))
        assert cancelled


async def test_what_is_in_flight_when_the_connection_is_closed_fails(standalone_server: StoreServer) -> None:
    async with FaultProxy((standalone_server.host, standalone_server.port)) as proxy, open_till(proxy.url) as till:
        await till.open_office(1_000_000)
        proxy.stall()
        tasks = [asyncio.ensure_future(till.authorize(f"c{number}")) for number in range(5)]
        await proxy.fault_happened()
        await till.connection.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}
        with pytest.raises(StoreUnavailable):
            await till.authorize()
        proxy.resume()
