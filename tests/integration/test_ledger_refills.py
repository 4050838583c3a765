import asyncio

from gateway.ledger.refills import RefillTrigger
from tests.support.ledger import NOW, Ledger, raise_triggers, with_ledger, with_office


def trigger(refill_id: str = "o1/1", available_micros: int = 4_990_000) -> RefillTrigger:
    return RefillTrigger(refill_id, refill_id.partition("/")[0], 50_000_000, 5_000_000, available_micros, NOW - 5)


def test_triggers_get_their_place_in_the_order_of_all(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        assert await ledger.refills.last_seq() == 0
        recorded = await raise_triggers(ledger, trigger("a/1"), trigger("b/1"))
        assert [(one.seq, one.trigger.refill_id) for one in recorded] == [(1, "a/1"), (2, "b/1")]
        assert recorded[0].trigger == trigger("a/1")
        assert await ledger.refills.find("b/1") == recorded[1]
        assert await ledger.refills.find("c/1") is None

    with_ledger(ledger_url, scenario)


def test_the_first_trigger_of_a_refill_stands(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await raise_triggers(ledger, trigger("a/1"), trigger("a/1", 7))
        again = [trigger("a/1", 9), trigger("a/2")]
        recorded = await raise_triggers(ledger, *again)
        assert [(one.seq, one.trigger.refill_id) for one in recorded] == [(2, "a/2")]
        assert await raise_triggers(ledger, *again) == ()
        assert [one.trigger for one in await ledger.refills.after(0, 10)] == [trigger("a/1"), trigger("a/2")]

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
            await raise_triggers(ledger, trigger(f"o{shard}/1"), trigger(f"o{shard}/2"))

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
        await raise_triggers(ledger, *triggers)

        async def seen(company_id: str | None, office_ids: set[str] | None) -> list[int]:
            return [one.seq for one in await ledger.refills.after(1, 10, company_id=company_id, office_ids=office_ids)]

        assert await seen(None, None) == [2, 3, 4, 5, 6]
        assert await seen("c1", None) == [4]
        assert await seen("c2", {"o1", "o2"}) == [2, 5]
        assert await seen(None, {"gone"}) == [3, 6]
        assert await seen(None, set()) == []

    with_ledger(ledger_url, scenario)
