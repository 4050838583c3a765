"""The worked cases of the design, each row a test, on both engines.

Unless a row says otherwise the price is 120,000 micros a minute. In the comments g is granted, F is final.
"""

from typing import Any

import pytest

from gateway.domain.vocabulary import CallState, FinalReason, OfficeState, RefillState
from gateway.store.balances import CallGrant, MessageGrant
from gateway.store.codes import Code
from gateway.store.records import CallStub
from tests.support.balances import (
    BY_THE_SECOND,
    FEE_THEN_MINUTE_THEN_SECONDS,
    OFFICE,
    SIX_SIX,
    SIXTY_SIXTY,
    THIRTY_SIX,
    Till,
    open_till,
)

FUNDS = FinalReason.INSUFFICIENT_FUNDS

WHO_TICKS = pytest.mark.parametrize("by_gateway", [False, True], ids=["by the switch", "by the gateway"])


async def answered_call(till: Till, call_id: str = "c1", **request: Any) -> int:
    """Authorize and answer a call; returns what it was granted."""
    grant = await till.authorize(call_id, **request)
    assert grant.code == Code.FUNDED
    await till.answer(call_id)
    return grant.granted_seconds


async def ticked(till: Till, used: int, by_gateway: bool) -> tuple[int, int, int, int]:
    """Tick at `used` seconds after the answer; granted, final, debited, available."""
    call = await till.call()
    till.clock.set(call.answered_ms + used * 1000)
    if by_gateway:
        # LiveCalls came a moment ago, so that the gateway debits by the clock.
        assert await till.due() == till.clock.now_ms()
        progress = await till.tick_by_clock()
    else:
        progress = await till.tick(used)
    assert progress.code == Code.OK
    return progress.granted_seconds, progress.final, progress.debited_micros, progress.available_micros


@WHO_TICKS
async def test_sixty_sixty_with_a_balance_of_180_000(store_url: str, by_gateway: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        grant = await till.authorize(rate=SIXTY_SIXTY, by_gateway=by_gateway)
        assert grant == CallGrant(Code.FUNDED, 60, 0, 60_000)
        await till.answer()
        if by_gateway:
            till.clock.move(10)
            await till.answer()
        assert await ticked(till, 50, by_gateway) == (60, FUNDS, 120_000, 60_000)
        till.clock.move(10)
        assert await till.end(60) == (Code.OK, 60, 120_000, 0, 60_000)
        assert await till.money() == (60_000, 0, 60_000)


@WHO_TICKS
async def test_by_the_second_with_180_000(store_url: str, by_gateway: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        assert await answered_call(till, rate=BY_THE_SECOND, by_gateway=by_gateway) == 60
        if by_gateway:
            till.clock.move(10)
            await till.answer()
        assert await ticked(till, 50, by_gateway) == (90, FUNDS, 100_000, 0)
        assert await till.end(90) == (Code.OK, 90, 180_000, 0, 0)


@WHO_TICKS
async def test_six_six_at_60_000_a_minute_with_90_000(store_url: str, by_gateway: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(90_000)
        assert await answered_call(till, rate=SIX_SIX, by_gateway=by_gateway) == 60
        if by_gateway:
            till.clock.move(10)
            await till.answer()
        # 54 s are used: nine increments.
        assert await ticked(till, 50, by_gateway) == (90, FUNDS, 54_000, 0)
        assert await till.end(90) == (Code.OK, 90, 90_000, 0, 0)


async def test_two_calls_by_the_second_share_200_000(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(200_000)
        a = await till.authorize("a", BY_THE_SECOND)
        b = await till.authorize("b", BY_THE_SECOND)
        assert (a.granted_seconds, a.final, b.granted_seconds, b.final) == (60, 0, 40, FUNDS)
        a_tick = await till.tick(50, "a")
        b_tick = await till.tick(30, "b")
        assert (a_tick.granted_seconds, a_tick.final) == (60, FUNDS)
        assert (b_tick.granted_seconds, b_tick.final) == (40, FUNDS)
        assert (await till.end(55, "a")).debited_micros == 110_000
        b_tick = await till.tick(30, "b")
        assert (b_tick.granted_seconds, b_tick.final) == (45, FUNDS)


async def test_a_refill_2_s_before_the_cut(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(90_000)
        await answered_call(till, rate=SIX_SIX, by_gateway=True)
        till.clock.move(10)
        await till.answer()
        await ticked(till, 50, by_gateway=True)
        till.clock.move(38)
        assert await till.credit(50_000_000) == Code.OK
        till.clock.move(2)
        assert await till.due() == till.clock.now_ms()
        look = await till.tick_by_clock()
        assert (look.code, look.granted_seconds, look.final) == (Code.OK, 150, 0)
        assert (await till.end(95)).debited_micros == 96_000


@pytest.mark.parametrize("lapsed", [False, True], ids=["in time", "after it lapsed"])
async def test_answer_lost_sixty_sixty_end_61(store_url: str, lapsed: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        till.clock.move(61)
        if lapsed:
            till.clock.move(119)
            assert (await till.lapse()).code == Code.LAPSED
            assert await till.money() == (1_000_000, 0, 1_000_000)
        assert await till.end(61) == (Code.OK, 61, 240_000, 0, 760_000)
        assert await till.money() == (760_000, 0, 760_000)


async def test_tick_50_three_times_by_way_of_two_gateways(store_url: str) -> None:
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        await one.open_office(1_000_000)
        await answered_call(one)
        one.clock.move(50)
        for gateway in (one, other, one):
            tick = await gateway.tick(50)
            assert (tick.granted_seconds, tick.debited_micros) == (120, 120_000)
        assert (await one.kinds()).count("tick") == 1


async def test_funded_90_s_by_the_second_end_100(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        await answered_call(till, rate=BY_THE_SECOND)
        await till.tick(50)
        till.clock.move(100)
        assert await till.end(100) == (Code.OK, 100, 180_000, 20_000, 0)
        assert await till.money() == (0, 0, 0)


async def test_funded_90_s_by_the_second_end_91_after_the_cut_bills_90(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        await answered_call(till, rate=BY_THE_SECOND)
        await till.tick(50)
        till.clock.move(90)
        assert (await till.tick_by_clock()).code == Code.CUT_DUE
        assert (await till.cut()).code == Code.CUT
        till.clock.move(1)
        assert await till.end(91) == (Code.OK, 90, 180_000, 0, 0)


@pytest.mark.parametrize(("duration", "debited"), [(59, 300_000), (0, 0)])
async def test_connect_fee_then_a_minute_then_seconds_with_310_000(store_url: str, duration: int, debited: int) -> None:
    async with open_till(store_url) as till:
        await till.open_office(310_000)
        assert await answered_call(till, rate=FEE_THEN_MINUTE_THEN_SECONDS) == 60
        assert (await till.call()).held_micros == 300_000
        till.clock.move(50)
        tick = await till.tick(50)
        assert (tick.granted_seconds, tick.final, tick.debited_micros) == (72, FUNDS, 300_000)
        assert (await till.end(duration)).debited_micros == debited
        assert await till.money() == (310_000 - debited, 0, 310_000 - debited)


async def test_minimum_30_s_with_funds_for_20(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(40_000)
        assert await till.authorize(rate=THIRTY_SIX) == CallGrant(Code.INSUFFICIENT_FUNDS, 0, 0, 40_000)
        assert await till.call_expires_in_ms() == -2


async def test_minimum_30_s_with_funds_for_exactly_30(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(60_000)
        assert await till.authorize(rate=THIRTY_SIX) == CallGrant(Code.FUNDED, 30, FUNDS, 0)


async def test_balance_0_and_a_credit_limit_of_120_000(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0, credit_limit=120_000)
        # Held in full, the limit cannot go down either.
        assert await till.authorize() == CallGrant(Code.FUNDED, 60, 0, 0)
        assert (await till.put_office(credit_limit=119_999)).code == Code.NOT_COVERED
        await till.answer()
        assert (await till.end(60)).available_micros == 0
        assert await till.money() == (-120_000, 0, 0)
        assert await till.put_office(credit_limit=119_999) == (Code.NOT_COVERED, 0, 120_000)
        assert (await till.office()).settings.credit_limit_micros == 120_000


async def test_a_free_call_with_the_concurrency_limit_reached(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, max_calls=1)
        assert (await till.authorize("paid")).code == Code.FUNDED
        assert (await till.authorize("another")).code == Code.TOO_MANY_CALLS
        assert await till.authorize_free("free") == CallGrant(Code.FREE, 14_400, 0, 880_000)
        assert (await till.office()).concurrent_calls == 1


async def test_a_free_call_of_a_suspended_office(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, state=OfficeState.SUSPENDED)
        assert (await till.authorize_free()).code == Code.OFFICE_SUSPENDED


async def test_911_while_the_office_is_suspended(store_url: str) -> None:
    # With the store down or load shed the store is not asked: that is the authorizer's test.
    async with open_till(store_url) as till:
        await till.open_office(0, state=OfficeState.SUSPENDED)
        assert await till.authorize_emergency() == CallGrant(Code.EMERGENCY, 86_400, 0, 0)


async def test_authorize_after_the_end_of_the_same_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.end(0)
        assert await till.authorize() == CallGrant(Code.CALL_ENDED, 0, 0, 1_000_000)


async def test_a_message_retried_after_its_refund(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.message(30_000)
        await till.refund()
        assert await till.message(30_000) == MessageGrant(Code.MESSAGE_REFUNDED, 0, 1_000_000)
        assert await till.money() == (1_000_000, 0, 1_000_000)


async def test_balance_5_02_refill_on_and_an_sms_of_0_03(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0, generation=1)
        await till.credit(5_020_000, 1)
        await till.put_office(refill=True, generation=2)
        assert await till.refill_state() == RefillState.ARMED
        await till.message(30_000, "m1")
        triggers = [entry for entry in await till.outbox() if entry.kind == "refill"]
        assert [(entry.id, entry.more["available"]) for entry in triggers] == [(f"{OFFICE}/1", b"4990000")]
        await till.message(30_000, "m2")
        assert (await till.kinds()).count("refill") == 1
        assert await till.credit(50_000_000, 2, refill=1) == Code.OK
        assert await till.refill_state() == RefillState.ARMED
        assert (await till.kinds()).count("refill") == 1
        assert await till.money() == (54_960_000, 0, 54_960_000)


async def test_a_cut_call_is_kept_until_its_end_comes(store_url: str) -> None:
    """Not a row: what the rows about the cut rest on."""
    async with open_till(store_url) as till:
        await till.open_office(180_000)
        await answered_call(till, rate=BY_THE_SECOND)
        await till.tick(50)
        till.clock.move(90)
        await till.cut()
        assert (await till.call()).state == CallState.CUT
        assert await till.due() == till.clock.now_ms() + 5_000
        await till.end(90)
        assert await till.stub() == CallStub(True, 90, 90, 180_000, 0)
