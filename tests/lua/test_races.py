"""Concurrency with an exact expectation: whatever the order, the sums are those of one queue."""

import asyncio
import random
from collections import Counter

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import RefillState
from gateway.store.codes import Code
from tests.support.balances import BY_THE_SECOND, OFFICE, SIXTY_SIXTY, open_till

ODD = Rate(0, (Slot(0, 33_333, 60, 1),))


async def test_credit_for_37_of_100_calls_grants_exactly_37(store_url: str) -> None:
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        await one.open_office(37 * 120_000 + 119_999)
        grants = await asyncio.gather(
            *((one if number % 2 else other).authorize(f"c{number}") for number in range(100))
        )
        assert Counter(grant.code for grant in grants) == {Code.FUNDED: 37, Code.INSUFFICIENT_FUNDS: 63}
        assert await one.money() == (37 * 120_000 + 119_999, 37 * 120_000, 119_999)
        assert (await one.office()).concurrent_calls == 37


async def test_they_sum_to_the_micro(store_url: str) -> None:
    """The same with ticks and ends of odd durations, sent all at once."""
    chance = random.Random(37)
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        price = ODD.price_micros(60)
        await one.open_office(37 * price)
        grants = await asyncio.gather(*(one.authorize(f"c{number}", ODD) for number in range(100)))
        granted = [f"c{number}" for number, grant in enumerate(grants) if grant.code == Code.FUNDED]
        assert len(granted) == 37
        durations = {call_id: chance.randint(0, 60) for call_id in granted}
        operations = [one.answer(call_id) for call_id in granted]
        operations += [other.tick(durations[call_id] // 2, call_id) for call_id in granted]
        await asyncio.gather(*operations)
        await asyncio.gather(*(other.end(seconds, call_id) for call_id, seconds in durations.items()))
        spent = sum(ODD.price_micros(seconds) for seconds in durations.values())
        assert await one.money() == (37 * price - spent, 0, 37 * price - spent)
        entries = [entry for entry in await one.outbox() if entry.kind != "credit"]
        assert sum(entry.amount for entry in entries) == -spent
        # Each entry's balance follows from the one before.
        balance = 37 * price
        for entry in entries:
            balance += entry.amount
            assert entry.balance == balance


async def test_1000_calls_race_for_the_last_dollar(store_url: str) -> None:
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        await one.open_office(1_000_000)
        rate = Rate(0, (Slot(0, 7_000, 60, 1),))
        grants = await asyncio.gather(
            *((one if number % 2 else other).authorize(f"c{number}", rate) for number in range(1_000))
        )
        # 142 calls of 7,000 for 60 s, one of 6,000 for its 51 s (the price of which is 5,950), and of what is left,
        # 50, nobody can buy a second for 117.
        granted = Counter(grant.granted_seconds for grant in grants if grant.code == Code.FUNDED)
        assert granted == {60: 142, 51: 1}
        assert await one.money() == (1_000_000, 142 * 7_000 + 5_950, 50)
        calls = [f"c{number}" for number, grant in enumerate(grants) if grant.code == Code.FUNDED]
        await asyncio.gather(*(one.tick(60, call_id) for call_id in calls))
        await asyncio.gather(*(one.end(60, call_id) for call_id in calls))
        # The one with 51 s used 60: its missing 1,050 are taken from what is left, and the rest is written off.
        assert await one.money() == (0, 0, 0)


async def test_100_messages_race_for_the_funds_of_37(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(37 * 30_000 + 29_999)
        grants = await asyncio.gather(*(till.message(30_000, f"m{number}") for number in range(100)))
        assert Counter(grant.code for grant in grants) == {Code.FUNDED: 37, Code.INSUFFICIENT_FUNDS: 63}
        assert await till.money() == (29_999, 0, 29_999)
        kinds = Counter(await till.kinds())
        assert (kinds["message"], kinds["blocked"]) == (37, 63)


async def test_one_message_sent_100_times_is_debited_once(store_url: str) -> None:
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        await one.open_office(1_000_000)
        grants = await asyncio.gather(*((one, other)[number % 2].message(30_000) for number in range(100)))
        assert Counter(grant.code for grant in grants) == {Code.FUNDED: 1, Code.REPLAYED: 99}
        refunds = await asyncio.gather(*((one, other)[number % 2].refund() for number in range(100)))
        assert Counter(refund.code for refund in refunds) == {Code.OK: 1, Code.REPLAYED: 99}
        assert await one.money() == (1_000_000, 0, 1_000_000)


async def test_one_call_authorized_ticked_and_ended_100_times_is_one_call(store_url: str) -> None:
    async with open_till(store_url) as one, open_till(store_url, flush=False, clock=one.clock) as other:
        await one.open_office(10_000_000)
        both = (one, other)
        grants = await asyncio.gather(*(both[number % 2].authorize() for number in range(100)))
        assert Counter(grant.code for grant in grants) == {Code.FUNDED: 1, Code.REPLAYED: 99}
        await asyncio.gather(*(both[number % 2].tick(number) for number in range(100)))
        assert (await one.call()).debited_micros == SIXTY_SIXTY.price_micros(99)
        ends = await asyncio.gather(*(both[number % 2].end(99) for number in range(100)))
        assert Counter(end.code for end in ends) == {Code.OK: 1, Code.REPLAYED: 99}
        assert await one.money() == (9_760_000, 0, 9_760_000)


async def test_the_concurrency_limit_holds_in_a_race(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(10**9, max_calls=5)
        grants = await asyncio.gather(*(till.authorize(f"c{number}") for number in range(100)))
        assert Counter(grant.code for grant in grants) == {Code.FUNDED: 5, Code.TOO_MANY_CALLS: 95}


async def test_one_dip_of_100_racing_operations_makes_one_trigger_and_one_claim_an_attempt(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office()
        await till.credit(5_000_000, 1)
        await till.put_office(refill=True, generation=1)
        await asyncio.gather(*(till.message(1, f"m{number}") for number in range(100)))
        assert (await till.kinds()).count("refill") == 1
        credited = await asyncio.gather(*(till.credit(50_000_000, 2, refill=1) for _ in range(10)))
        assert Counter(credited) == {Code.OK: 1, Code.REPLAYED: 9}
        assert await till.refill_state() == RefillState.ARMED
        assert (await till.money())[0] == 54_999_900


async def test_credits_with_one_number_race_and_one_wins(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office()
        results = await asyncio.gather(*(till.balances.apply_credit(OFFICE, 1, amount) for amount in range(1, 51)))
        (won,) = [result for result in results if result.code == Code.OK]
        assert {result.moved_micros for result in results} == {won.moved_micros}
        assert (await till.money())[0] == won.moved_micros


async def test_the_last_funds_are_shared_by_ticks_and_authorizations(store_url: str) -> None:
    """Ticks of live calls and new calls race; nothing is granted twice and nothing is left that someone wanted."""
    async with open_till(store_url) as till:
        await till.open_office(10 * 120_000 + 600_000)
        await asyncio.gather(*(till.authorize(f"old{number}", BY_THE_SECOND) for number in range(10)))
        await asyncio.gather(
            *(till.tick(50, f"old{number}") for number in range(10)),
            *(till.authorize(f"new{number}", BY_THE_SECOND) for number in range(10)),
        )
        balance, reserved, available = await till.money()
        assert available == 0
        assert balance == 10 * 120_000 + 600_000 - 10 * 100_000
        calls = [await till.balances.read_call(OFFICE, f"{age}{n}") for age in ("old", "new") for n in range(10)]
        assert reserved == sum(getattr(call, "held_micros", 0) for call in calls)
