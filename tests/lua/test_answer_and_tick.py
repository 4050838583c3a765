"""answer_call.lua and tick_call.lua: the clock of a call, its debits and reservations."""

from typing import Any

import pytest

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import CallState, FinalReason, RefillState
from gateway.store.balances import CallProgress, Lifetimes
from gateway.store.codes import Code
from gateway.store.records import CallRecord, unpack_call
from gateway.v1.records_pb2 import Details
from tests.support.balances import (
    BY_THE_SECOND,
    FEE_THEN_MINUTE_THEN_SECONDS,
    NOON,
    OFFICE,
    SIXTY_SIXTY,
    Till,
    open_till,
)

FUNDS, SPEND, LONGEST, ENDED = (
    FinalReason.INSUFFICIENT_FUNDS,
    FinalReason.SPEND_LIMIT,
    FinalReason.MAX_DURATION,
    FinalReason.ENDED,
)
LIFE = Lifetimes()


async def live(till: Till, balance: int = 1_000_000, *, answer: bool = True, **request: Any) -> None:
    """An office with a call."""
    await till.open_office(balance)
    assert (await till.authorize(**request)).code in (Code.FUNDED, Code.FREE, Code.EMERGENCY)
    if answer:
        await till.answer()


# The answer.


async def test_an_answer_starts_the_clock_and_moves_nothing(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False)
        till.clock.move(7)
        assert await till.answer() == CallProgress(Code.OK, 60, 0, 0, 880_000)
        call = await till.call()
        assert (call.state, call.answered_ms, call.heard_ms) == (CallState.ANSWERED, NOON + 7_000, NOON + 7_000)
        assert await till.kinds() == ["credit"]
        # By the switch's tick, so what is due is that nothing is heard of it.
        assert await till.due() == NOON + 7_000 + 60_000 + LIFE.grace_ms


@pytest.mark.parametrize(
    ("tick_seconds", "before_end_ms"), [(60, 10_000), (20, 10_000), (19, 9_500), (1, 500), (3_600, 10_000)]
)
async def test_the_gateway_ticks_10_s_or_half_a_tick_before_the_end(
    store_url: str, tick_seconds: int, before_end_ms: int
) -> None:
    async with open_till(store_url) as till:
        rate = Rate(0, (Slot(0, 120, 60, 1),), tick_seconds)
        await live(till, rate=rate, by_gateway=True)
        assert await till.due() == NOON + tick_seconds * 1000 - before_end_ms


@pytest.mark.parametrize(
    ("answered_ms", "clamped"),
    [(0, 30_000), (NOON + 10_000, 10_000), (NOON - 5_000, 0), (NOON + 31_000, 30_000), (1, 0)],
)
async def test_the_time_of_the_answer_lies_between_authorization_and_now(
    store_url: str, answered_ms: int, clamped: int
) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False)
        till.clock.move(30)
        await till.answer(answered_ms=answered_ms)
        assert (await till.call()).answered_ms == NOON + clamped


async def test_the_first_answer_stands(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till)
        till.clock.move(20)
        assert (await till.answer(answered_ms=NOON + 15_000)).code == Code.OK
        call = await till.call()
        assert (call.answered_ms, call.heard_ms) == (NOON, NOON + 20_000)


async def test_an_answer_of_an_unknown_call_or_office(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.answer() == CallProgress(Code.NOT_FOUND, 0, 0, 0, 0)
        await till.open_office(1_000_000)
        assert await till.answer() == CallProgress(Code.NOT_FOUND, 0, 0, 0, 0)


async def test_an_answer_or_tick_after_the_end(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till)
        await till.end(61)
        before = await till.dump()
        ended = CallProgress(Code.ENDED, 61, ENDED, 240_000, 760_000)
        assert await till.answer() == ended
        assert await till.tick(100) == ended
        assert await till.tick_by_clock() == ended
        assert await till.dump() == before


async def test_an_answer_to_a_spent_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.end(5)
        assert await till.answer() == CallProgress(Code.ENDED, 0, ENDED, 0, 1_000_000)


@pytest.mark.parametrize(
    ("owner", "asking", "allowed"),
    [("sw1", "sw1", True), ("sw1", "sw2", False), ("sw1", "", True), ("", "sw1", True), ("sw1", "sw", False)],
)
async def test_another_switchs_call_is_forbidden(store_url: str, owner: str, asking: str, allowed: bool) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False, switch_id=owner)
        before = await till.dump()
        codes = {
            (await till.answer(switch_id=asking)).code,
            (await till.tick(5, switch_id=asking)).code,
        }
        assert codes == ({Code.OK} if allowed else {Code.FORBIDDEN})
        ended = await till.end(5, switch_id=asking)
        assert ended.code == (Code.OK if allowed else Code.FORBIDDEN)
        if not allowed:
            assert ended[1:] == (0, 0, 0, 0)
            assert await till.dump() == before


# Ticks of the switch.


async def test_a_tick_debits_reserves_and_is_journaled(store_url: str) -> None:
    details = Details(called_number="+18765550100", user_id="u1")
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, details=details)
        till.clock.move(50)
        assert await till.tick(50) == CallProgress(Code.OK, 110, 0, 100_000, 780_000)
        call = await till.call()
        assert (call.used_seconds, call.confirmed_seconds, call.heard_ms) == (50, 50, NOON + 50_000)
        assert (call.debited_micros, call.held_micros) == (100_000, 120_000)
        assert await till.money() == (900_000, 120_000, 780_000)
        till.clock.move(50)
        await till.tick(100)
        first, second = (entry for entry in await till.outbox() if entry.kind == "tick")
        assert (first.office, first.id, first.at, first.amount, first.balance) == (
            OFFICE,
            "c1",
            NOON + 50_000,
            -100_000,
            900_000,
        )
        answered = str(NOON).encode()
        record = unpack_call(first.more["record"])
        assert {name: value for name, value in first.more.items() if name != "record"} == {
            "authorized_at": answered,
            "debited": b"100000",
            "confirmed": b"50",
            "answered_at": answered,
        }
        # The ledger needs the record once, from which rebuild makes the call: as it was after that tick.
        assert isinstance(record, CallRecord)
        assert (record.rate, record.details, record.debited_micros) == (BY_THE_SECOND, details, 100_000)
        assert (second.amount, second.balance) == (-100_000, 800_000)
        assert second.more == {
            "authorized_at": answered,
            "debited": b"200000",
            "confirmed": b"100",
            "answered_at": answered,
        }


async def test_a_repeated_or_late_tick_changes_only_when_it_was_heard(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till)
        till.clock.move(50)
        first = await till.tick(50)
        held = await till.dump()
        assert await till.tick(50) == first
        assert await till.dump() == held
        assert await till.tick(20) == first
        assert await till.tick(0, requested=86_400) == first
        assert await till.dump() == held
        till.clock.move(5)
        await till.tick(20)
        call = await till.call()
        assert (call.used_seconds, call.confirmed_seconds, call.heard_ms) == (50, 50, NOON + 55_000)


async def test_a_tick_before_the_answer_stands_for_it(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False)
        till.clock.move(40)
        await till.tick(12)
        call = await till.call()
        assert (call.state, call.answered_ms) == (CallState.ANSWERED, NOON + 28_000)
        # It cannot have been answered before it was authorized.
        await till.authorize("c2")
        await till.tick(60, "c2")
        assert (await till.call("c2")).answered_ms == NOON + 40_000


@pytest.mark.parametrize(
    ("used", "requested", "granted", "final", "debited"),
    [
        (50, 0, 110, 0, 100_000),
        (50, 1, 60, 0, 100_000),
        (50, 100, 150, 0, 100_000),
        (0, 0, 60, 0, 0),
        # Only what is granted is debited; the rest waits for the end.
        (100, 0, 160, 0, 200_000),
        (499, 1, 500, 0, 998_000),
        (499, 2, 500, FUNDS, 998_000),
        (86_400, 0, 500, FUNDS, 1_000_000),
        (86_400, 86_400, 500, FUNDS, 1_000_000),
    ],
)
async def test_what_a_tick_grants_by_the_second(
    store_url: str, used: int, requested: int, granted: int, final: int, debited: int
) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND)
        left = 1_000_000 - BY_THE_SECOND.price_micros(granted)
        assert await till.tick(used, requested=requested) == CallProgress(Code.OK, granted, final, debited, left)
        call = await till.call()
        assert call.held_micros == BY_THE_SECOND.price_micros(granted) - debited
        assert call.used_seconds == used


async def test_a_tick_that_cannot_reserve_still_debits(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, 120_000)
        assert await till.tick(1) == CallProgress(Code.OK, 60, FUNDS, 120_000, 0)
        assert (await till.call()).held_micros == 0
        # Final, so it is looked at when its time is over.
        assert await till.due() == NOON + 60_000


async def test_the_maximum_duration_is_final_but_not_short(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, max_duration=95)
        tick = await till.tick(50)
        assert (tick.granted_seconds, tick.final) == (95, LONGEST)
        assert (await till.tick(95)).granted_seconds == 95
        assert await till.due() == NOON + 95_000
        till.clock.set(NOON + 95_000)
        assert (await till.tick_by_clock()).code == Code.CUT_DUE
        cut = await till.cut()
        assert (cut.code, cut.final) == (Code.CUT, LONGEST)
        assert await till.end(97) == (Code.OK, 95, 190_000, 0, 810_000)


async def test_the_daily_limit_bounds_ticks_by_day(store_url: str) -> None:
    midnight = NOON + 12 * 3_600_000
    async with open_till(store_url) as till:
        till.clock.set(midnight - 60_000)
        await till.open_office(10_000_000, daily_limit=200_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.answer()
        tick = await till.tick(50)
        assert (tick.granted_seconds, tick.final, tick.debited_micros) == (100, SPEND, 100_000)
        assert (await till.office()).day_spend_micros == 100_000
        till.clock.set(midnight)
        # A new day: what is held still counts, what was debited no longer.
        tick = await till.tick(60)
        assert (tick.granted_seconds, tick.final) == (120, 0)
        office = await till.office()
        assert (office.day_spend_micros, office.reserved_micros) == (20_000, 120_000)
        # A gateway that is behind does not bring the old day back.
        till.clock.set(midnight - 1)
        await till.tick(70)
        assert (await till.office()).day == office.day


async def test_the_day_is_that_of_the_offices_time_zone(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(10_000_000, time_zone="Pacific/Auckland")
        till.clock.set(NOON - 1)
        await till.message(1)
        day = (await till.office()).day
        # Noon in UTC is midnight in Auckland in June.
        till.clock.set(NOON)
        await till.message(1, "m2")
        assert (await till.office()).day == day + 1
        assert (await till.office()).day_spend_micros == 1


async def test_a_tick_raises_the_trigger_in_its_own_script(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(5_200_000, 1)
        await till.put_office(refill=True, generation=1)
        await till.authorize()
        await till.answer()
        assert await till.refill_state() == RefillState.ARMED
        await till.tick(50)
        assert await till.refill_state() == RefillState.PENDING
        assert (await till.kinds())[-2:] == ["tick", "refill"]


async def test_a_tick_of_a_free_call_is_only_heard(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize_free(max_duration=3_600)
        await till.answer()
        till.clock.move(50)
        assert await till.tick(50) == CallProgress(Code.OK, 3_600, 0, 0, 1_000_000)
        call = await till.call()
        assert (call.confirmed_seconds, call.heard_ms, call.held_micros) == (50, NOON + 50_000, 0)
        assert await till.kinds() == ["credit"]
        assert (await till.tick_by_clock()).code == Code.LAPSE_DUE


async def test_a_cut_call_is_granted_nothing_but_pays_for_what_it_used(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, 180_000, rate=BY_THE_SECOND)
        await till.tick(50)
        till.clock.move(90)
        assert (await till.cut()).code == Code.CUT
        await till.credit(50_000_000)
        assert await till.tick(80) == CallProgress(Code.ENDED, 90, FUNDS, 160_000, 50_000_000)
        call = await till.call()
        assert (call.state, call.held_micros, call.granted_seconds) == (CallState.CUT, 20_000, 90)
        assert (await till.answer()).code == Code.ENDED
        assert (await till.end(90)).debited_micros == 180_000


# Ticks of the gateway.


async def test_a_tick_of_the_gateway_debits_by_the_clock(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.move(30)
        await till.answer()
        till.clock.move(20)
        progress = CallProgress(Code.OK, 120, 0, 100_000, 760_000, heard_ms=NOON + 30_000, switch_id="sw1")
        assert await till.tick_by_clock() == progress
        call = await till.call()
        # The gateway's clock confirms nothing: only the switch does.
        assert (call.used_seconds, call.confirmed_seconds, call.heard_ms) == (50, 0, NOON + 30_000)
        assert await till.due() == NOON + 110_000


@pytest.mark.parametrize(("silent_ms", "debited"), [(44_999, 100_000), (45_000, 0)])
async def test_it_only_reserves_when_the_switch_was_silent(store_url: str, silent_ms: int, debited: int) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.set(NOON + 50_000 - silent_ms)
        await till.answer()
        till.clock.set(NOON + 50_000)
        tick = await till.tick_by_clock()
        assert (tick.granted_seconds, tick.debited_micros) == (120, debited)


@pytest.mark.parametrize(("heard_ms", "goes_on"), [(5_000, False), (5_001, True)])
async def test_a_switch_that_was_silent_too_long_gets_no_more_time_reserved(
    store_url: str, heard_ms: int, goes_on: bool
) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.set(NOON + heard_ms)
        await till.hear(5)
        till.clock.set(NOON + 50_000)
        assert (await till.tick_by_clock()).granted_seconds == 120
        till.clock.set(NOON + 110_000)
        before = await till.dump()
        tick = await till.tick_by_clock()
        assert (tick.code, tick.granted_seconds) == ((Code.OK, 180) if goes_on else (Code.LAPSE_DUE, 120))
        assert (await till.dump() == before) is not goes_on
        if not goes_on:
            # It lapses the grace past what it has, and is not looked at before.
            assert (await till.lapse()).code == Code.NOT_DUE
            assert await till.due() == NOON + 120_000 + LIFE.grace_ms
            till.clock.set(NOON + 120_000 + LIFE.grace_ms)
            assert (await till.lapse()).code == Code.LAPSED


async def test_the_last_grant_of_a_silent_switch_has_its_look_all_the_same(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, 230_000, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.move(50)
        assert (await till.tick_by_clock())[:3] == (Code.OK, 115, FUNDS)
        till.clock.move(65)
        assert (await till.tick_by_clock()).code == Code.CUT_DUE
        await till.credit(1_000_000)
        assert (await till.tick_by_clock())[:3] == (Code.OK, 175, 0)


async def test_a_tick_of_the_gateway_that_is_not_due_yet_changes_nothing(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.move(49.999)
        before = await till.dump()
        progress = CallProgress(Code.OK, 60, 0, 0, 880_000, heard_ms=NOON, switch_id="sw1")
        assert await till.tick_by_clock() == progress
        assert await till.dump() == before
        # Two gateways may both have read the entry that is due: it is ticked once.
        till.clock.move(0.001)
        first = await till.tick_by_clock()
        after = await till.dump()
        assert await till.tick_by_clock() == first
        assert await till.dump() == after


async def test_a_tick_of_the_gateway_that_comes_late_does_not_debit_beyond_the_grant(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=BY_THE_SECOND, by_gateway=True)
        till.clock.move(80)
        await till.answer()
        till.clock.move(20)
        tick = await till.tick_by_clock()
        assert (tick.granted_seconds, tick.debited_micros) == (120, 120_000)
        assert (await till.call()).used_seconds == 60


async def test_a_call_ticked_by_its_switch_is_not_ticked_by_the_gateway(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till)
        till.clock.move(3_600)
        before = await till.dump()
        assert (await till.tick_by_clock()).code == Code.LAPSE_DUE
        assert await till.dump() == before


@pytest.mark.parametrize("by_gateway", [False, True])
async def test_the_last_grant_is_looked_at_when_it_is_over(store_url: str, by_gateway: bool) -> None:
    async with open_till(store_url) as till:
        await live(till, 100_000, rate=BY_THE_SECOND, by_gateway=by_gateway)
        assert await till.due() == NOON + 50_000
        till.clock.set(NOON + 49_999)
        assert (await till.tick_by_clock())[:3] == (Code.OK, 50, FUNDS)
        till.clock.set(NOON + 50_000)
        before = await till.dump()
        assert (await till.tick_by_clock()).code == Code.CUT_DUE
        assert await till.dump() == before
        await till.credit(50_000)
        assert (await till.tick_by_clock())[:3] == (Code.OK, 75, FUNDS)
        assert await till.due() == NOON + 75_000


async def test_ringing_calls_are_not_ticked(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False, by_gateway=True)
        till.clock.move(179)
        assert (await till.tick_by_clock()).code == Code.LAPSE_DUE
        assert (await till.lapse()).code == Code.NOT_DUE


# Revival.


async def lapsed(till: Till, used: int, balance: int = 1_000_000, **request: Any) -> None:
    await live(till, balance, **request)
    if used:
        till.clock.set(NOON + used * 1000)
        await till.tick(used)
    assert (await till.lapse(forced=True)).code == Code.LAPSED


async def test_a_tick_revives_a_lapsed_call(store_url: str) -> None:
    async with open_till(store_url) as till:
        await lapsed(till, 50, rate=BY_THE_SECOND)
        assert await till.money() == (900_000, 0, 900_000)
        assert (await till.call()).granted_seconds == 50
        till.clock.move(60)
        assert await till.tick(110) == CallProgress(Code.OK, 170, 0, 220_000, 660_000)
        call = await till.call()
        assert (call.state, call.answered_ms, call.held_micros) == (CallState.ANSWERED, NOON, 120_000)
        assert (await till.office()).concurrent_calls == 1
        assert await till.call_expires_in_ms() == -1
        assert await till.due() == NOON + 170_000 + LIFE.grace_ms
        assert (await till.kinds())[-1] == "tick"


async def test_an_answer_revives_a_lapsed_call(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, answer=False, rate=BY_THE_SECOND)
        till.clock.move(180)
        assert (await till.lapse()).code == Code.LAPSED
        till.clock.move(5)
        assert await till.answer(answered_ms=NOON + 100_000) == CallProgress(Code.OK, 60, 0, 0, 880_000)
        call = await till.call()
        assert (call.state, call.answered_ms, call.heard_ms) == (CallState.ANSWERED, NOON + 100_000, NOON + 185_000)
        # It had not moved any money, and does not now.
        assert await till.kinds() == ["credit"]


async def test_an_answer_that_revives_reserves_a_tick_beyond_what_was_used(store_url: str) -> None:
    async with open_till(store_url) as till:
        await lapsed(till, 50, rate=BY_THE_SECOND)
        assert await till.answer() == CallProgress(Code.OK, 110, 0, 100_000, 780_000)


async def test_a_revival_without_funds_is_the_end_and_changes_nothing(store_url: str) -> None:
    async with open_till(store_url) as till:
        await lapsed(till, 50, 100_000, rate=BY_THE_SECOND)
        before = await till.dump()
        ended = CallProgress(Code.ENDED, 50, FUNDS, 100_000, 0)
        assert await till.tick(60) == ended
        assert await till.answer() == ended
        assert await till.dump() == before
        await till.credit(20_000)
        assert await till.tick(60) == CallProgress(Code.ENDED, 50, FUNDS, 100_000, 20_000)
        assert await till.tick(59) == CallProgress(Code.OK, 60, FUNDS, 118_000, 0)


async def test_a_revival_beyond_the_maximum_duration_is_the_end(store_url: str) -> None:
    async with open_till(store_url) as till:
        await lapsed(till, 50, rate=BY_THE_SECOND, max_duration=95)
        assert await till.tick(95) == CallProgress(Code.ENDED, 50, LONGEST, 100_000, 900_000)
        assert (await till.tick(94)).granted_seconds == 95


@pytest.mark.parametrize("free", [False, True])
async def test_a_call_that_was_cut_and_lapsed_is_not_revived(store_url: str, free: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await (till.authorize_free() if free else till.authorize())
        await till.answer()
        assert (await till.cut(forced=True)).code == Code.CUT
        await till.lapse(forced=True)
        before = await till.dump()
        for progress in (await till.tick(70), await till.answer()):
            assert (progress.code, progress.final) == (Code.ENDED, FinalReason.OPERATOR)
        assert await till.dump() == before


async def test_a_free_call_is_revived_without_funds(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.authorize_free(max_duration=3_600)
        await till.answer()
        await till.lapse(forced=True)
        assert (await till.tick(70))[:3] == (Code.OK, 3_600, 0)
        assert (await till.office()).concurrent_calls == 0


async def test_the_connect_fee_is_debited_with_the_first_tick(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=FEE_THEN_MINUTE_THEN_SECONDS)
        assert (await till.tick(0)).debited_micros == 0
        assert (await till.tick(1)).debited_micros == 300_000
        assert (await till.tick(61)).debited_micros == FEE_THEN_MINUTE_THEN_SECONDS.price_micros(61)


async def test_sixty_sixty_debits_whole_minutes(store_url: str) -> None:
    async with open_till(store_url) as till:
        await live(till, rate=SIXTY_SIXTY)
        for used, debited in ((1, 120_000), (60, 120_000), (61, 240_000)):
            assert (await till.tick(used)).debited_micros == debited
