"""cut_call.lua, end_call.lua and lapse_call.lua: the three ways in which a call stops."""

import asyncio
from typing import Any

import pytest

from gateway.domain.rate import Rate
from gateway.domain.vocabulary import CallState, FinalReason, RefillState
from gateway.store.balances import CallCut, CallLapse, CallSettlement, Lifetimes
from gateway.store.codes import Code
from gateway.store.commands import CUT_CALL, FUNDS_LOW, FUNDS_RESTORED, PublishedCommand
from gateway.store.keys import COMMANDS_CHANNEL, outbox_key, shard_of
from gateway.store.records import CallRecord, CallStub, unpack_call
from gateway.v1.records_pb2 import Details
from tests.support.balances import (
    BY_THE_SECOND,
    FEE_THEN_MINUTE_THEN_SECONDS,
    NOON,
    OFFICE,
    SIX_SIX,
    SIXTY_SIXTY,
    Till,
    open_till,
)
from tests.support.servers import StoreServer
from tests.support.store_keys import ask_owner

FUNDS, SPEND, OPERATOR = FinalReason.INSUFFICIENT_FUNDS, FinalReason.SPEND_LIMIT, FinalReason.OPERATOR
LIFE = Lifetimes()


async def last_grant(till: Till, **request: Any) -> None:
    """A call by the second that 180,000 fund for 90 s, ticked at 50, with its time over."""
    await till.open_office(180_000)
    await till.authorize(rate=BY_THE_SECOND, **request)
    await till.answer()
    till.clock.move(50)
    await till.tick(50)
    till.clock.move(40)


# The cut.


async def test_a_cut_when_nothing_more_can_be_granted(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        assert await till.cut() == CallCut(Code.CUT, 90, FUNDS, "sw1", 0)
        call = await till.call()
        assert (call.state, call.final, call.granted_seconds, call.held_micros) == (CallState.CUT, FUNDS, 90, 80_000)
        assert await till.due() == NOON + 95_000
        assert await till.shard_clock() == NOON + 90_000


async def test_a_cut_says_how_late_it_is(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        till.clock.set(NOON + 90_250)
        assert await till.cut() == CallCut(Code.CUT, 90, FUNDS, "sw1", 250)
        till.clock.move(5)
        assert (await till.cut()).late_ms == 0


async def test_the_command_is_repeated_every_5_s_until_the_grace_is_over(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        await till.cut()
        for seconds in range(95, 90 + 60, 5):
            till.clock.set(NOON + seconds * 1000)
            assert await till.due() == till.clock.now_ms()
            assert (await till.tick_by_clock()).code == Code.CUT_DUE
            assert await till.cut() == CallCut(Code.REPLAYED, 90, FUNDS, "sw1", 0)
        # The last time is when the grace is over.
        till.clock.move(2)
        assert (await till.cut()).code == Code.REPLAYED
        till.clock.move(3)
        assert await till.due() == till.clock.now_ms()
        assert (await till.cut()).code == Code.LAPSE_DUE
        assert (await till.lapse()).code == Code.LAPSED


async def test_whoever_hears_of_a_cut_call_does_not_put_its_command_off(store_url: str) -> None:
    """It goes to every Session of the switch, and only the one that ticks or lists the call would be answered."""
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        await till.authorize()
        await till.answer()
        till.clock.move(3)
        assert (await till.cut(forced=True)).code == Code.CUT
        due = await till.due()
        assert due == NOON + 8_000
        for seconds in range(4, 8):
            till.clock.set(NOON + seconds * 1000)
            assert (await till.hear(seconds)).code == Code.ENDED
            assert (await till.tick(seconds)).code == Code.ENDED
            assert (await till.answer()).code == Code.ENDED
            assert (await till.lapse()).code == Code.NOT_DUE
            assert await till.due() == due
        till.clock.set(NOON + 8_000)
        assert (await till.cut()).code == Code.REPLAYED
        assert await till.due() == NOON + 13_000


async def test_the_look_before_the_cut_lets_the_call_go_on(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        await till.credit(1_000_000)
        assert await till.cut() == CallCut(Code.OK, 150, 0, "sw1", 0)
        assert (await till.call()).state == CallState.ANSWERED
        assert await till.due() == NOON + 150_000 + LIFE.grace_ms


async def test_another_calls_end_lets_the_call_go_on(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(240_000)
        await till.authorize("a", BY_THE_SECOND)
        await till.authorize("b", BY_THE_SECOND, requested=61)
        await till.answer("b")
        till.clock.move(60)
        assert (await till.tick_by_clock("b")).code == Code.CUT_DUE
        await till.end(1, "a")
        assert (await till.cut("b"))[:3] == (Code.OK, 119, FUNDS)


@pytest.mark.parametrize("late", [False, True])
async def test_a_call_is_not_cut_before_its_time(store_url: str, late: bool) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        till.clock.set(NOON + 90_000 - 1 + late)
        before = await till.dump()
        assert (await till.cut()).code == (Code.CUT if late else Code.NOT_DUE)
        assert (await till.dump() == before) is not late


async def test_what_is_never_cut_by_the_gateway_itself(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize_free("free", max_duration=60)
        await till.authorize_emergency("112")
        await till.authorize("ringing")
        await till.authorize("funded", BY_THE_SECOND)
        for call_id in ("free", "112", "funded"):
            await till.answer(call_id)
        till.clock.move(100_000)
        before = await till.dump()
        for call_id in ("free", "112", "ringing", "funded"):
            assert (await till.cut(call_id)).code == Code.NOT_DUE
        assert await till.dump() == before


async def test_an_operator_cuts_any_call_but_an_emergency(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize("funded")
        await till.authorize("ringing")
        await till.authorize_free("free")
        await till.authorize_emergency("112")
        for call_id in ("funded", "free", "112"):
            await till.answer(call_id)
        for call_id in ("funded", "ringing", "free"):
            cut = await till.cut(call_id, forced=True)
            assert (cut.code, cut.final) == (Code.CUT, OPERATOR)
            assert (await till.cut(call_id, forced=True)).code == Code.REPLAYED
            assert await till.due(call_id) == NOON + 5_000
            assert (await till.tick(5, call_id)).code == Code.ENDED
        assert (await till.cut("112", forced=True)).code == Code.NOT_DUE
        assert (await till.call("112")).state == CallState.ANSWERED


async def test_no_live_call_is_not_cut(store_url: str) -> None:
    async with open_till(store_url) as till:
        not_found = CallCut(Code.NOT_FOUND, 0, 0, "", 0)
        assert await till.cut() == not_found
        await till.open_office(1_000_000)
        assert await till.cut(forced=True) == not_found
        await till.authorize()
        await till.lapse(forced=True)
        assert await till.cut(forced=True) == not_found
        await till.end(0)
        assert await till.cut(forced=True) == not_found


# The end.


async def test_an_end_and_what_it_stores(store_url: str) -> None:
    details = Details(called_number="+18765550100")
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND, details=details)
        await till.answer()
        till.clock.move(30)
        assert await till.end(30, cause="NORMAL_CLEARING") == CallSettlement(Code.OK, 30, 60_000, 0, 940_000)
        assert await till.stub() == CallStub(True, 30, 30, 60_000, 0)
        assert LIFE.stub_ms - 10_000 < await till.call_expires_in_ms() <= LIFE.stub_ms
        assert await till.due() is None
        office = await till.office()
        assert (office.balance_micros, office.reserved_micros, office.concurrent_calls) == (940_000, 0, 0)
        assert office.day_spend_micros == 60_000
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.office, entry.id, entry.at, entry.amount, entry.balance) == (
            "end", OFFICE, "c1", NOON + 30_000, -60_000, 940_000,
        )  # fmt: skip
        record = unpack_call(entry.more["record"])
        assert isinstance(record, CallRecord)
        assert (record.rate, record.details, record.held_micros) == (BY_THE_SECOND, details, 0)
        assert {name: value for name, value in entry.more.items() if name != "record"} == {
            "authorized_at": str(NOON).encode(),
            "debited": b"60000",
            "confirmed": b"30",
            "answered_at": str(NOON).encode(),
            "duration": b"30",
            "billed": b"30",
            "written_off": b"0",
            "cause": b"NORMAL_CLEARING",
        }


async def test_the_first_end_stands(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.answer()
        await till.end(61)
        before = await till.dump()
        till.clock.move(60)
        assert await till.end(61) == CallSettlement(Code.REPLAYED, 61, 240_000, 0, 760_000)
        assert await till.end(62) == CallSettlement(Code.ID_REUSED, 61, 240_000, 0, 760_000)
        assert await till.end(0) == CallSettlement(Code.ID_REUSED, 61, 240_000, 0, 760_000)
        assert await till.dump() == before


async def test_an_end_of_an_unknown_call(store_url: str) -> None:
    async with open_till(store_url) as till:
        not_found = CallSettlement(Code.NOT_FOUND, 0, 0, 0, 0)
        assert await till.end(30) == not_found
        assert await till.dump() == {}
        await till.open_office(1_000_000)
        assert await till.end(30) == not_found
        assert await till.stub() == CallStub(False, 30, 0, 0, 0)
        assert 0 < await till.call_expires_in_ms() <= LIFE.setup_ms
        before = await till.dump()
        assert await till.end(31) == not_found
        assert await till.dump() == before
        assert await till.money() == (1_000_000, 0, 1_000_000)


@pytest.mark.parametrize(
    ("duration", "billed", "debited", "written_off"),
    [
        (0, 0, 0, 0),
        (1, 1, 2_000, 0),
        (50, 50, 100_000, 0),
        (90, 90, 180_000, 0),
        # Up to 2 s past a final grant are not billed.
        (91, 90, 180_000, 0),
        (92, 90, 180_000, 0),
        (93, 93, 180_000, 6_000),
        (86_400, 86_400, 180_000, 172_620_000),
    ],
)
@pytest.mark.parametrize("cut", ["live", "cut", "cut and lapsed"])
async def test_what_a_final_call_costs(
    store_url: str, duration: int, billed: int, debited: int, written_off: int, cut: str
) -> None:
    """Whether it was cut, and whether its end came in time, makes no difference."""
    async with open_till(store_url) as till:
        await last_grant(till)
        if cut != "live":
            await till.cut()
        if cut == "cut and lapsed":
            till.clock.move(60)
            assert (await till.lapse()).code == Code.LAPSED
        left = 180_000 - debited
        assert await till.end(duration) == CallSettlement(Code.OK, billed, debited, written_off, left)
        assert await till.money() == (left, 0, left)
        office = await till.office()
        assert (office.concurrent_calls, office.day_spend_micros) == (0, debited)


async def test_what_is_past_a_grant_that_is_not_final_is_billed(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        assert (await till.end(61)).billed_seconds == 61


async def test_an_end_takes_nothing_of_what_others_hold(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(300_000)
        await till.authorize("a", BY_THE_SECOND)
        await till.authorize("b", BY_THE_SECOND)
        # 120,000 are a's own, 60,000 are free, 120,000 are b's.
        assert await till.end(1_000, "a") == CallSettlement(Code.OK, 1_000, 180_000, 1_820_000, 0)
        assert await till.money() == (120_000, 120_000, 0)
        assert await till.end(60, "b") == CallSettlement(Code.OK, 60, 120_000, 0, 0)


async def test_an_end_refunds_what_ticks_debited_too_much(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=FEE_THEN_MINUTE_THEN_SECONDS)
        await till.tick(300)
        await till.end(0)
        assert await till.money() == (1_000_000, 0, 1_000_000)
        assert (await till.outbox())[-1].amount > 0
        assert (await till.office()).day_spend_micros == 0


async def test_a_refund_after_midnight_does_not_make_the_spend_negative(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.tick(50)
        till.clock.move(86_400)
        await till.end(10)
        office = await till.office()
        assert (office.balance_micros, office.day_spend_micros) == (980_000, 0)


async def test_an_end_may_raise_the_trigger(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(5_200_000, 1)
        await till.put_office(refill=True, generation=1)
        await till.authorize()
        await till.end(200)
        assert await till.refill_state() == RefillState.PENDING
        assert (await till.kinds())[-2:] == ["end", "refill"]


@pytest.mark.parametrize("emergency", [True, False])
async def test_the_end_of_a_call_that_costs_nothing_is_journaled(store_url: str, emergency: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, max_calls=1)
        await (till.authorize_emergency() if emergency else till.authorize_free())
        await till.answer()
        assert await till.end(86_400) == CallSettlement(Code.OK, 86_400, 0, 0, 1_000_000)
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.amount, entry.more["billed"]) == ("end", 0, b"86400")
        assert (await till.office()).concurrent_calls == 0


@pytest.mark.parametrize("rate", [SIXTY_SIXTY, BY_THE_SECOND, SIX_SIX, FEE_THEN_MINUTE_THEN_SECONDS])
@pytest.mark.parametrize("path", ["at once", "ticked", "ticked late", "lapsed", "lapsed twice", "never answered"])
async def test_the_path_to_the_end_makes_no_difference(store_url: str, rate: Rate, path: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(10_000_000)
        await till.authorize(rate=rate)
        if path != "never answered":
            await till.answer()
        if path.startswith("ticked"):
            for used in (50, 110, 170) if path == "ticked" else (170, 50, 110, 170):
                await till.tick(used)
        if path.startswith("lapsed"):
            await till.tick(50)
            await till.lapse(forced=True)
        if path == "lapsed twice":
            await till.tick(100)
            await till.lapse(forced=True)
        price = rate.price_micros(171)
        assert await till.end(171) == CallSettlement(Code.OK, 171, price, 0, 10_000_000 - price)
        assert await till.money() == (10_000_000 - price, 0, 10_000_000 - price)
        moved = [entry.amount for entry in await till.outbox() if entry.id == "c1"]
        assert sum(moved) == -price


# The lapse.


async def test_a_ringing_call_lapses_after_the_set_up_time_out(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        till.clock.move(179.999)
        assert await till.lapse() == CallLapse(Code.NOT_DUE, 0, 880_000)
        till.clock.move(0.001)
        assert await till.due() == till.clock.now_ms()
        assert await till.lapse() == CallLapse(Code.LAPSED, 0, 1_000_000)
        call = await till.call()
        assert (call.state, call.granted_seconds, call.held_micros, call.answered_ms) == (CallState.LAPSED, 0, 0, 0)
        assert LIFE.lapsed_ms - 10_000 < await till.call_expires_in_ms() <= LIFE.lapsed_ms
        assert await till.due() is None
        assert (await till.office()).concurrent_calls == 0
        # No money moved: nothing to journal.
        assert await till.kinds() == ["credit"]
        # A replay repeats the decision with the grant as it is now.
        assert (await till.authorize())[:2] == (Code.REPLAYED, 0)


@pytest.mark.parametrize(
    ("confirmed", "debited", "granted"), [(0, 2_000, 1), (1, 2_000, 1), (50, 100_000, 50), (100, 200_000, 100)]
)
async def test_an_answered_call_lapses_at_its_confirmed_seconds(
    store_url: str, confirmed: int, debited: int, granted: int
) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.answer()
        if confirmed:
            await till.tick(confirmed)
        before = len(await till.outbox())
        taken = debited - (await till.call()).debited_micros
        assert await till.lapse(forced=True) == CallLapse(Code.LAPSED, debited, 1_000_000 - debited)
        call = await till.call()
        assert (call.granted_seconds, call.debited_micros, call.held_micros) == (granted, debited, 0)
        entries = (await till.outbox())[before:]
        # Also where it took nothing: the usage record of a call that was debited says that it lapsed.
        assert [(e.kind, e.amount, e.balance) for e in entries] == [("lapse", -taken, 1_000_000 - debited)]


async def test_a_call_that_lapses_without_ever_being_debited_has_no_entry(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        assert (await till.lapse(forced=True)).code == Code.LAPSED
        await till.answer()
        assert await till.kinds() == ["credit"]


async def test_a_lapse_never_gives_back_what_ticks_debited(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND, by_gateway=True)
        await till.answer()
        till.clock.move(40)
        await till.answer()
        till.clock.move(10)
        # By the clock, so the switch confirmed nothing of it.
        await till.tick_by_clock()
        assert await till.lapse(forced=True) == CallLapse(Code.LAPSED, 100_000, 900_000)


@pytest.mark.parametrize("heard", [False, True])
async def test_silence_past_the_grant_and_the_grace(store_url: str, heard: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.answer()
        lapses_ms = NOON + 60_000 + LIFE.grace_ms
        if heard:
            # A late tick is a sign of life though it changes nothing else.
            await till.tick(0)
            till.clock.move(100)
            await till.tick(0)
            lapses_ms = NOON + 100_000 + LIFE.grace_ms
        assert await till.due() == lapses_ms
        till.clock.set(lapses_ms - 1)
        assert (await till.lapse()).code == Code.NOT_DUE
        till.clock.move(0.001)
        assert (await till.lapse()).code == Code.LAPSED


async def test_a_lapse_that_is_not_due_puts_the_due_entry_right(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.connection.ask("ZADD", await due_key_of(till), NOON - 5, f"{OFFICE}:c1")
        await till.lapse()
        assert await till.due() == NOON + LIFE.setup_ms


async def due_key_of(till: Till) -> bytes:
    return till.cached().keys.due


@pytest.mark.parametrize(("since_ms", "lapses"), [(NOON + 20_000, False), (NOON + 20_001, True), (0, False)])
async def test_a_call_that_its_switch_lists_no_longer(store_url: str, since_ms: int, lapses: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND, by_gateway=True)
        await till.answer()
        till.clock.move(20)
        await till.hear(20)
        till.clock.move(10)
        lapse = await till.balances.lapse_call(till.cached(), "c1", missing_since_ms=since_ms)
        assert lapse.code == (Code.LAPSED if lapses else Code.NOT_DUE)
        # One that was heard of meanwhile keeps its next tick.
        assert await till.due() == (None if lapses else NOON + 50_000)


async def test_a_last_grant_that_was_heard_of_meanwhile_keeps_its_look(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        till.clock.move(-10)
        assert (await till.lapse()).code == Code.NOT_DUE
        assert await till.due() == NOON + 90_000


async def test_a_last_grant_that_is_over_stays_due_for_its_cut(store_url: str) -> None:
    async with open_till(store_url) as till:
        await last_grant(till)
        till.clock.move(10)
        assert (await till.lapse()).code == Code.NOT_DUE
        assert await till.due() == NOON + 90_000


@pytest.mark.parametrize("state", ["unknown", "lapsed", "ended"])
async def test_a_due_entry_without_a_live_call_is_removed(store_url: str, state: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        if state != "unknown":
            await till.authorize()
            await till.lapse(forced=True)
        if state == "ended":
            await till.end(0)
        await till.connection.ask("ZADD", await due_key_of(till), NOON, f"{OFFICE}:c1")
        assert await till.lapse() == CallLapse(Code.NOT_FOUND, 0, 0)
        assert await till.due() is None


async def test_a_free_call_lapses_without_a_debit(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.authorize_free(max_duration=60)
        await till.answer()
        await till.tick(50)
        till.clock.move(120)
        assert await till.lapse() == CallLapse(Code.LAPSED, 0, 0)
        assert (await till.call()).granted_seconds == 0
        assert (await till.office()).concurrent_calls == 0


async def test_a_late_end_settles_only_the_difference(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.tick(50)
        await till.lapse(forced=True)
        till.clock.move(80_000)
        assert await till.end(120) == CallSettlement(Code.OK, 120, 240_000, 0, 760_000)
        assert (await till.outbox())[-1].amount == -140_000
        assert (await till.office()).concurrent_calls == 0


async def test_a_late_end_takes_what_is_there(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(120_000)
        await till.authorize("a", BY_THE_SECOND)
        await till.lapse("a", forced=True)
        await till.authorize("b", BY_THE_SECOND, requested=59)
        assert await till.end(60, "a") == CallSettlement(Code.OK, 60, 2_000, 118_000, 0)
        assert await till.money() == (118_000, 118_000, 0)


# What the switch is told.


async def test_commands_are_published_by_the_script_that_decided(store_server: StoreServer) -> None:
    async with open_till(store_server.url) as till:
        await till.open_office(180_000)
        await till.authorize(rate=BY_THE_SECOND, by_gateway=True)
        await till.authorize("an operator's", verdict=Code.FREE, rate=None, switch_id="")
        await till.answer()
        with store_server.client() as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(COMMANDS_CHANNEL)
            channel.get_message(timeout=5)

            async def commands() -> list[PublishedCommand]:
                # What is published before this one has come when this one comes.
                await ask_owner(
                    till.connection, outbox_key(shard_of(OFFICE)), "PUBLISH", COMMANDS_CHANNEL, "sw\nend\no\nc\n0"
                )
                heard: list[PublishedCommand] = []
                while not heard or heard[-1].kind != "end":
                    message = await asyncio.to_thread(channel.get_message, timeout=5)
                    assert message is not None
                    heard.append(PublishedCommand.parse(message["data"]))
                return heard[:-1]

            till.clock.move(50)
            await till.tick_by_clock()
            assert await commands() == [PublishedCommand("sw1", FUNDS_LOW, OFFICE, "c1", 90)]
            till.clock.move(40)
            await till.credit(1_000_000)
            await till.tick_by_clock()
            assert await commands() == [PublishedCommand("sw1", FUNDS_RESTORED, OFFICE, "c1", 150)]
            # An ordinary tick tells nothing, nor does a tick of the switch itself.
            await till.hear(90)
            till.clock.move(50)
            await till.tick_by_clock()
            await till.tick(140, requested=86_400)
            assert await commands() == []
            await till.cut("an operator's", forced=True)
            assert await commands() == []
            cut = PublishedCommand("sw1", CUT_CALL, OFFICE, "c1", OPERATOR)
            for _ in range(2):
                await till.cut(forced=True)
                assert await commands() == [cut]
            till.clock.move(5)
            await till.cut()
            assert await commands() == [cut]
            # The look that lets the call go on, and what is not due, are no cuts.
            await till.end(60)
            await till.cut(forced=True)
            assert await commands() == []
