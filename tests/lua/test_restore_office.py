"""restore_office.lua: an office comes back whole, once, and its refill is judged at once."""

import dataclasses

from gateway.domain.vocabulary import Reason, RefillState
from gateway.store.records import CallStub, OfficeRecord, pack_message
from tests.support.balances import BY_THE_SECOND, NOON, OFFICE, fingerprint, open_till


async def test_it_comes_back_byte_for_byte(store_url: str) -> None:
    async with open_till(store_url) as till:
        office = await till.open_office(10_000_000, refill=True, credit_limit=500)
        await till.message(5, "m1")
        before = await till.connection.ask("GET", office.keys.office)
        assert OfficeRecord.unpack(before).pack() == before
        await till.connection.ask("DEL", office.keys.office, office.keys.outbox, office.keys.clock)
        assert await till.balances.restore_office(OFFICE, before)
        assert await till.connection.ask("GET", office.keys.office) == before
        assert await till.outbox() == []
        assert await till.shard_clock() == NOON


async def test_an_office_that_is_there_stays(store_url: str) -> None:
    async with open_till(store_url) as till:
        await till.open_office(10_000_000)
        other = dataclasses.replace(await till.office(), balance_micros=1).pack()
        before = await till.dump()
        till.clock.move(5)
        assert not await till.balances.restore_office(OFFICE, other)
        assert await till.dump() == before


async def test_a_refill_that_is_due_is_asked_for(store_url: str) -> None:
    async with open_till(store_url) as till:
        office = await till.open_office(10_000_000, refill=True)
        low = dataclasses.replace(
            await till.office(), balance_micros=4_999_999, refill_number=6, refill_state=RefillState.ARMED
        )
        await till.connection.ask("DEL", office.keys.office, office.keys.outbox)
        assert await till.balances.restore_office(OFFICE, low.pack())
        assert await till.refill_state() is RefillState.PENDING
        [entry] = await till.outbox()
        assert (entry.kind, entry.id, entry.amount, entry.balance) == ("refill", f"{OFFICE}/7", 0, 4_999_999)


async def test_stubs_are_packed_as_the_scripts_pack_them(store_url: str) -> None:
    async with open_till(store_url) as till:
        office = await till.open_office(10_000_000)
        await till.authorize("c1", BY_THE_SECOND, content=7)
        await till.end(61, "c1")
        await till.end(5, "unknown")
        await till.message(30, "m1", content=8)
        await till.message(40, "m2", content=9)
        await till.refund("m2")
        keys, ask = office.keys, till.connection.ask
        assert await ask("GET", keys.call_prefix + b"c1") == CallStub(True, 61, 61, 122_000, 0).pack(fingerprint(7))
        assert await ask("GET", keys.call_prefix + b"unknown") == CallStub(False, 5, 0, 0, 0).pack(bytes(8))
        day = (await till.office()).day
        for name, price, content, refunded in ((b"m1", 30, 8, False), (b"m2", 40, 9, True)):
            assert await ask("GET", keys.message_prefix + name) == pack_message(
                fingerprint=fingerprint(content),
                debited_micros=price,
                day=day,
                reason=Reason.FUNDED,
                is_refunded=refunded,
            )
