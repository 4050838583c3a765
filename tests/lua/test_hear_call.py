"""hear_call.lua: a call that its switch lists as live (LiveCalls)."""

from typing import Any

import pytest

from gateway.domain.vocabulary import CallState, FinalReason
from gateway.store.balances import CallProgress, Lifetimes
from gateway.store.codes import Code
from tests.support.balances import BY_THE_SECOND, NOON, Till, open_till

LIFE = Lifetimes()
FUNDS = FinalReason.INSUFFICIENT_FUNDS


async def listed(till: Till, balance: int = 1_000_000, *, answer: bool = True, **request: Any) -> None:
    await till.open_office(balance)
    await till.authorize(rate=BY_THE_SECOND, **request)
    if answer:
        await till.answer()


async def test_a_listed_call_is_confirmed_and_moves_no_money(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        till.clock.move(40)
        assert await till.hear(38) == CallProgress(Code.OK, 60, 0, 0, 880_000)
        call = await till.call()
        assert (call.confirmed_seconds, call.used_seconds, call.heard_ms) == (38, 0, NOON + 40_000)
        assert await till.due() == NOON + 60_000 + LIFE.grace_ms
        assert await till.kinds() == ["credit"]
        # Confirmed seconds are the highest that were ever told.
        await till.hear(20)
        assert (await till.call()).confirmed_seconds == 38
        assert await till.lapse(forced=True) == (Code.LAPSED, 76_000, 924_000)


async def test_what_was_confirmed_beyond_the_grant_waits_for_the_end(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        till.clock.move(100)
        await till.hear(100)
        assert await till.lapse(forced=True) == (Code.LAPSED, 120_000, 880_000)
        assert (await till.call()).confirmed_seconds == 100
        assert (await till.end(100)).debited_micros == 200_000


async def test_hearing_again_changes_nothing(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        till.clock.move(40)
        first = await till.hear(38)
        before = await till.dump()
        assert await till.hear(38) == first
        assert await till.dump() == before


async def test_a_ringing_call_stays_ringing_until_it_has_used_something(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till, answer=False)
        till.clock.move(40)
        await till.hear(0)
        call = await till.call()
        assert (call.state, call.answered_ms, call.heard_ms) == (CallState.RINGING, 0, NOON + 40_000)
        # The set-up time-out goes on.
        assert await till.due() == NOON + LIFE.setup_ms
        await till.hear(15)
        call = await till.call()
        assert (call.state, call.answered_ms) == (CallState.ANSWERED, NOON + 25_000)


async def test_it_lets_the_gateway_debit_by_the_clock(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till, by_gateway=True)
        till.clock.move(30)
        await till.hear(30)
        till.clock.move(20)
        tick = await till.tick_by_clock()
        assert (tick.granted_seconds, tick.debited_micros) == (120, 100_000)


async def test_it_revives_a_lapsed_call(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        till.clock.move(200)
        assert (await till.lapse()).code == Code.LAPSED
        assert await till.hear(200) == CallProgress(Code.OK, 260, 0, 400_000, 480_000)
        call = await till.call()
        assert (call.state, call.used_seconds, call.confirmed_seconds) == (CallState.ANSWERED, 200, 200)
        assert await till.call_expires_in_ms() == -1
        assert (await till.office()).concurrent_calls == 1
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.amount, entry.more["debited"]) == ("revive", -398_000, b"400000")


@pytest.mark.parametrize("lapses", [False, True])
async def test_a_call_has_not_talked_while_the_stores_clock_was_set_forward(store_url: str, lapses: bool) -> None:
    async with open_till(store_url) as till:
        await listed(till, by_gateway=True)
        till.clock.move(20)
        await till.hear(20)
        till.clock.move(3_600)
        if lapses:
            assert (await till.lapse()).code == Code.LAPSED
        till.clock.move(15)
        assert (await till.hear(35)).code == Code.OK
        call = await till.call()
        assert (call.state, call.answered_ms) == (CallState.ANSWERED, NOON + 3_600_000)
        assert await till.due() == call.answered_ms + 1000 * call.granted_seconds - 10_000
        till.clock.set(await till.due() or 0)
        used = call.granted_seconds - 10
        await till.hear(used)
        assert (await till.tick_by_clock()).debited_micros == 2_000 * used


@pytest.mark.parametrize("late", [119, 120, 121])
async def test_words_that_are_late_leave_the_answer_where_it_was(store_url: str, late: int) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        till.clock.move(30 + late)
        await till.hear(30)
        # A tick and the grace, 60 s each, are no reason to doubt the clock.
        assert (await till.call()).answered_ms == (NOON if late <= 120 else NOON + late * 1000)
        till.clock.move(10)
        await till.hear(40 + late)
        assert (await till.call()).answered_ms == NOON


async def test_what_cannot_be_revived_is_to_be_hung_up(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till, 120_000)
        await till.tick(60)
        await till.lapse(forced=True)
        before = await till.dump()
        assert await till.hear(70) == CallProgress(Code.ENDED, 60, FUNDS, 120_000, 0)
        assert await till.dump() == before


async def test_a_cut_call_that_is_still_listed_is_to_be_hung_up(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till, 120_000)
        await till.tick(60)
        till.clock.move(60)
        await till.cut()
        till.clock.move(30)
        assert await till.hear(90) == CallProgress(Code.ENDED, 60, FUNDS, 120_000, 0)
        call = await till.call()
        assert (call.state, call.confirmed_seconds) == (CallState.CUT, 90)
        # It is alive, so the grace begins anew.
        assert (await till.cut()).code == Code.REPLAYED


@pytest.mark.parametrize("ended", [False, True])
async def test_unknown_and_ended_calls(store_url: str, ended: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        if ended:
            await till.authorize()
            await till.end(30)
        before = await till.dump()
        expected = CallProgress(Code.ENDED, 30, FinalReason.ENDED, 120_000, 880_000)
        assert await till.hear(5) == (expected if ended else CallProgress(Code.NOT_FOUND, 0, 0, 0, 0))
        assert await till.dump() == before


async def test_another_switchs_call_is_forbidden(store_url: str) -> None:
    async with open_till(store_url) as till:
        await listed(till)
        before = await till.dump()
        assert await till.hear(5, switch_id="sw2") == CallProgress(Code.FORBIDDEN, 0, 0, 0, 0)
        assert await till.dump() == before
