import asyncio

import pytest

from gateway.ledger.errors import StaleEpoch
from gateway.ledger.outbox import OutboxPosition
from gateway.ledger.refills import RefillTrigger
from tests.support.ledger import NOW, Ledger, with_ledger, with_office


def trigger(refill_id: str = "o1/1", available_micros: int = 4_990_000) -> RefillTrigger:
    return RefillTrigger(refill_id, refill_id.partition("/")[0], 50_000_000, 5_000_000, available_micros, NOW - 5)


def test_triggers_and_position_are_recorded_together(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        assert await ledger.outbox.positions() == {}
        assert await ledger.refills.last_seq() == 0
        recorded = await ledger.refills.record_triggers(3, 1, "100-0", [trigger("a/1"), trigger("b/1")], now_ms=NOW)
        assert [(one.seq, one.trigger.refill_id) for one in recorded] == [(1, "a/1"), (2, "b/1")]
        assert recorded[0].trigger == trigger("a/1")
        assert await ledger.outbox.positions() == {3: OutboxPosition(1, "100-0")}
        assert await ledger.refills.record_triggers(4, 1, "7-0", [], now_ms=NOW) == ()
        assert set(await ledger.outbox.positions()) == {3, 4}
        assert await ledger.refills.find("b/1") == recorded[1]
        assert await ledger.refills.find("c/1") is None

    with_ledger(ledger_url, scenario)


def test_the_first_trigger_of_a_refill_stands(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await ledger.refills.record_triggers(0, 1, "1-0", [trigger("a/1"), trigger("a/1", 7)], now_ms=NOW)
        again = [trigger("a/1", 9), trigger("a/2")]
        recorded = await ledger.refills.record_triggers(0, 1, "2-0", again, now_ms=NOW)
        assert [(one.seq, one.trigger.refill_id) for one in recorded] == [(2, "a/2")]
        assert await ledger.refills.record_triggers(0, 1, "2-0", again, now_ms=NOW) == ()
        assert [one.trigger for one in await ledger.refills.after(0, 10)] == [trigger("a/1"), trigger("a/2")]

    with_ledger(ledger_url, scenario)


def test_a_position_never_goes_back_and_compares_by_value(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for last_id, expected in [
            ("9-0", "9-0"),
            ("10-0", "10-0"),
            ("9-5", "10-0"),
            ("10-10", "10-10"),
            ("10-9", "10-10"),
        ]:
            await ledger.refills.record_triggers(0, 1, last_id, [], now_ms=NOW)
            assert (await ledger.outbox.positions())[0].last_id == expected
        # A store built anew begins its stream again, and who still reads the old one is told so.
        await ledger.refills.record_triggers(0, 2, "1-0", [], now_ms=NOW)
        assert (await ledger.outbox.positions())[0] == OutboxPosition(2, "1-0")
        with pytest.raises(StaleEpoch):
            await ledger.refills.record_triggers(0, 1, "99-0", [trigger("z/1")], now_ms=NOW)
        assert await ledger.refills.after(0, 10) == ()
        recorded = await ledger.refills.record_triggers(0, 2, "2-0", [trigger("z/1")], now_ms=NOW)
        assert recorded[0].seq == 1

    with_ledger(ledger_url, scenario)


def test_a_cursor_misses_nothing_however_many_write(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        seen: list[int] = []

        async def watch() -> None:
            while len(seen) < 64:
                found = await ledger.refills.after(seen[-1] if seen else 0, 5)
                seen.extend(one.seq for one in found)
                await asyncio.sleep(0)

        async def write(shard: int) -> None:
            await ledger.refills.record_triggers(
                shard, 1, "1-0", [trigger(f"o{shard}/1"), trigger(f"o{shard}/2")], now_ms=NOW
            )

        async with asyncio.timeout(30):
            await asyncio.gather(watch(), *map(write, range(32)))
        assert seen == list(range(1, 65))
        assert await ledger.refills.last_seq() == 64

    with_ledger(ledger_url, scenario)


def test_a_watcher_sees_the_offices_that_are_its_own(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger, "o1", "c1")
        await with_office(ledger, "o2", "c2")
        triggers = [trigger(f"{office_id}/{n}") for n in (1, 2) for office_id in ("o1", "o2", "gone")]
        await ledger.refills.record_triggers(0, 1, "1-0", triggers, now_ms=NOW)

        async def seen(company_id: str | None, office_ids: set[str] | None) -> list[int]:
            return [one.seq for one in await ledger.refills.after(1, 10, company_id=company_id, office_ids=office_ids)]

        assert await seen(None, None) == [2, 3, 4, 5, 6]
        assert await seen("c1", None) == [4]
        assert await seen("c2", {"o1", "o2"}) == [2, 5]
        assert await seen(None, {"gone"}) == [3, 6]
        assert await seen(None, set()) == []

    with_ledger(ledger_url, scenario)
