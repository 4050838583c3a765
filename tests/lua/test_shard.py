"""What offices of a shard share: the clock, the outbox and its trimming, and the functions themselves."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.codes import Code
from gateway.store.keys import lease_key, outbox_key, shard_of
from gateway.store.scripts import load_library
from tests.support.balances import BY_THE_SECOND, NOON, OFFICE, open_till
from tests.support.store_keys import ask_owner

# These two share a shard; the third is elsewhere.
ONE, TWO, ELSEWHERE = "o-2", "o-59", "o-1"


def test_the_offices_lie_as_assumed() -> None:
    assert shard_of(ONE) == shard_of(TWO) != shard_of(ELSEWHERE)


async def test_time_never_goes_back_within_a_shard(store_url: str) -> None:
    async with open_till(store_url) as till:
        for office_id in (ONE, TWO, ELSEWHERE):
            await till.open_office(1_000_000, office_id=office_id)
        till.clock.move(100)
        await till.authorize(office_id=ONE)
        till.clock.move(-50)
        for office_id in (ONE, TWO, ELSEWHERE):
            await till.authorize("c2", BY_THE_SECOND, office_id=office_id)
        # An earlier now counts as the latest seen, whichever office saw it.
        assert (await till.call("c2", ONE)).authorized_ms == NOON + 100_000
        assert (await till.call("c2", TWO)).authorized_ms == NOON + 100_000
        assert (await till.call("c2", ELSEWHERE)).authorized_ms == NOON + 50_000
        assert await till.shard_clock(ONE) == NOON + 100_000
        await till.answer("c2", office_id=TWO)
        assert (await till.call("c2", TWO)).answered_ms == NOON + 100_000
        await till.end(1, "c2", office_id=TWO)
        assert (await till.outbox(TWO))[-1].at == NOON + 100_000


async def test_offices_of_a_shard_share_no_money(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000, office_id=ONE)
        await till.open_office(0, office_id=TWO)
        assert (await till.authorize(office_id=TWO)).code == Code.INSUFFICIENT_FUNDS
        assert (await till.authorize(office_id=ONE)).code == Code.FUNDED
        assert await till.money(TWO) == (0, 0, 0)
        assert {entry.office for entry in await till.outbox(ONE) if entry.amount} == {ONE}


async def test_trimming_drops_what_was_taken(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        for number in range(9):
            await till.message(1, f"m{number}")
        shard, key = shard_of(OFFICE), outbox_key(shard_of(OFFICE))
        ids = [entry_id.decode() for entry_id, _ in await till.connection.ask("XRANGE", key, "-", "+")]
        trim = till.balances.trim_outbox
        assert len(ids) == 10
        assert await trim(shard, "0-0") == 10
        assert await trim(shard, ids[3]) == 6
        assert await trim(shard, ids[3]) == 6
        # An id that is not there any more, or lies between two, is as good.
        assert await trim(shard, ids[2]) == 6
        kept = [entry_id.decode() for entry_id, _ in await till.connection.ask("XRANGE", key, "-", "+")]
        assert kept == ids[4:]
        assert await trim(shard, ids[8]) == 1
        assert await trim(shard, ids[9]) == 0
        # The next entry comes behind the last one, though the stream is empty.
        await till.message(1, "next")
        ((entry_id, _),) = await till.connection.ask("XRANGE", key, "-", "+")
        assert entry_id.decode() > ids[9]


async def test_trimming_an_outbox_that_is_not_there(store_url: str) -> None:
    async with open_till(store_url) as till:
        assert await till.balances.trim_outbox(5, "0-0") == 0
        assert await till.dump() == {}


async def test_a_shard_is_leased_to_one_gateway_at_a_time(store_url: str) -> None:
    async with open_till(store_url) as till:
        lease = till.balances.lease_shard
        assert await lease(lease_key(7), "a", 5_000)
        assert 0 < await till.connection.ask("PTTL", lease_key(7)) <= 5_000
        assert not await lease(lease_key(7), "b", 5_000)
        assert not await lease(lease_key(7), "b", 0)
        assert await lease(lease_key(8), "b", 5_000)
        assert await lease(lease_key(7), "a", 60_000)
        assert await till.connection.ask("PTTL", lease_key(7)) > 5_000
        assert await lease(lease_key(7), "a", 0)
        assert await till.connection.ask("EXISTS", lease_key(7)) == 0
        assert await lease(lease_key(7), "a", 0)
        assert await lease(lease_key(7), "b", 5_000)


async def test_a_flush_of_the_functions_between_two_operations(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(1_000_000)
        await till.authorize(rate=BY_THE_SECOND)
        steps = (till.answer(), till.tick(50), till.end(60))
        for step in steps:
            await ask_owner(till.connection, outbox_key(shard_of(OFFICE)), "FUNCTION", "FLUSH", "SYNC")
            assert (await step).code == Code.OK
        assert await till.money() == (880_000, 0, 880_000)
        libraries = await ask_owner(
            till.connection, outbox_key(shard_of(OFFICE)), "FUNCTION", "LIST", "LIBRARYNAME", load_library().name
        )
        assert len(libraries) == 1


IDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128)


def test_any_id_that_the_contract_allows_is_one_key(store_url: str) -> None:
    """Braces, spaces and colons in an id neither move its key to another slot nor make two ids one."""

    async def scenario(call_id: str, other: str) -> None:
        async with open_till(store_url) as till:
            await till.open_office(1_000_000)
            for number, each in enumerate({call_id, other}):
                assert (await till.authorize(each, content=number)).code == Code.FUNDED
                assert (await till.message(1, each, content=number)).code == Code.FUNDED
            for each in {call_id, other}:
                await till.answer(each)
                assert (await till.end(60, each)).code == Code.OK
            left = 1_000_000 - len({call_id, other}) * 120_001
            assert await till.money() == (left, 0, left)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(call_id=IDS, other=IDS)
    def check(call_id: str, other: str) -> None:
        asyncio.run(scenario(call_id, other))

    check()
