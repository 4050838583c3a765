import asyncio
from collections import Counter

from gateway.domain.payment import RefillStatus
from gateway.domain.vocabulary import PaymentTerms
from gateway.ledger.auto_refills import AutoRefills
from gateway.ledger.refills import RefillTrigger
from tests.support.ledger import NOW, WHO, Ledger, credit, raise_triggers, settings, with_ledger, with_office


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


def test_many_are_begun_at_a_time_and_each_once_however_many_do(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        refills = AutoRefills(ledger.database, "sandbox")
        await with_office(ledger, "outside")
        ours = [f"o{n}" for n in range(20)]
        for office_id in ours:
            invoiced = settings(office_id, payment_terms=PaymentTerms.INVOICE)
            await ledger.offices.create(invoiced, actor=WHO, now_ms=NOW)
        await ledger.credits.new_credit(credit(office_id="o19", refill_id="o19/1"), actor=WHO, now_ms=NOW)
        await raise_triggers(ledger, *(trigger(f"{office_id}/1") for office_id in ("outside", "gone", *ours)))
        asked = await refills.asked_for(100)
        assert len(asked) == 22
        took = await asyncio.gather(*(refills.begin(asked, now_ms=NOW + n) for n in range(6)))
        begun = Counter(each.refill_id for some in took for each in some)
        # Not the one that somebody outside is to pay, not that of no office, and not the one that is credited.
        assert begun == Counter(f"{office_id}/1" for office_id in ours[:19])
        assert await refills.asked_for(100) == []
        unfinished = await refills.unfinished(100)
        assert {(each.refill_id, each.attempt) for each in unfinished} == {(each, 1) for each in begun}
        assert await refills.begin(asked, now_ms=NOW) == []
        assert await refills.begin([], now_ms=NOW) == []

    with_ledger(ledger_url, scenario)


def test_which_are_over(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        refills = AutoRefills(ledger.database, "sandbox")
        await with_office(ledger, "outside")
        for office_id in ("failed", "under-way"):
            invoiced = settings(office_id, payment_terms=PaymentTerms.INVOICE)
            await ledger.offices.create(invoiced, actor=WHO, now_ms=NOW)
        ids = ["failed/1", "under-way/1", "outside/1"]
        await raise_triggers(ledger, *map(trigger, ids))
        failed, _ = await refills.begin(ids, now_ms=NOW)
        assert await refills.close(failed, RefillStatus.FAILED, now_ms=NOW)
        assert await refills.over(ids) == ["failed/1"]

    with_ledger(ledger_url, scenario)
