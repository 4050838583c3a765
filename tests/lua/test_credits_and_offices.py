"""apply_credit.lua and put_office.lua: money from outside, and settings from SQL."""

import pytest

from gateway.domain.vocabulary import OfficeState, RefillState
from gateway.store.balances import CreditResult, PutOfficeResult
from gateway.store.codes import Code
from gateway.store.records import OfficeRecord, OfficeSettingsRecord
from gateway.v1.records_pb2 import OfficeProfile
from tests.support.balances import BY_THE_SECOND, NOON, OFFICE, open_till

TOP = 10**15


async def test_credits_are_applied_in_the_order_of_their_numbers(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office()
        apply = till.balances.apply_credit
        assert await apply(OFFICE, 2, 5) == CreditResult(Code.OUT_OF_ORDER, 0, 0, 0, None)
        assert await apply(OFFICE, 1, 100) == CreditResult(Code.OK, 100, 100, 1, 100)
        assert await apply(OFFICE, 2, -30) == CreditResult(Code.OK, 70, 70, 2, -30)
        before = await till.dump()
        till.clock.move(5)
        # What it moved is told of the last one only; the amount of a replay does not count.
        assert await apply(OFFICE, 2, 999) == CreditResult(Code.REPLAYED, 70, 70, 2, -30)
        assert await apply(OFFICE, 1, 100) == CreditResult(Code.REPLAYED, 70, 70, 2, None)
        assert await apply(OFFICE, 4, 1) == CreditResult(Code.OUT_OF_ORDER, 70, 70, 2, None)
        assert await till.dump() == before
        entries = await till.outbox()
        assert [(e.kind, e.id, e.at, e.amount, e.balance, e.more) for e in entries] == [
            ("credit", "1", NOON, 100, 100, {"refill": b"0"}),
            ("credit", "2", NOON, -30, 70, {"refill": b"0"}),
        ]


async def test_a_credit_to_an_unknown_office(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert (await till.balances.apply_credit(OFFICE, 1, 1)).code == Code.UNKNOWN_OFFICE
        assert await till.dump() == {}


@pytest.mark.parametrize(("amount", "code"), [(-1_000_000, Code.OK), (-1_000_001, Code.NOT_COVERED)])
async def test_a_negative_credit_must_be_covered(store_url: str, amount: int, code: Code) -> None:
    async with open_till(store_url) as till:
        await till.open_office(920_000, credit_limit=200_000)
        await till.authorize()
        before = await till.dump()
        result = await till.balances.apply_credit(OFFICE, 2, amount)
        assert result.code == code
        # The largest amount that would do is in the reply.
        assert result.available_micros == (0 if code == Code.OK else 1_000_000)
        assert (await till.dump() == before) == (code != Code.OK)


@pytest.mark.parametrize(
    ("balance", "amount", "code"),
    [
        (0, TOP, Code.OK),
        (0, TOP + 1, Code.OUT_OF_RANGE),
        (1, TOP, Code.OUT_OF_RANGE),
        (TOP, 1, Code.OUT_OF_RANGE),
        (TOP - 1, 1, Code.OK),
        (TOP, -TOP, Code.OK),
    ],
)
async def test_a_balance_stays_within_10_to_the_15(store_url: str, balance: int, amount: int, code: Code) -> None:
    async with open_till(store_url) as till:
        await till.open_office()
        await till.credit(balance, 1)
        result = await till.balances.apply_credit(OFFICE, 2, amount)
        after = balance + amount if code == Code.OK else balance
        assert (result.code, result.balance_micros) == (code, after)
        assert await till.money() == (after, 0, after)
        assert (await till.outbox())[-1].balance == after


async def test_the_lowest_balance_is_minus_10_to_the_15(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(credit_limit=TOP)
        assert await till.balances.apply_credit(OFFICE, 1, -TOP) == CreditResult(Code.OK, -TOP, 0, 1, -TOP)
        assert (await till.outbox())[-1].amount == -TOP
        assert (await till.balances.apply_credit(OFFICE, 2, -1)).code == Code.NOT_COVERED


async def test_a_negative_credit_may_raise_the_trigger(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(0)
        await till.credit(6_000_000, 1)
        await till.put_office(refill=True, generation=1)
        await till.credit(-1_000_001, 2)
        assert await till.refill_state() == RefillState.PENDING


# Settings.


async def test_a_new_office_and_what_it_stores(store_url: str) -> None:
    async with open_till(store_url) as till:
        put = await till.put_office(
            create=True,
            version=7,
            state=OfficeState.SUSPENDED,
            credit_limit=10**15,
            max_calls=3,
            max_price=4,
            daily_limit=5,
            threshold=6,
            refill_amount=7,
            generation=8,
            time_zone="America/New_York",
        )
        assert put == PutOfficeResult(Code.OK, 10**15, 0)
        assert await till.office() == OfficeRecord(
            *(0,) * 7,
            RefillState.OFF,
            *(0,) * 11,
            OfficeSettingsRecord(7, OfficeState.SUSPENDED, 10**15, 3, 4, 5, 6, 7, 8),
            OfficeProfile(country="US", time_zone="America/New_York", company_id="acme"),
        )
        assert await till.connection.ask("PTTL", till.cached().keys.office) == -1
        assert await till.kinds() == []


async def test_an_office_that_the_store_lost_is_not_made_anew(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.put_office(create=False) == PutOfficeResult(Code.UNKNOWN_OFFICE, 0, 0)
        assert await till.dump() == {}


@pytest.mark.parametrize("version", [1, 2])
async def test_settings_never_go_back(store_url: str, version: int) -> None:
    async with open_till(store_url) as till:
        await till.open_office(100)
        assert (await till.put_office(credit_limit=5)).code == Code.OK
        before = await till.dump()
        put = await till.put_office(version=version, create=True, credit_limit=9)
        assert put == PutOfficeResult(Code.STALE, 105, 0)
        assert await till.dump() == before


async def test_versions_may_be_skipped(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(100)
        assert (await till.put_office(version=9)).code == Code.OK
        assert (await till.office()).settings.version == 9


async def test_new_settings_leave_the_money_alone(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.tick(50)
        before = await till.office()
        put = await till.put_office(credit_limit=1_000, max_calls=1, time_zone="Europe/Berlin")
        assert put == PutOfficeResult(Code.OK, before.available_micros + 1_000, 0)
        after = await till.office()
        for name in ("balance_micros", "reserved_micros", "concurrent_calls", "day", "day_spend_micros"):
            assert getattr(after, name) == getattr(before, name)
        assert after.profile.time_zone == "Europe/Berlin"


@pytest.mark.parametrize(("limit", "code"), [(80_000, Code.OK), (79_999, Code.NOT_COVERED), (0, Code.NOT_COVERED)])
async def test_a_lower_credit_limit_must_be_covered(store_url: str, limit: int, code: Code) -> None:
    async with open_till(store_url) as till:
        await till.open_office(40_000, credit_limit=500_000)
        await till.authorize()
        before = await till.dump()
        put = await till.put_office(credit_limit=limit)
        assert put == (PutOfficeResult(Code.OK, 0, 0) if code == Code.OK else PutOfficeResult(code, 420_000, 80_000))
        assert (await till.dump() == before) == (code != Code.OK)


async def test_suspended_offices_deny_what_is_new_while_live_calls_go_on(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        await till.answer()
        await till.put_office(state=OfficeState.SUSPENDED)
        assert (await till.authorize("c2")).code == Code.OFFICE_SUSPENDED
        assert (await till.message(1)).code == Code.OFFICE_SUSPENDED
        assert (await till.tick(50))[:2] == (Code.OK, 110)
        assert (await till.end(60)).code == Code.OK
