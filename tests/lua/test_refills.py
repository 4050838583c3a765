"""claim_refill.lua, fail_refill.lua, judge_refill.lua, and the states that a refill goes through."""

import asyncio
from typing import Any

import pytest

from gateway.domain.vocabulary import RefillState
from gateway.store.balances import RefillClaim, RefillFailure
from gateway.store.codes import Code
from gateway.store.keys import REFILLS_CHANNEL, office_keys
from tests.support.balances import NOON, OFFICE, Till, open_till
from tests.support.servers import StoreServer
from tests.support.store_keys import ask_owner

OFF, ARMED, PENDING, WAITING = RefillState.OFF, RefillState.ARMED, RefillState.PENDING, RefillState.WAITING


async def armed(till: Till, balance: int = 5_000_000, **settings: Any) -> None:
    """An office with its refill on, at its threshold unless told otherwise."""
    await till.open_office()
    if balance:
        await till.credit(balance, 1)
    await till.put_office(refill=True, generation=1, **settings)


async def pending(till: Till) -> None:
    await armed(till)
    await till.message(1)
    assert await till.refill_state() == PENDING


async def triggers(till: Till) -> list[str]:
    return [entry.id for entry in await till.outbox() if entry.kind == "refill"]


@pytest.mark.parametrize(("balance", "state"), [(5_000_000, ARMED), (4_999_999, PENDING), (0, PENDING)])
async def test_setting_the_refill_on_is_judged_at_once(store_url: str, balance: int, state: RefillState) -> None:
    async with open_till(store_url) as till:
        await armed(till, balance)
        assert await till.refill_state() == state
        assert await triggers(till) == ([f"{OFFICE}/1"] if state == PENDING else [])


async def test_one_dip_makes_one_trigger_however_many_calls_run(store_url: str) -> None:
    async with open_till(store_url) as till:
        await armed(till, 5_000_000)
        for number in range(20):
            await till.authorize(f"c{number}")
        assert await triggers(till) == [f"{OFFICE}/1"]


async def test_the_trigger_is_published_in_the_same_breath(store_server: StoreServer) -> None:
    async with open_till(store_server.url) as till:
        await armed(till)
        with store_server.client() as client, client.pubsub() as watcher:
            watcher.subscribe(REFILLS_CHANNEL)
            assert watcher.get_message(timeout=5)["type"] == "subscribe"
            # In a cluster what was published before, by the office's server, may come yet: it has come when this comes.
            await ask_owner(till.connection, office_keys(OFFICE).office, "PUBLISH", REFILLS_CHANNEL, "from here on")
            while True:
                message = await asyncio.to_thread(watcher.get_message, timeout=5)
                assert message is not None
                if message["data"] == b"from here on":
                    break
            await till.message(1)
            message = await asyncio.to_thread(watcher.get_message, timeout=5)
        assert message is not None
        assert message["data"] == f"{OFFICE} 1 50000000 5000000 4999999 {NOON}".encode()


async def test_a_claim_then_the_credit(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        till.clock.move(1)
        assert await till.balances.claim_refill(OFFICE, 1) == RefillClaim(Code.OK, 50_000_000)
        assert await till.shard_clock() == NOON + 1_000
        assert await till.credit(50_000_000, 2, refill=1) == Code.OK
        office = await till.office()
        assert (office.refill_state, office.refill_number) == (ARMED, 1)
        assert (await till.outbox())[-1].more == {"refill": b"1"}
        # The next dip is the next refill.
        await till.message(50_000_000, "m2")
        assert await triggers(till) == [f"{OFFICE}/1", f"{OFFICE}/2"]


@pytest.mark.parametrize("number", [0, 2])
async def test_only_the_refill_asked_for_can_be_claimed_failed_or_credited(store_url: str, number: int) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        before = await till.dump()
        assert await till.balances.claim_refill(OFFICE, number) == RefillClaim(Code.NOT_PENDING, 0)
        failed = await till.balances.fail_refill(OFFICE, number, 1, NOON)
        assert failed == RefillFailure(Code.NOT_PENDING, PENDING, 0)
        if number:
            assert await till.credit(50_000_000, 2, refill=number) == Code.NOT_PENDING
        assert await till.dump() == before


async def test_an_unknown_office_has_no_refill(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert (await till.balances.claim_refill(OFFICE, 1)).code == Code.UNKNOWN_OFFICE
        assert (await till.balances.fail_refill(OFFICE, 1, 1, NOON)).code == Code.UNKNOWN_OFFICE
        assert not await till.balances.judge_refill(OFFICE)
        assert await till.dump() == {}


async def test_a_claim_that_is_no_longer_needed(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.credit(1, 2)
        assert await till.balances.claim_refill(OFFICE, 1) == RefillClaim(Code.NOT_NEEDED, 0)
        assert await till.refill_state() == ARMED
        # Nothing was charged, so the next dip asks for the same refill.
        await till.message(1, "m2")
        assert await triggers(till) == [f"{OFFICE}/1", f"{OFFICE}/1"]


async def test_a_failed_refill_waits_and_asks_again_with_the_same_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.balances.claim_refill(OFFICE, 1)
        until = NOON + 60_000
        assert await till.balances.fail_refill(OFFICE, 1, 1, until) == RefillFailure(Code.OK, WAITING, 1)
        # A repeated report changes nothing.
        before = await till.dump()
        again = await till.balances.fail_refill(OFFICE, 1, 1, until)
        assert again == RefillFailure(Code.REPLAYED, WAITING, 1)
        assert (await till.balances.claim_refill(OFFICE, 1)).code == Code.NOT_PENDING
        till.clock.set(until - 1)
        assert not await till.balances.judge_refill(OFFICE)
        assert await till.dump() == before
        till.clock.set(until)
        assert await till.balances.judge_refill(OFFICE)
        assert await triggers(till) == [f"{OFFICE}/1", f"{OFFICE}/1"]
        # A report that comes late does not count against the attempt that is under way now.
        late = await till.balances.fail_refill(OFFICE, 1, 1, until)
        assert late == RefillFailure(Code.REPLAYED, PENDING, 1)
        assert await till.balances.claim_refill(OFFICE, 1) == RefillClaim(Code.OK, 50_000_000)
        assert await till.balances.fail_refill(OFFICE, 1, 2, until) == RefillFailure(Code.OK, WAITING, 2)


async def test_while_it_waits_no_operation_triggers_and_afterwards_any_does(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.balances.fail_refill(OFFICE, 1, 1, NOON + 60_000)
        till.clock.set(NOON + 59_999)
        await till.message(1, "m2")
        assert await till.refill_state() == WAITING
        till.clock.set(NOON + 60_000)
        await till.message(1, "m3")
        assert await till.refill_state() == PENDING


async def test_the_third_failure_in_a_row_turns_it_off(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        for failures in (1, 2, 3):
            await till.balances.claim_refill(OFFICE, 1)
            failed = await till.balances.fail_refill(OFFICE, 1, failures, till.clock.now_ms())
            assert failed == RefillFailure(Code.OK, OFF if failures == 3 else WAITING, failures)
            assert await till.balances.judge_refill(OFFICE) == (failures < 3)
        await till.message(1, "m2")
        assert await till.refill_state() == OFF
        # Set on again by an admin it begins anew, with the same refill; its attempts are counted on.
        await till.put_office(refill=True, generation=2)
        office = await till.office()
        assert (office.refill_state, office.refill_failures) == (PENDING, 0)
        assert (await till.balances.fail_refill(OFFICE, 1, 3, NOON)).code == Code.REPLAYED
        assert await till.balances.fail_refill(OFFICE, 1, 4, NOON) == RefillFailure(Code.OK, WAITING, 1)


async def test_a_success_forgets_the_failures(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        for attempt in (1, 2):
            await till.balances.claim_refill(OFFICE, 1)
            await till.balances.fail_refill(OFFICE, 1, attempt, NOON)
            await till.balances.judge_refill(OFFICE)
        await till.credit(50_000_000, 2, refill=1)
        office = await till.office()
        assert (office.refill_state, office.refill_failures, office.refill_failed_attempt) == (ARMED, 0, 0)


async def test_the_daily_cap_waits_without_counting_as_a_failure(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        for _ in range(5):
            failed = await till.balances.fail_refill(OFFICE, 1, 0, NOON)
            assert failed == RefillFailure(Code.OK, WAITING, 0)
            assert await till.balances.judge_refill(OFFICE)


async def test_waiting_ends_armed_when_the_funds_have_come_otherwise(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.balances.fail_refill(OFFICE, 1, 1, NOON + 60_000)
        await till.credit(10_000_000, 2)
        assert not await till.balances.judge_refill(OFFICE)
        assert await till.refill_state() == WAITING
        till.clock.move(60)
        assert not await till.balances.judge_refill(OFFICE)
        assert await till.refill_state() == ARMED


async def test_setting_it_on_again_ends_the_waiting(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.balances.fail_refill(OFFICE, 1, 1, NOON + 86_400_000)
        await till.put_office(refill=True, generation=2)
        office = await till.office()
        assert (office.refill_state, office.refill_failures, office.refill_until_ms) == (PENDING, 0, 0)


async def test_a_refill_that_a_lack_of_funds_asked_for_is_needed_until_they_suffice(store_url: str) -> None:
    async with open_till(store_url) as till:
        await armed(till)
        # 5.00 is available, the threshold is 5.00, and the message costs 7.00.
        assert (await till.message(7_000_000, "m1")).code == Code.INSUFFICIENT_FUNDS
        assert await till.refill_state() == PENDING
        assert (await till.office()).refill_level_micros == 7_000_000
        assert (await till.balances.claim_refill(OFFICE, 1)).code == Code.OK
        await till.credit(1_999_999, 2)
        assert (await till.balances.claim_refill(OFFICE, 1)).code == Code.OK
        await till.credit(1, 3)
        assert (await till.balances.claim_refill(OFFICE, 1)).code == Code.NOT_NEEDED
        assert await till.refill_state() == ARMED


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_credit_from_outside_closes_the_refill(store_url: str, waiting: bool) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        if waiting:
            await till.balances.fail_refill(OFFICE, 1, 1, NOON + 60_000)
        await till.message(100_000, "m2")
        assert await till.credit(1_000, 2, refill=1) == Code.OK
        # Too little: it is judged at once, and is the next refill.
        assert await till.refill_state() == PENDING
        assert await triggers(till) == [f"{OFFICE}/1", f"{OFFICE}/2"]


async def test_a_refill_charged_while_it_was_set_off_is_credited_and_stays_off(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.balances.claim_refill(OFFICE, 1)
        await till.put_office(refill=False, generation=2)
        assert await till.refill_state() == OFF
        assert await till.credit(50_000_000, 2, refill=1) == Code.OK
        office = await till.office()
        assert (office.refill_state, office.refill_number) == (OFF, 1)


async def test_the_state_is_taken_over_only_with_a_newer_generation(store_url: str) -> None:
    async with open_till(store_url) as till:
        await pending(till)
        await till.put_office(refill=False, generation=1)
        assert await till.refill_state() == PENDING
        await till.put_office(refill=True, generation=2)
        assert await till.refill_state() == PENDING
        await till.put_office(refill=False, generation=3)
        assert await till.refill_state() == OFF
        await till.put_office(refill=True, generation=3)
        assert await till.refill_state() == OFF
        await till.put_office(refill=True, generation=4)
        assert await till.refill_state() == PENDING


async def test_a_higher_threshold_is_judged_at_once(store_url: str) -> None:
    async with open_till(store_url) as till:
        await armed(till)
        await till.put_office(refill=True, generation=1, threshold=5_000_001)
        assert await till.refill_state() == PENDING


async def test_judging_an_armed_office_that_dips(store_url: str) -> None:
    async with open_till(store_url) as till:
        await armed(till)
        before = await till.dump()
        assert not await till.balances.judge_refill(OFFICE)
        assert await till.dump() == before
