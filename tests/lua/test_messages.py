"""authorize_message.lua and refund_message.lua."""

from typing import Any

import pytest

from gateway.domain.vocabulary import OfficeState, RefillState
from gateway.store.balances import Lifetimes, MessageGrant, MessageRefund
from gateway.store.codes import Code
from gateway.store.keys import office_keys
from gateway.store.records import OfficeRecord
from tests.support.balances import DAY_MS, MESSAGE_DETAILS, NOON, OFFICE, fingerprint, open_till

LIFE = Lifetimes()


async def test_a_message_is_debited_whole_and_journaled(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        assert await till.message(30_000) == MessageGrant(Code.FUNDED, 30_000, 970_000)
        assert await till.money() == (970_000, 0, 970_000)
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.office, entry.id, entry.at, entry.amount, entry.balance) == (
            "message", OFFICE, "m1", NOON, -30_000, 970_000,
        )  # fmt: skip
        assert entry.more == {"reason": b"14", "details": MESSAGE_DETAILS, "fingerprint": fingerprint(1)}
        office = await till.office()
        assert office.day_spend_micros == 30_000
        packed = await till.connection.ask("GET", office_keys(OFFICE).message_prefix + b"m1")
        day = office.day.to_bytes(8, "little")
        assert packed == b"\1\1" + fingerprint(1) + (30_000).to_bytes(8, "little") + day + bytes([Code.FUNDED])
        assert LIFE.stub_ms - 10_000 < await till.message_expires_in_ms() <= LIFE.stub_ms
        assert await till.shard_clock() == NOON


async def test_a_replay_debits_nothing_and_repeats_the_reason(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.message(30_000)
        await till.message(0, "free", verdict=Code.FREE)
        before = await till.dump()
        assert await till.message(30_000) == MessageGrant(Code.REPLAYED, 30_000, 970_000, Code.FUNDED)
        assert await till.message(0, "free", verdict=Code.FREE) == MessageGrant(Code.REPLAYED, 0, 970_000, Code.FREE)
        assert await till.message(30_000, content=2) == MessageGrant(Code.ID_REUSED, 0, 0)
        assert await till.dump() == before


@pytest.mark.parametrize(
    ("settings", "price", "verdict", "code"),
    [
        ({}, 1_000_000, Code.FUNDED, Code.FUNDED),
        ({}, 1_000_001, Code.FUNDED, Code.INSUFFICIENT_FUNDS),
        ({"credit_limit": 1}, 1_000_001, Code.FUNDED, Code.FUNDED),
        ({"daily_limit": 30_000}, 30_000, Code.FUNDED, Code.FUNDED),
        ({"daily_limit": 29_999}, 30_000, Code.FUNDED, Code.SPEND_LIMIT),
        ({"daily_limit": 1}, 1_000_001, Code.FUNDED, Code.SPEND_LIMIT),
        ({"daily_limit": 1}, 0, Code.FREE, Code.FREE),
        ({"state": OfficeState.SUSPENDED}, 0, Code.FREE, Code.OFFICE_SUSPENDED),
        ({"state": OfficeState.SUSPENDED}, 0, Code.NO_RATE, Code.OFFICE_SUSPENDED),
        ({}, 0, Code.NO_RATE, Code.NO_RATE),
        ({}, 0, Code.DESTINATION_BLOCKED, Code.DESTINATION_BLOCKED),
    ],
)
async def test_the_first_reason_that_applies(
    store_url: str, settings: dict[str, Any], price: int, verdict: Code, code: Code
) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, **settings)
        granted = code in (Code.FUNDED, Code.FREE)
        available = 1_000_000 + settings.get("credit_limit", 0)
        taken = price if granted else 0
        assert await till.message(price, verdict=verdict) == MessageGrant(code, taken, available - taken)
        assert await till.message_expires_in_ms() > 0 if granted else await till.message_expires_in_ms() == -2
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.amount) == ("message" if granted else "blocked", -taken)
        if not granted:
            assert entry.more == {
                "reason": str(int(code)).encode(),
                "details": MESSAGE_DETAILS,
                "unrecorded_before": b"0",
            }


async def test_a_refund_that_comes_too_late_for_the_store_asks_the_ledger_and_spends_the_id(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        for _ in range(2):
            assert await till.refund("gone") == MessageRefund(Code.NOT_FOUND, 0, 0)
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.id, entry.amount, entry.balance) == ("late_refund", "gone", 0, 1_000_000)
        assert (await till.kinds()).count("late_refund") == 1
        assert 0 < await till.message_expires_in_ms("gone") <= Lifetimes().stub_ms
        # A refund that overtook its message: the net debit is nothing, in whatever order they come.
        assert (await till.message(30_000, "gone")).code == Code.MESSAGE_REFUNDED
        assert await till.money() == (1_000_000, 0, 1_000_000)


async def test_a_free_message_needs_no_funds(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        assert await till.message(0, verdict=Code.FREE) == MessageGrant(Code.FREE, 0, 0)


async def test_a_blocked_message_may_be_granted_later(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(10_000)
        assert (await till.message(30_000)).code == Code.INSUFFICIENT_FUNDS
        await till.credit(30_000)
        assert (await till.message(30_000)).code == Code.FUNDED
        assert await till.kinds() == ["credit", "blocked", "credit", "message"]


async def test_unknown_and_changed_offices(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.message(1) == MessageGrant(Code.UNKNOWN_OFFICE, 0, 0)
        assert await till.dump() == {}
        await till.open_office(1_000_000)
        await till.put_office()
        before = await till.dump()
        grant = await till.message(1, version=1)
        assert grant[:3] == (Code.OFFICE_CHANGED, 0, 0)
        assert isinstance(grant.record, bytes)
        assert OfficeRecord.unpack(grant.record) == await till.office()
        assert await till.dump() == before


async def test_beyond_100_a_second_blocked_messages_are_counted(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        for number in range(103):
            assert (await till.message(30_000, f"m{number}")).code == Code.INSUFFICIENT_FUNDS
        assert (await till.kinds()).count("blocked") == 100
        office = await till.office()
        assert (office.blocked_count, office.blocked_dropped) == (100, 3)
        # The count rides on the next one, in the next second.
        till.clock.move(1)
        await till.message(30_000, "next")
        await till.message(30_000, "after")
        last, after = (await till.outbox())[-2:]
        assert (last.more["unrecorded_before"], after.more["unrecorded_before"]) == (b"3", b"0")
        office = await till.office()
        assert (office.blocked_count, office.blocked_dropped) == (2, 0)
        # A grant is never counted among them.
        await till.credit(30_000, 1)
        assert (await till.message(30_000, "granted")).code == Code.FUNDED


@pytest.mark.parametrize(("amount", "triggered"), [(24_000_000, True), (23_999_999, False)])
async def test_a_block_triggers_a_refill_that_would_help(store_url: str, amount: int, triggered: bool) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(6_000_000, 1)
        await till.put_office(refill=True, generation=1, refill_amount=amount)
        assert (await till.message(30_000_000)).code == Code.INSUFFICIENT_FUNDS
        assert await till.refill_state() == (RefillState.PENDING if triggered else RefillState.ARMED)
        assert (await till.kinds()).count("refill") == triggered


@pytest.mark.parametrize(("price", "code"), [(30_000, Code.FUNDED), (10**9, Code.INSUFFICIENT_FUNDS)])
async def test_a_dry_run_writes_nothing(store_url: str, price: int, code: Code) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(1_000_000, 1)
        await till.put_office(refill=True, generation=1, threshold=1_000_000, refill_amount=10**10)
        till.clock.move(60)
        before = await till.dump()
        taken = price if code == Code.FUNDED else 0
        assert await till.message(price, dry_run=True) == MessageGrant(code, taken, 1_000_000)
        assert await till.dump() == before


# The refund.


async def test_a_refund_gives_the_debit_back_once(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.message(30_000)
        till.clock.move(5)
        assert await till.refund() == MessageRefund(Code.OK, 30_000, 1_000_000)
        office = await till.office()
        assert (office.balance_micros, office.day_spend_micros) == (1_000_000, 0)
        entry = (await till.outbox())[-1]
        assert (entry.kind, entry.id, entry.at, entry.amount, entry.balance) == (
            "message_refund", "m1", NOON + 5_000, 30_000, 1_000_000,
        )  # fmt: skip
        assert LIFE.stub_ms - 10_000 < await till.message_expires_in_ms() <= LIFE.stub_ms
        before = await till.dump()
        assert await till.refund() == MessageRefund(Code.REPLAYED, 30_000, 1_000_000)
        assert await till.message(30_000) == MessageGrant(Code.MESSAGE_REFUNDED, 0, 1_000_000)
        assert await till.message(30_000, content=2) == MessageGrant(Code.MESSAGE_REFUNDED, 0, 1_000_000)
        assert await till.dump() == before


async def test_a_refund_of_what_was_not_sent(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.refund() == MessageRefund(Code.NOT_FOUND, 0, 0)
        assert await till.dump() == {}
        await till.open_office(0)
        await till.message(30_000)
        assert await till.refund() == MessageRefund(Code.NOT_FOUND, 0, 0)
        assert await till.money() == (0, 0, 0)


async def test_yesterdays_message_makes_no_room_in_todays_spend(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.message(30_000)
        till.clock.move(DAY_MS / 1000)
        await till.message(20_000, "m2")
        await till.refund("m1")
        office = await till.office()
        assert (office.balance_micros, office.day_spend_micros) == (980_000, 20_000)


async def test_a_refund_of_a_suspended_office_is_given(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.message(30_000)
        await till.put_office(state=OfficeState.SUSPENDED)
        assert (await till.refund()).code == Code.OK
        assert (await till.message(30_000)).code == Code.OFFICE_SUSPENDED
