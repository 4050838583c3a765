"""The loops of the back process, turn by turn, against a real store and SQLite."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge

from gateway import metrics
from gateway.background import projector, reconciler
from gateway.background.loops import Loop
from gateway.domain.vocabulary import OfficeState, RefillState
from gateway.ledger.errors import DatabaseError
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import office_keys
from gateway.v1 import credits_pb2 as pb
from tests.support.audits import assert_clean
from tests.support.back import COMPANY, OFFICE, BackUnderTest, Fault, bearer, running_back
from tests.support.ledger import NOW, settings
from tests.support.servers import StoreServer
from tests.support.store_keys import flush_all

ME = bearer()


def value(metric: Counter | Gauge) -> float:
    return float(metric._value.get())


# The frame of all loops.


async def test_a_loop_goes_on_at_once_pauses_and_is_woken() -> None:
    turns: list[int] = []
    reached = asyncio.Event()

    async def turn() -> bool:
        turns.append(len(turns))
        if len(turns) in (3, 4):
            reached.set()
        return len(turns) < 3

    loop = Loop("test", turn, every_seconds=3_600)
    task = asyncio.create_task(loop.run())
    await reached.wait()
    assert turns == [0, 1, 2]
    reached.clear()
    loop.wake()
    await reached.wait()
    assert len(turns) == 4
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_loop_survives_what_does_not_answer_and_nothing_else() -> None:
    errors = [StoreUnavailable("away"), DatabaseError("away"), StoreUnavailable("away"), ZeroDivisionError("a bug")]

    async def turn() -> bool:
        raise errors.pop(0)

    with pytest.raises(ZeroDivisionError):
        await Loop("test", turn, every_seconds=0.0, first_pause_seconds=0.0).run()
    assert not errors


# All of them.


async def test_loops_without_a_store(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.back.connection.close()
        loops = back.back.background
        loops.reconciler.ask()
        for turn in (
            back.journaler.turn,
            loops.outbox_gauge.turn,
            loops.projector.turn,
            loops.sampler.turn,
            loops.reconciler.turn,
        ):
            with pytest.raises(StoreUnavailable):
                await turn()


# The projector and the reconciler.


async def _many_offices(back: BackUnderTest, count: int) -> list[str]:
    await back.ledger.companies.create(COMPANY, "Acme", actor="t", now_ms=NOW)
    names = [f"o{number:04}" for number in range(count)]
    for name in names:
        await back.ledger.offices.create(settings(name, COMPANY), actor="t", now_ms=NOW)
    return names


async def test_many_offices_are_projected_in_slices(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "A_TURN", 10)
    async with running_back(valkey, tmp_path) as back:
        names = await _many_offices(back, 12)
        assert await back.back.background.projector.turn()
        assert len(await back.ledger.offices.unprojected(1_000)) == 2
        assert not await back.back.background.projector.turn()
        assert await back.ledger.offices.unprojected(1_000) == ()
        for name in (names[0], names[-1]):
            assert (await back.till.office(name)).settings.version == 1


async def test_two_gateways_project_the_same(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as one, running_back(valkey, tmp_path, flush=False) as other:
        await _many_offices(one, 30)
        await asyncio.gather(one.back.background.projector.turn(), other.back.background.projector.turn())
        assert await one.ledger.offices.unprojected(1_000) == ()
        await one.adjust(5, "k", office_id="o0001")
        await asyncio.gather(
            *(each.adjust(7, f"k{n % 5}", office_id="o0001") for n in range(10) for each in (one, other))
        )
        await asyncio.gather(one.back.background.applier.turn(), other.back.background.applier.turn())
        await one.store_is_as_credits_say("o0001")
        assert (await other.get_office("o0001")).balance_micros == 5 + 5 * 7


async def test_a_store_that_forgot_a_change_of_settings_gets_it_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=5)
        before = await back.till.connection.ask("GET", office_keys(OFFICE).office)
        await back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE), metadata=ME)
        await back.till.connection.ask("SET", office_keys(OFFICE).office, before)
        assert await back.ledger.offices.unprojected(10) == ()
        assert not await back.back.background.reconciler.turn()  # Not asked: nothing is looked at.
        assert (await back.till.office()).settings.version == 1
        back.back._on_connect()
        await back.back.background.reconciler.turn()
        assert (await back.till.office()).settings.version == 2
        assert (await back.till.authorize("c1", version=2)).code is Code.OFFICE_SUSPENDED


async def test_offices_that_the_store_lost_are_counted_and_left_alone(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "A_TURN", 10)
    async with running_back(valkey, tmp_path) as back:
        await _many_offices(back, 16)
        await back.back.background.projector.turn()
        await back.adjust(5, "k", office_id="o0007")
        kept = await back.till.connection.ask("GET", office_keys("o0007").office)
        await back.till.connection.ask("DEL", office_keys("o0007").office)
        await back.till.connection.ask("DEL", office_keys("o0015").office)
        back.back._on_connect()
        assert await back.back.background.reconciler.turn()
        assert value(metrics.OFFICES_MISSING) == 1
        assert not await back.back.background.reconciler.turn()
        assert value(metrics.OFFICES_MISSING) == 2
        assert await back.store.read_office("o0007") is None
        # Also what changes or is credited meanwhile does not make it anew.
        await back.ledger.offices.set_state("o0015", OfficeState.SUSPENDED, actor="t", now_ms=NOW)
        await back.back.background.projector.turn()
        assert await back.store.read_office("o0015") is None
        # Restored from elsewhere, it is counted no longer.
        await back.till.connection.ask("SET", office_keys("o0007").office, kept)
        back.back._on_connect()
        while await back.back.background.reconciler.turn():
            pass
        assert value(metrics.OFFICES_MISSING) == 1


async def test_an_office_that_went_with_the_last_seconds_of_the_store_is_made_anew(
    valkey: StoreServer, tmp_path: Path
) -> None:
    """Made, credited and debited a moment before the power was lost: the debit never happened, the credit did."""
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("journaled", balance=100)
        await back.journaler.turn()
        await back.open_office(balance=1_000_000)
        await back.spend(30_000)
        # As a store that was synced before: the office is not there, and neither are its entries.
        await back.till.connection.ask("DEL", office_keys(OFFICE).office, office_keys(OFFICE).message_prefix + b"m")
        await back.till.connection.ask("XTRIM", office_keys(OFFICE).outbox, "MAXLEN", 0)
        back.back._on_connect()
        while await back.back.background.reconciler.turn():
            pass
        await back.store_is_as_credits_say()
        assert (await back.get_office()).balance_micros == 1_000_000
        assert value(metrics.OFFICES_MISSING) == 0
        await back.journaler.turn()
        await assert_clean(back)


async def test_an_office_of_an_emptied_store_is_not_made_anew(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office("journaled", balance=100)
        await back.journaler.turn()
        await back.open_office(balance=1_000_000)
        await flush_all(back.till.connection)
        back.back._on_connect()
        await back.back.prepare_store()
        assert await back.store.read_office(OFFICE) is None
        assert value(metrics.OFFICES_MISSING) == 2


async def test_an_office_without_money_that_was_never_in_the_store_is_made(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        # In the store, but SQL did not hear of it, and a credit was confirmed: then it is lost, not new.
        offices = back.back.offices
        Fault(offices, "mark_projected", done=False, error=DatabaseError("died"))
        with pytest.raises(Exception, match="died"):
            await back.open_office()
        await back.adjust(5, "k")
        await back.till.connection.ask("DEL", office_keys(OFFICE).office)
        await back.back.background.projector.turn()
        assert await back.store.read_office(OFFICE) is None


# The sampler and the waker.


async def test_live_calls_and_reserved_money(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for name in ("a", "b", "c"):
            await back.open_office(name, balance=10**9)
        for number in range(30):
            await back.till.authorize(f"c{number}", office_id="a")
        await back.till.authorize("c", office_id="b")
        sampler = back.back.background.sampler
        for _ in range(8):
            await sampler.turn()
        assert value(metrics.LIVE_CALLS) == 31
        assert value(metrics.RESERVED) == 31 * 120_000
        for number in range(30):
            await back.till.end(0, f"c{number}", office_id="a")
        for _ in range(8):
            await sampler.turn()
        assert (value(metrics.LIVE_CALLS), value(metrics.RESERVED)) == (1, 120_000)


async def test_a_refill_that_waits_is_asked_for_again_in_time(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        waker = back.back.background.waker

        async def wait_for(office_id: str, balance: int) -> None:
            await back.open_office(office_id, balance=balance)
            await back.refill(office_id)
            failed = await back.store.fail_refill(office_id, 1, 1, back.clock.now_ms() + 60_000)
            assert failed.state == RefillState.WAITING

        await wait_for("poor", 1_000)
        await wait_for("rich", 1_000)
        await back.adjust(10**8, "k", office_id="rich")
        await waker.turn()
        assert await back.till.refill_state("poor") is RefillState.WAITING
        back.clock.move(60)
        await waker.turn()
        poor = await back.till.office("poor")
        assert (poor.refill_state, poor.refill_number, poor.refill_failures) == (RefillState.PENDING, 0, 1)
        assert await back.till.refill_state("rich") is RefillState.ARMED
        await waker.turn()
        kinds: Any = [entry.id for entry in await back.till.outbox("poor") if entry.kind == "refill"]
        assert kinds == ["poor/1", "poor/1"]
