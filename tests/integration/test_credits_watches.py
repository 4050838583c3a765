"""WatchRefills and WatchBalance over gRPC: quick and durable, each refill once a stream, resumed behind a cursor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpc import StatusCode

from gateway import metrics
from gateway.background.refill_listener import RefillListener
from gateway.domain.vocabulary import Role
from gateway.ledger.refills import RefillTrigger
from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, OFFICE, BackUnderTest, bearer, end_of, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.ledger import raise_triggers
from tests.support.proxy import FaultProxy
from tests.support.servers import StoreServer

ME = bearer()


def watch(back: BackUnderTest, after: str = "", secret: str | None = None) -> Any:
    """A stream of triggers."""
    return back.stub.WatchRefills(pb.WatchRefillsRequest(after=after), metadata=bearer(secret) if secret else ME)


async def until(condition: Callable[[], bool]) -> None:
    """Let the server's tasks run until they have come so far."""
    while not condition():  # noqa: ASYNC110  # there is no event for it, and the test has a deadline
        await asyncio.sleep(0)


async def nothing_more(back: BackUnderTest, stream: Any) -> None:
    """Nothing of what happened so far is still to come: the next is of an office that is made just now."""
    name = f"probe{back.clock.now_ms()}"
    back.clock.move(1)
    await dip(back, name)
    assert (await stream.read()).office_id == name


async def dip(back: BackUnderTest, office_id: str = OFFICE, company_id: str = COMPANY) -> None:
    """Make an office that triggers, and let the journaler see it."""
    await trigger(back, office_id, company_id)
    await journal(back)


async def journal(back: BackUnderTest) -> None:
    """What the journaler records, and the back when it hears of that."""
    await back.journaler.turn()
    await back.back.refill_feed.advance()


async def trigger(back: BackUnderTest, office_id: str = OFFICE, company_id: str = COMPANY) -> None:
    """Make an office that triggers."""
    await back.open_office(office_id, company_id=company_id, balance=1_000)
    await back.refill(office_id)


@asynccontextmanager
async def listening(back: BackUnderTest) -> AsyncIterator[None]:
    """The quick way is open."""
    listener = RefillListener(back.back.connection, back.back.refill_feed)
    task = asyncio.create_task(listener.run())
    await listener.listening.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_trigger_as_it_is_told(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        stream = watch(back)
        await stream.initial_metadata()
        await dip(back)
        told = await stream.read()
        assert told == pb.WatchRefillsResponse(
            cursor="1",
            refill_id=f"{OFFICE}/1",
            office_id=OFFICE,
            amount_micros=50_000_000,
            threshold_micros=5_000_000,
            available_micros=1_000,
            triggered_at=told.triggered_at,
        )
        assert told.triggered_at.ToMilliseconds() == NOON
        # The next refill of the same office has the next number.
        await back.adjust(50_000_000, "charge", refill_id=told.refill_id)
        await back.spend(49_000_000)
        await journal(back)
        told = await stream.read()
        assert (told.cursor, told.refill_id) == ("2", f"{OFFICE}/2")


async def test_history_comes_first_and_a_stream_resumes_behind_its_cursor(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for number in range(5):
            await dip(back, f"o{number}")
        stream = watch(back)
        told = [await stream.read() for _ in range(5)]
        assert [(each.cursor, each.office_id) for each in told] == [(str(n + 1), f"o{n}") for n in range(5)]
        await dip(back, "o5")
        assert (await stream.read()).cursor == "6"
        stream.cancel()
        resumed = watch(back, told[2].cursor)
        assert [(await resumed.read()).office_id for _ in range(3)] == ["o3", "o4", "o5"]
        await nothing_more(back, resumed)
    async with running_back(valkey, tmp_path, flush=False) as back:
        assert [(await watch(back, "4").read()).office_id] == ["o4"]


async def test_the_quick_way_brings_it_before_sql_knows_and_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back, listening(back):
        await dip(back, "earlier")
        stream = watch(back)
        assert (await stream.read()).cursor == "1"
        await trigger(back)
        told = await stream.read()
        # Not durable yet: the cursor is still that of the last one that is.
        assert (told.refill_id, told.cursor) == (f"{OFFICE}/1", "1")
        assert await back.ledger.refills.last_seq() == 1
        await journal(back)
        assert await back.ledger.refills.last_seq() == 2
        await trigger(back, "later")
        told = await stream.read()
        assert (told.office_id, told.cursor) == ("later", "2")
        await journal(back)
        stream.cancel()
        # Resumed behind the last cursor, nothing is skipped.
        resumed = watch(back, told.cursor)
        assert (await resumed.read()).refill_id == "later/1"
        await nothing_more(back, resumed)


async def test_an_announcement_is_lost_and_the_outbox_brings_it(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        stream = watch(back)
        await stream.initial_metadata()
        await dip(back)
        assert (await stream.read()).refill_id == f"{OFFICE}/1"
        # The announcement comes late, when the durable one has been told.
        back.back.refill_feed.announce(RefillTrigger(f"{OFFICE}/1", OFFICE, 1, 1, 1, NOON))
        await nothing_more(back, stream)


async def test_a_trigger_that_another_gateway_recorded(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        stream = watch(back)
        await stream.initial_metadata()
        elsewhere = RefillTrigger("far/1", "far", 1, 1, 1, NOON)
        await raise_triggers(back.ledger, elsewhere)
        await back.back.refill_feed.advance()
        assert (await stream.read()).refill_id == "far/1"
        # One that is announced here and recorded there is told once.
        back.back.refill_feed.announce(RefillTrigger("far/2", "far", 1, 1, 1, NOON))
        assert (await stream.read()).refill_id == "far/2"
        await raise_triggers(back.ledger, RefillTrigger("far/2", "far", 1, 1, 1, NOON))
        await back.back.refill_feed.advance()
        await nothing_more(back, stream)


async def test_a_cursor_of_another_gateway_that_is_ahead_of_this_one(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        recorded = [RefillTrigger(f"far/{n}", "far", 1, 1, 1, NOON) for n in range(1, 4)]
        await raise_triggers(back.ledger, *recorded)
        stream = watch(back, "2")  # This one's feed stands at 0 still.
        assert (await stream.read()).refill_id == "far/3"
        await back.back.refill_feed.advance()
        await nothing_more(back, stream)


async def test_cursors_that_are_none(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await dip(back)
        for bad in ("x", "-1", "1.5", " 1", "1" * 19, "2", "99999", "٣"):
            await invalid("after", watch(back, bad).read())
        for good, expected in (("0", 1), ("", 1)):
            assert (await watch(back, good).read()).cursor == str(expected)


async def test_everyone_sees_their_own(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back, listening(back):
        for office_id, company_id in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            await back.open_office(office_id, company_id=company_id, balance=1_000)
        who = {
            "operator": (None, ["a1", "a2", "b1"]),
            "company admin": (await back.token(Role.COMPANY_ADMIN, "a"), ["a1", "a2"]),
            "office admin": (await back.token(Role.OFFICE_ADMIN, "a", "a2"), ["a2"]),
            "viewer": (await back.token(Role.VIEWER, "b"), ["b1"]),
            "viewer of an office": (await back.token(Role.VIEWER, "a", "a1"), ["a1"]),
        }
        streams = {name: watch(back, secret=secret) for name, (secret, _) in who.items()}
        for stream in streams.values():
            await stream.initial_metadata()
        for office_id in ("a1", "a2", "b1"):
            await back.refill(office_id)
        for name, (_, expected) in who.items():
            assert [(await streams[name].read()).office_id for _ in expected] == expected, name
        await journal(back)
        # And again from the history, where SQL chooses.
        for name, (secret, expected) in who.items():
            again = watch(back, secret=secret)
            assert sorted([(await again.read()).office_id for _ in expected]) == expected, name
        switch = await back.token(Role.SWITCH, "", switch_id="sw")
        await refused(StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", watch(back, secret=switch).read())
        await refused(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", watch(back, secret="nonsense").read())


async def test_durable_triggers_of_an_office_that_the_store_lost_are_told_to_its_company(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("a1", company_id="a")
        stream = watch(back, secret=await back.token(Role.COMPANY_ADMIN, "a"))
        await stream.initial_metadata()
        valkey.flush()
        back.back.refill_feed.announce(RefillTrigger("a1/1", "a1", 1, 1, 1, NOON))
        await raise_triggers(back.ledger, RefillTrigger("a1/1", "a1", 1, 1, 1, NOON))
        await back.back.refill_feed.advance()
        assert (await stream.read()).refill_id == "a1/1"


async def test_a_watcher_that_does_not_read_is_let_go(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        stream = watch(back)
        await stream.initial_metadata()
        for number in range(1, 20_001):
            back.back.refill_feed.announce(RefillTrigger(f"far/{number}", "far", 1, 1, 1, NOON))
        ended = await end_of(stream)
        assert (ended.code, ended.reason) == (StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")


async def test_a_revoked_token_ends_its_streams(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        secret = await back.token(Role.VIEWER, COMPANY)
        [token] = (await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)).tokens
        streams = [
            watch(back, secret=secret),
            back.stub.WatchBalance(pb.WatchBalanceRequest(office_id=OFFICE), metadata=bearer(secret)),
        ]
        await streams[1].read()
        await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=token.token_id), metadata=ME)
        await back.back.directory.refresh()
        for stream in streams:
            assert (await end_of(stream)).code is StatusCode.UNAUTHENTICATED


async def test_streams_are_counted_and_end_with_the_server(valkey: StoreServer, tmp_path: Path) -> None:
    def watchers() -> float:
        return float(metrics.REFILL_WATCHERS._value.get())

    async with running_back(valkey, tmp_path) as back:
        before = watchers()
        streams = [watch(back) for _ in range(3)]
        for stream in streams:
            await stream.initial_metadata()
        assert watchers() == before + 3
        streams[0].cancel()
        await until(lambda: len(back.back.refill_feed._subscriptions) == 2)
        assert watchers() == before + 2
        back.back.runner.end_streams()
        for stream in streams[1:]:
            ended = await end_of(stream)
            assert (ended.code, ended.reason) == (StatusCode.UNAVAILABLE, "STOPPING")
        assert watchers() == before


def balance_of(back: BackUnderTest, office_id: str = OFFICE) -> Any:
    return back.stub.WatchBalance(pb.WatchBalanceRequest(office_id=office_id), metadata=ME)


async def test_a_balance_at_once_and_whenever_it_changed(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        streams = [balance_of(back) for _ in range(3)]
        for stream in streams:
            first = await stream.read()
            assert first == pb.WatchBalanceResponse(
                balance_micros=1_000_000,
                available_micros=1_000_000,
                refill_state=pb.REFILL_STATE_OFF,
                at=first.at,
            )
            assert first.at.ToMilliseconds() == NOON
        feed = back.back.balance_feed
        await feed.turn()
        back.clock.move(1)
        await back.till.authorize("c1")
        # Several changes between two samples are one.
        await back.till.tick(50)
        await feed.turn()
        for stream in streams:
            changed = await stream.read()
            assert (changed.balance_micros, changed.reserved_micros, changed.available_micros) == (
                880_000, 120_000, 760_000
            )  # fmt: skip
            assert changed.at.ToMilliseconds() == NOON + 1_000
        await back.refill(threshold_micros=10**6, amount_micros=10**6)
        await feed.turn()
        assert (await streams[0].read()).refill_state == pb.REFILL_STATE_PENDING
        late = balance_of(back)
        assert (await late.read()).refill_state == pb.REFILL_STATE_PENDING
        assert len(feed._watched) == 1
        for stream in [*streams, late]:
            stream.cancel()
        await until(lambda: not feed._watched)


async def test_balances_that_are_not_there_or_not_theirs(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("b1", company_id="b")
        await invalid("office_id", balance_of(back, "").read())
        await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", balance_of(back, "nobody").read())
        viewer = bearer(await back.token(Role.VIEWER, COMPANY))
        for office_id in ("b1", "nobody"):
            request = pb.WatchBalanceRequest(office_id=office_id)
            await refused(
                StatusCode.PERMISSION_DENIED,
                "PERMISSION_DENIED",
                back.stub.WatchBalance(request, metadata=viewer).read(),
            )
        valkey.flush()
        await refused(StatusCode.UNAVAILABLE, "OFFICE_MISSING_IN_STORE", balance_of(back).read())


async def test_the_quick_way_is_found_again_after_the_store_was_away(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back, FaultProxy((valkey.host, valkey.port)) as proxy:
        by_way_of_proxy = StoreConnection(StoreLocation.parse(proxy.url), load_library())
        listener = RefillListener(by_way_of_proxy, back.back.refill_feed)
        task = asyncio.create_task(listener.run())
        await listener.listening.wait()
        proxy.cut_all()
        await until(lambda: not listener.listening.is_set())
        await listener.listening.wait()
        with back.back.refill_feed.subscribe() as subscription:
            await trigger(back)
            event = await subscription.next()
        assert event is not None
        assert (event.seq, event.trigger.refill_id) == (None, f"{OFFICE}/1")
        # Nonsense on the channel is logged and forgotten.
        with back.back.refill_feed.subscribe() as subscription:
            for nonsense in (b"", b"x", b"a b 1 1 1 1 1", b"a 1 1 1 1", b"a/b 1 1 1 1 1", b"\xff"):
                listener.hear(nonsense)
            listener.hear(b"last 1 1 1 1 1")
            event = await subscription.next()
        assert event is not None
        assert event.trigger.office_id == "last"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
