"""A store that lost everything is as it was, as far as the ledger knew; and what a rebuild refuses."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gateway.domain.payment import ChargeStatus, RefillStatus
from gateway.domain.vocabulary import CallState, OfficeState, RefillState
from gateway.ledger.errors import DatabaseError
from gateway.ledger.models import CreditRow, OfficeBookRow, OfficeRow, RefillRow
from gateway.ledger.rebuilding import Rebuilding, RebuiltMeanwhile
from gateway.rebuilding import rebuild
from gateway.startup import StartupError
from gateway.store.balances import BalanceStore, CallSettlement, Lifetimes, MessageGrant
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import EPOCH_KEY, GATEWAYS_KEY, REBUILD_KEY, office_keys
from gateway.store.restoration import StoreInUse, StoreRestoration
from gateway.v1.records_pb2 import Details
from tests.support.audits import assert_clean
from tests.support.back import OFFICE, BackUnderTest, Fault, running_back
from tests.support.balances import BY_THE_SECOND, NOON, SIXTY_SIXTY
from tests.support.billing import confirmed_card, refill_charge
from tests.support.rebuilds import lose_and_rebuild
from tests.support.servers import StoreServer

KEYS = office_keys(OFFICE)
DETAILS = Details(called_number="+442079460958", deck_version=1)


async def journal(back: BackUnderTest) -> None:
    while await back.journaler.turn():
        pass


@asynccontextmanager
async def working(server: StoreServer, folder: Path, balance: int = 5_000_000) -> AsyncIterator[BackUnderTest]:
    """A gateway with an office whose refill is off."""
    async with running_back(server, folder) as back:
        await back.open_office(balance=balance)
        yield back


async def authorize(back: BackUnderTest, call_id: str, rate: object = SIXTY_SIXTY, **others: object) -> Code:
    version = (await back.till.office()).settings.version
    return (await back.till.authorize(call_id, rate, version=version, details=DETAILS, **others)).code  # type: ignore[arg-type]


async def test_balances_are_as_they_were(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await back.open_office("other", credit_limit_micros=2_000_000, max_concurrent_calls=3)
        await back.spend(123_457)
        await back.adjust(-7, "a fee")
        await journal(back)
        before = {name: await back.till.office(name) for name in (OFFICE, "other")}
        report = await lose_and_rebuild(back, valkey)
        assert (report.epoch, report.offices, report.balance_micros) == (2, 2, 4_876_536)
        assert report.ledger_knows_until == NOON
        after = {name: await back.till.office(name) for name in before}
        # Only where there is a limit is the spend of the day worth a query.
        assert after[OFFICE] == dataclasses.replace(before[OFFICE], day_spend_micros=0)
        # It never had a day; now it has today's.
        assert dataclasses.replace(after["other"], day=0) == before["other"]
        await assert_clean(back)
        # The gateway goes on as if nothing had been.
        await back.adjust(1_000, "another gift")
        await back.spend(500, "m2")
        await assert_clean(back)
        await journal(back)
        await assert_clean(back)
        assert (await back.till.office()).balance_micros == 4_877_036


# What a live call comes to after the loss: debited 100,000 for 50 s by the second, of 240,000 in all.


async def with_live_call(back: BackUnderTest) -> None:
    assert await authorize(back, "c1", BY_THE_SECOND) is Code.FUNDED
    await back.till.answer("c1")
    back.clock.move(50)
    await back.till.tick(50)
    await journal(back)


@pytest.mark.parametrize(
    ("duration", "settlement"),
    [
        (120, CallSettlement(Code.OK, 120, 240_000, 0, 4_760_000)),
        (50, CallSettlement(Code.OK, 50, 100_000, 0, 4_900_000)),
        (20, CallSettlement(Code.OK, 20, 40_000, 0, 4_960_000)),
        (0, CallSettlement(Code.OK, 0, 0, 0, 5_000_000)),
    ],
)
async def test_an_end_settles_the_difference(
    valkey: StoreServer, tmp_path: Path, duration: int, settlement: CallSettlement
) -> None:
    async with working(valkey, tmp_path) as back:
        await with_live_call(back)
        report = await lose_and_rebuild(back, valkey)
        assert report.open_calls == 1
        assert (await back.till.call()).state is CallState.LAPSED
        assert await back.till.money() == (4_900_000, 0, 4_900_000)
        assert await back.till.end(duration) == settlement
        assert (await back.till.end(duration)).code is Code.REPLAYED
        await journal(back)
        await assert_clean(back)


async def test_a_lapsed_call_is_what_the_script_would_have_left(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await with_live_call(back)
        await back.till.lapse(forced=True)
        await journal(back)
        await back.till.authorize("c2", SIXTY_SIXTY, switch_id="sw2", version=1, details=DETAILS, by_gateway=True)
        await back.till.tick(61, "c2")
        await back.till.lapse("c2", forced=True)
        await journal(back)
        keys = [KEYS.call_prefix + b"c1", KEYS.call_prefix + b"c2"]
        before = [await back.till.call("c1"), await back.till.call("c2")]
        await lose_and_rebuild(back, valkey)
        after = [await back.till.call("c1"), await back.till.call("c2")]
        # When it was last heard of is not journaled.
        heard = [each.heard_ms for each in before]
        assert [dataclasses.replace(each, heard_ms=at) for each, at in zip(after, heard, strict=True)] == before
        assert min([await back.till.connection.ask("PTTL", key) for key in keys]) > 80_000_000


@pytest.mark.parametrize("way", ["tick", "hear", "answer"])
async def test_a_revival_goes_on_from_what_was_debited(valkey: StoreServer, tmp_path: Path, way: str) -> None:
    async with working(valkey, tmp_path) as back:
        await with_live_call(back)
        await lose_and_rebuild(back, valkey)
        back.clock.move(20)
        if way == "tick":
            revived = await back.till.tick(70)
        elif way == "hear":
            revived = await back.till.hear(70)
        else:
            revived = await back.till.answer()
        assert revived.code is Code.OK
        debited = {"tick": 140_000, "hear": 140_000, "answer": 100_000}[way]
        assert revived.debited_micros == debited
        await assert_clean(back)
        assert (await back.till.end(95)).debited_micros == 190_000
        await journal(back)
        await assert_clean(back)
        assert (await back.till.office()).balance_micros == 4_810_000


async def test_ids_that_were_used_are_known_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await authorize(back, "over")
        await back.till.end(61, "over")
        await back.spend(30_000, "sent")
        await back.spend(40_000, "given back")
        await back.till.refund("given back")
        assert await authorize(back, "denied", max_duration=60, verdict=Code.NO_RATE) is Code.NO_RATE
        await journal(back)
        report = await lose_and_rebuild(back, valkey)
        assert (report.open_calls, report.ended_calls, report.messages) == (0, 1, 2)
        balance = (await back.till.office()).balance_micros
        assert await back.till.end(61, "over") == CallSettlement(Code.REPLAYED, 61, 240_000, 0, balance)
        assert (await back.till.end(62, "over")).code is Code.ID_REUSED
        assert await authorize(back, "over") is Code.CALL_ENDED
        replayed = await back.till.message(30_000, "sent", version=1)
        assert replayed == MessageGrant(Code.REPLAYED, 30_000, balance, Code.FUNDED)
        assert (await back.till.message(30_000, "sent", version=1, content=2)).code is Code.ID_REUSED
        assert (await back.till.message(40_000, "given back", version=1)).code is Code.MESSAGE_REFUNDED
        assert (await back.till.refund("given back")).code is Code.REPLAYED
        assert (await back.till.office()).balance_micros == balance
        assert (await back.till.refund("sent")).refunded_micros == 30_000
        assert 3_590_000 < await back.till.call_expires_in_ms("over") <= 3_600_000
        await journal(back)
        await assert_clean(back)


async def test_what_was_over_an_hour_ago_is_not(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await authorize(back, "over")
        await back.till.end(61, "over")
        await back.spend(30_000, "sent")
        await journal(back)
        back.clock.move(3_601)
        report = await lose_and_rebuild(back, valkey)
        assert (report.ended_calls, report.messages) == (0, 0)
        assert (await back.till.end(61, "over")).code is Code.NOT_FOUND


async def test_what_was_not_journaled_never_happened(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        await with_live_call(back)
        await back.adjust(1_000_000, "a gift that the store confirmed")
        await back.till.authorize("c9", version=1)
        await back.till.tick(30, "c9")
        await back.spend(700_000, "lost")
        await lose_and_rebuild(back, valkey)
        # A confirmed credit is the office's; a message and a debit that nobody knows of are not debited.
        assert await back.till.money() == (5_900_000, 0, 5_900_000)
        assert (await back.till.tick(60, "c9")).code is Code.NOT_FOUND
        assert (await back.till.message(700_000, "lost", version=1)).code is Code.FUNDED
        await journal(back)
        await assert_clean(back)


async def test_a_credit_of_which_only_the_book_knows_is_not_applied_twice(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await back.adjust(300, "journaled")
        await journal(back)
        async with back.back.database.write() as session:
            await session.execute(
                update(CreditRow).where(CreditRow.number == 2).values(applied_at=None, status="PENDING")
            )
        await back.adjust(40, "applied, not journaled")
        async with back.back.database.write() as session:
            await session.execute(
                update(CreditRow).where(CreditRow.number >= 2).values(applied_at=None, status="PENDING")
            )
        await lose_and_rebuild(back, valkey)
        assert (await back.till.office()).credit_number == 2
        while await back.back.background.applier.turn():
            pass
        assert await back.till.money() == (5_000_340, 0, 5_000_340)
        await journal(back)
        await assert_clean(back)
        await back.store_is_as_credits_say()


async def test_the_spend_of_the_day_counts_on(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=5_000_000, daily_spend_limit_micros=1_000_000, time_zone="America/New_York")
        await back.spend(250_000, "yesterday")
        back.clock.move(86_400)
        await back.spend(300_000, "today")
        await journal(back)
        before = await back.till.office()
        await lose_and_rebuild(back, valkey)
        assert await back.till.office() == before
        assert before.day_spend_micros == 300_000


async def test_settings_that_the_store_did_not_have_yet_are_projected(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path, balance=0) as back:
        async with back.back.database.write() as session:
            await session.execute(
                update(OfficeRow).values(version=5, credit_limit_micros=3_000_000, state=OfficeState.SUSPENDED)
            )
        await lose_and_rebuild(back, valkey)
        while await back.back.background.projector.turn():
            pass
        settings = (await back.till.office()).settings
        assert (settings.version, settings.credit_limit_micros) == (5, 3_000_000)
        assert settings.state is OfficeState.SUSPENDED


# Refills.


async def refill_row(back: BackUnderTest, status: RefillStatus, attempt: int, *charges: ChargeStatus) -> None:
    """A refill that the gateway has begun, with a charge an attempt."""
    card = await confirmed_card(back)
    async with back.back.database.write() as session:
        session.add(
            RefillRow(
                refill_id=f"{OFFICE}/1",
                office_id=OFFICE,
                number=1,
                amount_micros=50_000_000,
                status=status,
                attempt=attempt,
                credit_number=None,
                created_at=NOON,
                changed_at=NOON,
            )
        )
        for number, outcome in enumerate(charges, 1):
            session.add(refill_charge(card, number, status=outcome))


DECLINED = ChargeStatus.DECLINED


@pytest.mark.parametrize(
    ("status", "attempt", "charges", "state", "failures", "failed_attempt"),
    [
        (RefillStatus.INTENDED, 1, [], RefillState.PENDING, 0, 0),
        (RefillStatus.CHARGING, 2, [DECLINED, ChargeStatus.INTENDED], RefillState.PENDING, 1, 1),
        (RefillStatus.FAILED, 2, [DECLINED, DECLINED], RefillState.PENDING, 2, 2),
        (RefillStatus.FAILED, 3, [DECLINED, DECLINED, ChargeStatus.NOT_CHARGED], RefillState.OFF, 3, 3),
        (RefillStatus.CAPPED, 1, [], RefillState.PENDING, 0, 0),
        (RefillStatus.NOT_NEEDED, 1, [], RefillState.PENDING, 0, 0),
    ],
)
async def test_a_refill_goes_on_with_its_own_number_and_attempts(
    valkey: StoreServer,
    tmp_path: Path,
    status: RefillStatus,
    attempt: int,
    charges: list[ChargeStatus],
    state: RefillState,
    failures: int,
    failed_attempt: int,
) -> None:
    async with working(valkey, tmp_path, balance=4_000_000) as back:
        await back.refill()
        await journal(back)
        await refill_row(back, status, attempt, *charges)
        await lose_and_rebuild(back, valkey)
        office = await back.till.office()
        assert (office.refill_state, office.refill_number) == (state, 0)
        assert (office.refill_failures, office.refill_failed_attempt) == (failures, failed_attempt)
        # One that was under way needs no other trigger; any other dip is seen again, under the same id.
        raised = [entry.id for entry in await back.till.outbox() if entry.kind == "refill"]
        is_again = state is RefillState.PENDING and status not in (RefillStatus.INTENDED, RefillStatus.CHARGING)
        assert raised == ([f"{OFFICE}/1"] if is_again else [])
        if state is RefillState.PENDING:
            await back.adjust(50_000_000, "paid", refill_id=f"{OFFICE}/1")
            office = await back.till.office()
            assert (office.refill_state, office.refill_number) == (RefillState.ARMED, 1)
        await journal(back)


async def test_credited_refills_are_counted(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path, balance=4_000_000) as back:
        await back.refill()
        await journal(back)
        await back.adjust(50_000_000, "paid", refill_id=f"{OFFICE}/1")
        await journal(back)
        await lose_and_rebuild(back, valkey)
        office = await back.till.office()
        assert (office.refill_state, office.refill_number, office.balance_micros) == (RefillState.ARMED, 1, 54_000_000)
        await back.spend(50_000_000, "dear")
        assert [entry.id for entry in await back.till.outbox() if entry.kind == "refill"] == [f"{OFFICE}/2"]
        await assert_clean(back)


# What it refuses, and what becomes of one that was broken off.


async def test_a_store_in_use_is_refused(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        before = await back.till.dump()
        for again in range(2):
            with pytest.raises(StoreInUse, match="not empty: it has 'tg:"):
                await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
            if not again:
                assert await back.till.dump() == before
                await lose_and_rebuild(back, valkey)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("ZADD", GATEWAYS_KEY, NOON - 1_000, "gateway"), "A gateway runs on this store"),
        (("SET", KEYS.call_prefix + b"c1", "x"), "not empty"),
        (("SET", office_keys("clock").office, "x"), "not empty"),
        (("XADD", KEYS.outbox, "*", "a", "b"), "not empty"),
        (("ZADD", KEYS.due, 1, "a:b"), "not empty"),
        (("SET", EPOCH_KEY, 7), "belongs to a newer ledger"),
        (("SET", REBUILD_KEY, 7), "another store was rebuilt"),
    ],
)
async def test_a_store_that_has_anything_is_refused(
    valkey: StoreServer, tmp_path: Path, command: tuple[str | bytes | int, ...], says: str
) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        valkey.flush()
        await back.till.connection.ask(*command)
        before = await back.till.dump()
        with pytest.raises(StoreInUse, match=says):
            await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        assert await back.till.dump() == before
        assert await back.ledger.outbox.epoch() == 1


async def test_what_gateways_leave_without_offices_is_no_use(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        valkey.flush()
        # A gateway was started on the emptied store: deck, tokens, epoch, and a lease that has run out.
        await back.back.prepare_store()
        await back.till.connection.ask("ZADD", GATEWAYS_KEY, NOON - 60_000, "gateway")
        await back.till.connection.ask("SET", KEYS.clock, NOON)
        report = await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        assert report.epoch == 2
        await assert_clean(back)


BREAKS = {
    "the epoch was begun, perhaps": (Rebuilding, "begin_epoch"),
    "the mark was set, perhaps": (StoreRestoration, "begin"),
    "books were set, perhaps": (Rebuilding, "settle"),
    "calls were put back, perhaps": (StoreRestoration, "put"),
    "an office was put back, perhaps": (BalanceStore, "restore_office"),
    "all but the mark, perhaps": (StoreRestoration, "finish"),
}


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("name", BREAKS)
async def test_a_rebuild_that_was_broken_off_is_finished_by_the_next(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, done: bool
) -> None:
    of, method = BREAKS[name]
    async with working(valkey, tmp_path) as back:
        for office_id in ("a", "b", "c"):
            await back.open_office(office_id, balance=1_000)
        await with_live_call(back)
        await back.spend(1, "m", office_id="b")
        await journal(back)
        valkey.flush()
        original = getattr(of, method)

        async def broken(*arguments: object, **named: object) -> None:
            monkeypatch.setattr(of, method, original)
            if done:
                await original(*arguments, **named)
            raise StoreUnavailable("the test says so")

        monkeypatch.setattr(of, method, broken)
        with pytest.raises(StoreUnavailable):
            await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        if await back.till.connection.ask("EXISTS", REBUILD_KEY):
            with pytest.raises(StartupError, match="being rebuilt"):
                await back.back.prepare_store()
        if done and method == "finish":
            with pytest.raises(StoreInUse):
                await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        else:
            await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        await back.back.prepare_store()
        await assert_clean(back)
        balances = [(await back.till.office(name)).balance_micros for name in (OFFICE, "a", "b", "c")]
        assert balances == [4_900_000, 1_000, 999, 1_000]
        assert (await back.till.end(60)).debited_micros == 120_000
        await journal(back)
        await assert_clean(back)


async def test_of_two_rebuilds_one_begins(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        valkey.flush()
        await Rebuilding(back.back.database).begin_epoch(2, 64, now_ms=NOON)
        with pytest.raises(RebuiltMeanwhile):
            await Rebuilding(back.back.database).begin_epoch(2, 64, now_ms=NOON)
        await StoreRestoration(back.back.connection, back.clock).begin(2)
        with pytest.raises(StoreInUse, match="Another rebuild"):
            await StoreRestoration(back.back.connection, back.clock).begin(3)


async def test_the_lost_store_is_refused_when_it_comes_back(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        old = await back.till.dump()
        await lose_and_rebuild(back, valkey)
        valkey.flush()
        for key, value in old.items():
            await back.till.connection.ask("RESTORE", key, 0, value)
        with pytest.raises(StartupError, match="of epoch 1, and the ledger has read epoch 2"):
            await back.back.prepare_store()


async def test_an_empty_ledger_restores_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        report = await lose_and_rebuild(back, valkey)
        assert (report.offices, report.ledger_knows_until) == (0, 0)
        await back.open_office(balance=5)
        await journal(back)
        await assert_clean(back)


async def test_the_database_may_be_away(valkey: StoreServer, tmp_path: Path) -> None:
    async with working(valkey, tmp_path) as back:
        await journal(back)
        valkey.flush()
        Fault(back.back.database, "transact", done=False, error=DatabaseError("away"))
        with pytest.raises(DatabaseError):
            await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
        await lose_and_rebuild(back, valkey)
        await assert_clean(back)
        async with back.back.database.read() as session:
            assert (await session.scalars(select(OfficeBookRow.balance_micros))).all() == [5_000_000]
