"""The journaler, and the gauge beside it, on a real store and a real ledger: what moved is taken once, in order."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge
from sqlalchemy import func, select

from gateway import metrics
from gateway.background import journaler as journaler_module
from gateway.background.journal_facts import entry_of
from gateway.background.journaler import A_READ, EpochLost
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Category, Reason
from gateway.ledger.errors import DatabaseError
from gateway.ledger.journal import ShardBatch, Taken
from gateway.ledger.models import OfficeBookRow, UsageRow
from gateway.startup import StartupError
from gateway.store.balances import CallRequest
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import EPOCH_KEY, SHARDS, shard_of
from gateway.v1.records_pb2 import Details
from tests.support.back import OFFICE, BackUnderTest, Fault, running_back
from tests.support.balances import BY_THE_SECOND, NOON, fingerprint
from tests.support.servers import StoreServer


def value(metric: Counter | Gauge) -> float:
    return float(metric._value.get())


async def usage(back: BackUnderTest) -> Sequence[UsageRow]:
    async with back.ledger.database.read() as session:
        return (await session.scalars(select(UsageRow).order_by(UsageRow.started_at, UsageRow.thing_id))).all()


async def booked(back: BackUnderTest, office_id: str = OFFICE) -> int:
    async with back.ledger.database.read() as session:
        return (
            await session.scalar(select(OfficeBookRow.balance_micros).where(OfficeBookRow.office_id == office_id)) or 0
        )


async def test_what_calls_and_messages_did_is_in_the_ledger_and_no_longer_in_the_outbox(
    valkey: StoreServer, tmp_path: Path
) -> None:
    counters = (metrics.DEBITED, metrics.REFUNDED, metrics.WRITTEN_OFF, metrics.REFILL_TRIGGERS, metrics.JOURNALED)
    before = [value(counter) for counter in counters]
    async with running_back(valkey, tmp_path) as back:
        journaler = back.journaler
        await back.open_office(balance=500_000)
        details = Details(called_number="+442079460958", category=Category.INTERNATIONAL, user_id="u1", deck_version=1)
        await back.till.authorize("c1", details=details, switch_id="sw1")
        await back.till.answer("c1")
        back.clock.move(50)
        await back.till.tick(50)
        await back.till.end(0)  # 120,000 debited and given back.
        await back.till.authorize("c2", BY_THE_SECOND)
        await back.till.tick(60, "c2")
        sms = Details(called_number="+447911123456", category=Category.MESSAGE, segments=1).SerializeToString()
        await back.till.message(30_000, "m1", version=1, details=sms)
        await back.till.refund("m1")
        await back.till.authorize("c3")
        await back.till.end(900, "c3")  # 15 minutes: 1,800,000, of which 380,000 are there, and 120,000 are held by c2.
        assert (await back.till.authorize("c4", details=details)).code is Code.INSUFFICIENT_FUNDS
        await back.refill()
        assert not await journaler.turn()
        assert await back.till.outbox() == []
        assert [value(counter) - was for counter, was in zip(counters, before, strict=True)] == [
            120_000 + 120_000 + 30_000 + 260_000, 150_000, 1_540_000, 1, 9,
        ]  # fmt: skip
        assert await booked(back) == (await back.till.office()).balance_micros == 120_000
        c1, m1, c2, c3, c4 = sorted(await usage(back), key=lambda row: (row.thing_id != "c1", row.thing_id != "m1"))
        assert (c1.state, c1.cost_micros, c1.duration_seconds, c1.answered_at) == (UsageState.CLOSED, 0, 0, NOON)
        assert (c1.called_number, c1.user_id, c1.switch_id, c1.deck_version) == ("+442079460958", "u1", "sw1", 1)
        assert (m1.cost_micros, m1.refunded_micros, m1.segments) == (0, 30_000, 1)
        assert (c2.state, c2.cost_micros, c2.duration_seconds) == (UsageState.OPEN, 120_000, 60)
        assert (c3.state, c3.cost_micros, c3.written_off_micros) == (UsageState.CLOSED, 260_000, 1_540_000)
        assert (c4.reason, c4.cost_micros, c4.category) == (Reason.INSUFFICIENT_FUNDS, 0, Category.INTERNATIONAL)
        assert [one.trigger.refill_id for one in await back.ledger.refills.after(0, 10)] == [f"{OFFICE}/1"]
        assert not await journaler.turn()
        assert value(metrics.JOURNALED) - before[-1] == 9
    async with running_back(valkey, tmp_path, flush=False) as back:
        # Another process reads on.
        await back.till.end(60, "c2")
        await back.journaler.turn()
        assert {row.thing_id: row.state for row in await usage(back)}["c2"] is UsageState.CLOSED
        assert await booked(back) == (await back.till.office()).balance_micros


async def test_what_sql_did_not_take_stays_in_the_outbox_and_is_counted_once(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        journaler = back.journaler
        await back.open_office(balance=500_000)
        await back.spend(1_000)
        before = value(metrics.DEBITED)
        for done in (False, True):
            Fault(journaler._journal, "take", done=done, error=DatabaseError("away"))
            with pytest.raises(DatabaseError):
                await journaler.turn()
            assert len(await back.till.outbox()) == 2
        # It was written the second time, though nobody heard of it: nothing is written twice.
        await journaler.turn()
        assert await back.till.outbox() == []
        assert len(await usage(back)) == 1
        assert await booked(back) == 499_000
        assert value(metrics.DEBITED) == before


@pytest.mark.parametrize("taken_by_the_other", [3, 5, 9])
async def test_of_two_gateways_in_a_large_batch_each_entry_is_taken_by_one(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_by_the_other: int
) -> None:
    """One has read a batch that takes several transactions; the other commits less or more than the first of them."""
    async with running_back(valkey, tmp_path) as slow, running_back(valkey, tmp_path, flush=False) as quick:
        await slow.open_office(balance=500_000)
        for number in range(1, taken_by_the_other):
            await slow.spend(1_000, f"m{number}")
        batch = await read_batch(quick)
        for number in range(taken_by_the_other, 12):
            await slow.spend(1_000, f"m{number}")
        journal = slow.journaler._journal
        take = journal.take

        async def take_late(*arguments: Any, **named: Any) -> Taken:
            monkeypatch.setattr(journal, "take", take)
            await quick.journaler._journal.take(batch, now_ms=NOON)
            return await take(*arguments, **named)

        monkeypatch.setattr(journal, "take", take_late)
        monkeypatch.setattr(journaler_module, "A_TRANSACTION", 4)
        while await slow.till.outbox():
            await slow.journaler.turn()
        assert sorted(row.thing_id for row in await usage(slow)) == sorted(f"m{number}" for number in range(1, 12))
        assert await booked(slow) == 500_000 - 11 * 1_000
        async with slow.ledger.database.read() as session:
            assert (await session.scalars(select(OfficeBookRow.gaps))).all() == [0]


async def read_batch(back: BackUnderTest) -> dict[int, ShardBatch]:
    """What a gateway has read and not yet taken."""
    journaler = back.journaler
    await journaler._begin()
    read, _ = await journaler._read()
    return {
        shard: ShardBatch(journaler._positions[shard], [entry_of(entry) for entry in entries])
        for shard, entries in read.items()
    }


async def test_what_is_not_durable_is_not_taken(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        journaler = back.journaler
        await back.open_office(balance=500_000)
        Fault(journaler._durability, "settle", done=False)
        with pytest.raises(StoreUnavailable):
            await journaler.turn()
        assert (await booked(back), len(await back.till.outbox())) == (0, 1)
        await journaler.turn()
        assert (await booked(back), len(await back.till.outbox())) == (500_000, 0)


async def test_what_another_process_answered_is_read_again(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that was restarted or replaced after it was read may have lost it: the ledger must not know it."""
    async with running_back(valkey, tmp_path) as back:
        durability, now = back.journaler._durability, back.back.connection.servers()
        [(address, server)] = now.items()
        before = {address: server._replace(run_id="f" * 40)}
        with pytest.raises(StoreUnavailable) as caught:
            await durability.settle(before)
        assert "have changed" in caught.value.detail
        # The connection has not noticed yet.
        monkeypatch.setattr(back.back.connection, "servers", lambda: before)
        with pytest.raises(StoreUnavailable) as caught:
            await durability.settle(before)
        assert "another process" in caught.value.detail
        await back.open_office(balance=500_000)
        with pytest.raises(StoreUnavailable):
            await back.journaler.turn()
        assert (await booked(back), len(await back.till.outbox())) == (0, 1)
        monkeypatch.undo()
        await back.journaler.turn()
        assert (await booked(back), len(await back.till.outbox())) == (500_000, 0)


async def test_a_store_that_cannot_be_asked_is_given_three_seconds(
    standalone_server: StoreServer, tmp_path: Path
) -> None:
    async with running_back(standalone_server, tmp_path) as back:
        durability = back.journaler._durability
        durability._can_wait_for_disk = False
        journaler = back.journaler
        await back.open_office(balance=500_000)
        await journaler.turn()
        assert (await booked(back), len(await back.till.outbox())) == (0, 1)


async def test_a_long_outbox_of_one_shard_is_taken_in_transactions_that_others_can_wait_for(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10**9)
        count = 5 * A_READ + 3
        await asyncio.gather(*(back.till.message(1, f"m{n}", version=1) for n in range(count)))
        assert not await back.journaler.turn()
        async with back.ledger.database.read() as session:
            assert await session.scalar(select(func.count()).select_from(UsageRow)) == count
        assert await back.till.outbox() == []
        assert await booked(back) == 10**9 - count


async def test_two_gateways_take_each_entry_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as one, running_back(valkey, tmp_path, flush=False) as other:
        before = value(metrics.JOURNALED)
        for name in ("a", "b", "c"):
            await one.open_office(name, balance=10**6)
        for round_of in range(20):
            await asyncio.gather(
                *(one.till.message(1, f"m{round_of}", office_id=name, version=1) for name in ("a", "b", "c"))
            )
            await asyncio.gather(one.journaler.turn(), other.journaler.turn())
        assert value(metrics.JOURNALED) - before == 63
        assert [await booked(one, name) for name in ("a", "b", "c")] == [10**6 - 20] * 3
        assert len(await usage(one)) == 60


async def test_gateways_that_share_the_shards_read_their_own_and_know_what_another_took(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as one, running_back(valkey, tmp_path, flush=False) as other:
        offices = [f"o-{number}" for number in range(20)]
        for name in offices:
            await one.open_office(name, balance=10**6)
        lower = {shard for shard in range(SHARDS) if shard < SHARDS // 2}
        first, second = one.journaler, other.journaler
        first.shards, second.shards = (lambda: lower), (lambda: set(range(SHARDS)) - lower)
        await first.turn()
        assert [await booked(one, name) for name in offices] == [10**6 * (shard_of(name) in lower) for name in offices]
        await second.turn()
        assert [await booked(one, name) for name in offices] == [10**6] * len(offices)
        # They change places: what the other has taken meanwhile is seen in the ledger's positions, and taken by nobody.
        first.shards, second.shards = second.shards, first.shards
        for name in offices:
            await one.till.message(1, "m", office_id=name, version=1)
        for _ in range(2):
            await asyncio.gather(first.turn(), second.turn())
        assert [await booked(one, name) for name in offices] == [10**6 - 1] * len(offices)
        assert len(await usage(one)) == len(offices)


async def test_a_store_from_before_a_rebuild_is_refused(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.till.connection.ask("SET", EPOCH_KEY, 3)
        await back.open_office(balance=5)
        await back.journaler.turn()
        assert (await back.ledger.outbox.positions())[shard_of(OFFICE)].epoch == 3
        await back.till.connection.ask("SET", EPOCH_KEY, 2)
        for sees in (back.journaler.turn, back.back.see_epoch):
            with pytest.raises(EpochLost):
                await sees()
    with pytest.raises(StartupError, match="TOLLGATE_REDIS_URL: The store is of epoch 2"):
        async with running_back(valkey, tmp_path, flush=False):
            pass


async def test_an_emptied_store_gets_its_epoch_back(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.till.connection.ask("SET", EPOCH_KEY, 3)
        await back.open_office(balance=5)
        await back.journaler.turn()
        valkey.flush()
        await back.journaler.turn()
        assert await back.till.connection.ask("GET", EPOCH_KEY) == b"3"


async def test_an_entry_that_this_version_does_not_know_stops_its_shard_and_loses_nothing(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("a", balance=500_000)
        await back.open_office("b", balance=500_000)
        assert shard_of("a") != shard_of("b")
        request = CallRequest("c1", Code.FREE, fingerprint(1), 0, 60, False, None, 0, "", b"\xff no protobuf")
        await back.store.authorize_call(back.till.cached("a", version=1), request)
        await back.store.end_call(back.till.cached("a", version=1), "c1", 5)
        for office_id in ("a", "b"):
            await back.till.message(1, office_id=office_id, version=1)
        assert not await back.journaler.turn()
        assert [entry.kind for entry in await back.till.outbox("a")] == ["end", "message"]
        assert await back.till.outbox("b") == []
        assert (await booked(back, "a"), await booked(back, "b")) == (500_000, 499_999)


async def test_the_gauge_shows_what_the_ledger_does_not_have(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        gauge = back.back.background.outbox_gauge
        await gauge.turn()
        assert (value(metrics.OUTBOX_ENTRIES), value(metrics.JOURNAL_LAG)) == (0, 0)
        await back.open_office("a", balance=5)
        await back.open_office("b", balance=5)
        await back.till.connection.ask(
            "XADD", back.till.cached("c").keys.outbox, "1-1", "kind", "credit"
        )  # As old as can be.
        await gauge.turn()
        assert value(metrics.OUTBOX_ENTRIES) == 3
        assert value(metrics.JOURNAL_LAG) > 10**9
