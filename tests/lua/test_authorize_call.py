"""authorize_call.lua: the decision, and what is in the store afterwards."""

from typing import Any

import pytest

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import CallState, FinalReason, OfficeState, Reason, RefillState
from gateway.store.balances import CallGrant, Lifetimes
from gateway.store.codes import Code
from gateway.store.records import CallRecord, OfficeRecord, unpack_call, unpack_origin
from gateway.v1.records_pb2 import Details
from tests.support.balances import (
    BY_THE_SECOND,
    FEE_THEN_MINUTE_THEN_SECONDS,
    NOON,
    OFFICE,
    SIXTY_SIXTY,
    ManualClock,
    Till,
    fingerprint,
    open_till,
)

FUNDS, SPEND, LONGEST = FinalReason.INSUFFICIENT_FUNDS, FinalReason.SPEND_LIMIT, FinalReason.MAX_DURATION


async def test_a_grant_and_what_it_stores(store_url: str) -> None:
    details = Details(called_number="+18765550100", user_id="u1", category=3)
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        grant = await till.authorize(by_gateway=True, details=details)
        assert grant == CallGrant(Code.FUNDED, 60, 0, 880_000)
        assert await till.call() == CallRecord(
            state=CallState.RINGING,
            reason=Reason.FUNDED,
            final=None,
            ticked_by_gateway=True,
            fingerprint=fingerprint(1),
            authorized_ms=NOON,
            answered_ms=0,
            heard_ms=NOON,
            granted_seconds=60,
            used_seconds=0,
            confirmed_seconds=0,
            max_duration_seconds=14_400,
            tick_seconds=60,
            debited_micros=0,
            held_micros=120_000,
            switch_id="sw1",
            rate=SIXTY_SIXTY,
            details=details,
        )
        office = await till.office()
        assert (office.balance_micros, office.reserved_micros, office.concurrent_calls) == (1_000_000, 120_000, 1)
        assert await till.call_expires_in_ms() == -1
        assert await till.due() == NOON + Lifetimes().setup_ms
        # Nothing was moved, so nothing is journaled beyond the credit of the set-up.
        assert await till.kinds() == ["credit"]
        assert await till.shard_clock() == NOON


async def test_a_replay_gives_the_call_as_it_is_now(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.answer()
        await till.tick(50)
        # Neither another switch nor another version of the same request changes anything.
        before = await till.dump()
        grant = await till.authorize(switch_id="sw2", by_gateway=True)
        assert grant[:4] == (Code.REPLAYED, 120, 0, 760_000)
        assert grant.record is not None
        call = unpack_call(grant.record)
        assert isinstance(call, CallRecord)
        assert call == await till.call()
        # What the journal reads of it, without making a rate, is the same.
        origin = unpack_origin(grant.record)
        assert origin[:3] == (call.reason, call.fingerprint, call.switch_id)
        assert (Rate.unpack(origin.rate, call.tick_seconds), origin.details) == (call.rate, call.details)
        assert await till.dump() == before


async def test_a_replay_of_a_suspended_office_is_a_replay(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.put_office(state=OfficeState.SUSPENDED)
        assert (await till.authorize()).code == Code.REPLAYED


async def test_another_request_with_the_id_of_a_live_call(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(content=1)
        before = await till.dump()
        assert await till.authorize(content=2) == CallGrant(Code.ID_REUSED, 0, 0, 0)
        assert await till.dump() == before


async def test_unknown_office(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.authorize() == CallGrant(Code.UNKNOWN_OFFICE, 0, 0, 0)
        assert await till.dump() == {}


@pytest.mark.parametrize("version", [1, 3])
async def test_an_office_cached_in_another_version(store_url: str, version: int) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.put_office(credit_limit=5)
        before = await till.dump()
        grant = await till.authorize(version=version)
        assert grant[:4] == (Code.OFFICE_CHANGED, 0, 0, 0)
        assert grant.record is not None
        assert OfficeRecord.unpack(grant.record) == await till.office()
        assert await till.dump() == before


@pytest.mark.parametrize(
    ("settings", "request_of", "code"),
    [
        ({"state": OfficeState.SUSPENDED}, {}, Code.OFFICE_SUSPENDED),
        ({"state": OfficeState.SUSPENDED}, {"verdict": Code.NO_RATE, "rate": None}, Code.OFFICE_SUSPENDED),
        ({"state": OfficeState.SUSPENDED}, {"verdict": Code.INVALID_NUMBER, "rate": None}, Code.INVALID_NUMBER),
        ({}, {"verdict": Code.NO_RATE, "rate": None}, Code.NO_RATE),
        ({}, {"verdict": Code.DESTINATION_BLOCKED, "rate": None}, Code.DESTINATION_BLOCKED),
        ({"max_price": 119_999}, {}, Code.PRICE_LIMIT),
        ({"max_price": 120_000}, {}, Code.FUNDED),
        ({"max_price": 1, "max_calls": 1, "daily_limit": 1}, {}, Code.PRICE_LIMIT),
        ({"daily_limit": 119_999}, {}, Code.SPEND_LIMIT),
        ({"daily_limit": 120_000}, {}, Code.FUNDED),
        ({"daily_limit": 1}, {"rate": Rate(10**9, SIXTY_SIXTY.slots)}, Code.SPEND_LIMIT),
        ({}, {"rate": Rate(10**6 - 120_000 + 1, SIXTY_SIXTY.slots)}, Code.INSUFFICIENT_FUNDS),
        ({}, {"rate": Rate(10**6 - 120_000, SIXTY_SIXTY.slots)}, Code.FUNDED),
    ],
)
async def test_the_first_reason_that_applies(
    store_url: str, settings: dict[str, Any], request_of: dict[str, Any], code: Code
) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, **settings)
        grant = await till.authorize(details=Details(called_number="+442079460958"), **request_of)
        assert grant.code == code
        if code != Code.FUNDED:
            assert grant == CallGrant(code, 0, 0, 1_000_000)
            assert await till.money() == (1_000_000, 0, 1_000_000)
            assert await till.balances.read_call(OFFICE, "c1") is None
            denied = (await till.outbox())[-1]
            assert (denied.kind, denied.id, denied.amount, denied.balance) == ("denied", "c1", 0, 1_000_000)
            assert denied.more == {
                "reason": str(int(code)).encode(),
                "details": Details(called_number="+442079460958").SerializeToString(),
                "unrecorded_before": b"0",
            }


async def test_beyond_100_a_minute_denials_are_counted(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        for number in range(103):
            assert (await till.authorize(f"c{number}")).code == Code.INSUFFICIENT_FUNDS
        assert (await till.kinds()).count("denied") == 100
        office = await till.office()
        assert (office.denied_count, office.denied_dropped) == (100, 3)
        # The count rides on the next one, in the next minute; messages are counted for themselves.
        assert (await till.message(1)).code == Code.INSUFFICIENT_FUNDS
        assert (await till.kinds()).count("blocked") == 1
        till.clock.move(60)
        await till.authorize("next")
        await till.authorize("after")
        last, after = (await till.outbox())[-2:]
        assert (last.more["unrecorded_before"], after.more["unrecorded_before"]) == (b"3", b"0")


async def test_a_number_that_is_none_is_not_about_the_call_that_has_the_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        denied = await till.authorize(rate=None, verdict=Code.INVALID_NUMBER, content=2)
        assert denied == CallGrant(Code.INVALID_NUMBER, 0, 0, 880_000)
        assert (await till.call()).held_micros == 120_000


async def test_too_many_calls_stand_before_spend_and_funds(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(120_000, max_calls=1, daily_limit=120_000)
        await till.authorize("c1")
        assert (await till.authorize("c2")).code == Code.TOO_MANY_CALLS
        await till.end(0, "c1")
        assert (await till.authorize("c2")).code == Code.FUNDED


async def test_a_denial_is_not_kept(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        assert (await till.authorize()).code == Code.INSUFFICIENT_FUNDS
        assert (await till.credit(120_000, 1)) == Code.OK
        assert (await till.authorize()).code == Code.FUNDED


@pytest.mark.parametrize(
    ("rate", "requested", "max_duration", "granted", "final"),
    [
        (BY_THE_SECOND, 0, 14_400, 60, 0),
        (BY_THE_SECOND, 90, 14_400, 90, 0),
        (BY_THE_SECOND, 86_400, 14_400, 500, FUNDS),
        (BY_THE_SECOND, 90, 75, 75, LONGEST),
        (BY_THE_SECOND, 90, 90, 90, LONGEST),
        (SIXTY_SIXTY, 61, 14_400, 120, 0),
        # The maximum duration is no whole increment: its price is that of the increment begun.
        (SIXTY_SIXTY, 61, 95, 95, LONGEST),
        (SIXTY_SIXTY, 86_400, 14_400, 480, FUNDS),
        (SIXTY_SIXTY, 86_400, 500, 480, FUNDS),
        (FEE_THEN_MINUTE_THEN_SECONDS, 61, 14_400, 61, 0),
        (Rate(0, (Slot(0, 1_000, 60, 86_400),), 3_600), 0, 14_400, 0, None),
        (Rate(0, (Slot(0, 500, 60, 86_400),), 3_600), 0, 14_400, 14_400, LONGEST),
    ],
)
async def test_how_long_is_granted_for_a_balance_of_one_unit(
    store_url: str, rate: Rate, requested: int, max_duration: int, granted: int, final: int | None
) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        grant = await till.authorize(rate=rate, requested=requested, max_duration=max_duration)
        if final is None:
            assert grant == CallGrant(Code.INSUFFICIENT_FUNDS, 0, 0, 1_000_000)
            return
        left = 1_000_000 - rate.price_micros(granted)
        assert grant == CallGrant(Code.FUNDED, granted, final, left)
        assert (await till.call()).held_micros == rate.price_micros(granted)
        assert await till.money() == (1_000_000, 1_000_000 - left, left)


async def test_the_daily_limit_bounds_the_grant(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, daily_limit=100_000)
        assert await till.authorize(rate=BY_THE_SECOND) == CallGrant(Code.FUNDED, 50, SPEND, 900_000)
        assert (await till.authorize("c2", BY_THE_SECOND)).code == Code.SPEND_LIMIT


@pytest.mark.parametrize("verdict", [Code.FREE, Code.EMERGENCY])
async def test_what_is_not_paid_for_holds_and_counts_nothing(store_url: str, verdict: Code) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0, max_calls=1, daily_limit=1, max_price=1)
        longest = 86_400 if verdict == Code.EMERGENCY else 14_400
        grant = await till.authorize(rate=None, verdict=verdict, max_duration=longest)
        assert grant == CallGrant(verdict, longest, 0, 0)
        call = await till.call()
        assert (call.reason, call.held_micros, call.rate) == (Reason(verdict), 0, None)
        office = await till.office()
        assert (office.reserved_micros, office.concurrent_calls) == (0, 0)
        assert await till.due() == NOON + Lifetimes().setup_ms


async def test_the_record_of_an_emergency_call_of_a_suspended_office(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0, state=OfficeState.SUSPENDED)
        assert await till.authorize_emergency() == CallGrant(Code.EMERGENCY, 86_400, 0, 0)
        assert (await till.call()).reason == Reason.EMERGENCY
        assert (await till.authorize_emergency()).code == Code.REPLAYED


@pytest.mark.parametrize("ended", [True, False], ids=["after its end", "after an end that came first"])
async def test_an_emergency_call_with_a_spent_id_is_granted_and_not_kept(store_url: str, ended: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        if ended:
            await till.authorize()
        await till.end(0)
        before = await till.dump()
        assert await till.authorize_emergency() == CallGrant(Code.EMERGENCY, 86_400, 0, 1_000_000)
        assert await till.dump() == before


async def test_an_id_whose_end_came_first_is_spent_for_the_set_up_time_out(store_url: str) -> None:
    async with open_till(store_url, lifetimes=Lifetimes(setup_ms=170_000)) as till:
        await till.open_office(1_000_000)
        assert (await till.end(12)).code == Code.NOT_FOUND
        assert await till.authorize() == CallGrant(Code.CALL_ENDED, 0, 0, 1_000_000)
        assert not (await till.stub()).known
        assert 0 < await till.call_expires_in_ms() <= 170_000
        assert await till.due() is None


@pytest.mark.parametrize(
    ("balance", "refill_amount", "triggered"),
    [
        # One refill makes up what is lacking; or it would not, and the funds are not below the threshold.
        (6_000_000, 94_000_000, True),
        (6_000_000, 93_999_999, False),
        # Below the threshold a trigger is due whatever was lacking, from the start.
        (4_999_999, 5_000_000, True),
    ],
)
async def test_a_denial_triggers_a_refill_that_would_help(
    store_url: str, balance: int, refill_amount: int, triggered: bool
) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(balance, 1)
        await till.put_office(refill=True, generation=1, refill_amount=refill_amount)
        grant = await till.authorize(rate=Rate(99_880_000, SIXTY_SIXTY.slots))
        assert grant == CallGrant(Code.INSUFFICIENT_FUNDS, 0, 0, balance)
        assert await till.refill_state() == (RefillState.PENDING if triggered else RefillState.ARMED)
        assert (await till.kinds()).count("refill") == triggered


async def test_what_is_lacking_is_the_first_increment(store_url: str) -> None:
    """However much the switch would like to reserve at once."""
    rate = Rate(0, (Slot(0, 10_000_000, 60, 60),))
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(6_000_000, 1)
        await till.put_office(refill=True, generation=1, refill_amount=5_000_000)
        assert (await till.authorize(rate=rate, requested=86_400)).code == Code.INSUFFICIENT_FUNDS
        assert await till.refill_state() == RefillState.PENDING


async def test_a_grant_that_takes_the_funds_below_the_threshold_triggers(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(5_100_000, 1)
        await till.put_office(refill=True, generation=1)
        await till.authorize()
        (trigger,) = [entry for entry in await till.outbox() if entry.kind == "refill"]
        assert (trigger.id, trigger.at, trigger.amount, trigger.balance) == (f"{OFFICE}/1", NOON, 0, 5_100_000)
        assert trigger.more == {
            "refill_amount": b"50000000",
            "threshold": b"5000000",
            "available": b"4980000",
        }
        await till.authorize("c2")
        assert (await till.kinds()).count("refill") == 1


DRY_RUNS = {
    "granted": ({}, {}, CallGrant(Code.FUNDED, 60, 0, 1_000_000)),
    "for the last funds": ({}, {"requested": 86_400}, CallGrant(Code.FUNDED, 480, FUNDS, 1_000_000)),
    "too dear": ({}, {"rate": Rate(10**6, SIXTY_SIXTY.slots)}, CallGrant(Code.INSUFFICIENT_FUNDS, 0, 0, 1_000_000)),
    "suspended": ({"state": OfficeState.SUSPENDED}, {}, CallGrant(Code.OFFICE_SUSPENDED, 0, 0, 1_000_000)),
    "free": ({}, {"rate": None, "verdict": Code.FREE}, CallGrant(Code.FREE, 14_400, 0, 1_000_000)),
    "emergency": ({}, {"rate": None, "verdict": Code.EMERGENCY}, CallGrant(Code.EMERGENCY, 14_400, 0, 1_000_000)),
}


@pytest.mark.parametrize(("settings", "request_of", "grant"), DRY_RUNS.values(), ids=DRY_RUNS)
async def test_a_dry_run_decides_and_writes_nothing(
    store_url: str, settings: dict[str, Any], request_of: dict[str, Any], grant: CallGrant
) -> None:
    async with open_till(store_url, clock=ManualClock()) as till:
        # A refill stands armed, and the clock has moved, so that there is something to write.
        await till.open_office(0)
        await till.credit(1_000_000, 1)
        await till.put_office(refill=True, generation=1, threshold=1_000_000, **settings)
        till.clock.move(60)
        before = await till.dump()
        assert await till.authorize(dry_run=True, **request_of) == grant
        assert await till.dump() == before


async def wet_then_dry(till: Till) -> tuple[Code, Code]:
    return (await till.authorize()).code, (await till.authorize(dry_run=True)).code


async def test_a_dry_run_of_a_known_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        assert await wet_then_dry(till) == (Code.FUNDED, Code.REPLAYED)
        await till.end(0)
        assert (await till.authorize(dry_run=True)).code == Code.CALL_ENDED


@pytest.mark.parametrize("balance", [10**15, 10**15 - 1, 999_999_999_999_983])
async def test_amounts_near_10_to_the_15_are_exact(store_url: str, balance: int) -> None:
    rate = Rate(10**9, (Slot(0, 10**9, 1, 1),))
    async with open_till(store_url) as till:
        await till.open_office(balance, credit_limit=10**15)
        grant = await till.authorize(rate=rate, requested=86_400, max_duration=86_400)
        held = 10**9 * 86_401
        assert grant == CallGrant(Code.FUNDED, 86_400, LONGEST, balance + 10**15 - held)
        assert await till.money() == (balance, held, balance + 10**15 - held)
        await till.answer()
        assert (await till.end(86_399)).available_micros == balance + 10**15 - held + 10**9
        (entry,) = [entry for entry in await till.outbox() if entry.kind == "end"]
        assert (entry.amount, entry.balance) == (-(held - 10**9), balance - held + 10**9)


async def test_a_repeat_of_what_has_its_record_is_not_journaled_in_a_suspended_office_either(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize()
        await till.end(60)
        await till.message(30_000)
        await till.refund()
        await till.put_office(state=OfficeState.SUSPENDED)
        before = await till.dump()
        assert (await till.authorize()).code == Code.OFFICE_SUSPENDED
        assert (await till.message(30_000)).code == Code.OFFICE_SUSPENDED
        assert await till.dump() == before
