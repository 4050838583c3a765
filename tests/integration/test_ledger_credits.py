import asyncio

import pytest

from gateway.domain.credit import CreditKind, CreditStatus
from gateway.errors import InvalidArgument
from gateway.ledger.credits import CreditTotal
from gateway.ledger.database import open_database
from gateway.ledger.errors import (
    CreditAlreadyApplied,
    CreditNotFound,
    IdempotencyKeyReused,
    LedgerBroken,
    OfficeNotFound,
    RefillAlreadyCredited,
)
from gateway.ledger.paging import PageRequest
from tests.support.ledger import NOW, WHO, Ledger, credit, ledger_of, with_ledger, with_office


def test_fifty_at_once_get_the_numbers_1_to_50(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        made = await asyncio.gather(
            *(ledger.credits.new_credit(credit(key=f"k{n}"), actor=WHO, now_ms=NOW) for n in range(50))
        )
        assert sorted(new.credit.number for new in made) == list(range(1, 51))
        assert not any(new.replayed for new in made)

    with_ledger(ledger_url, scenario)


def test_two_processes_at_once_leave_no_gap(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        second = await open_database(ledger_url)
        try:
            both = (ledger, ledger_of(second))
            made = await asyncio.gather(
                *(both[n % 2].credits.new_credit(credit(key=f"k{n // 2}"), actor=WHO, now_ms=NOW) for n in range(60))
            )
        finally:
            await second.close()
        assert {new.credit.number for new in made} == set(range(1, 31))
        assert sum(new.replayed for new in made) == 30

    with_ledger(ledger_url, scenario)


def test_a_refusal_half_way_leaves_no_gap(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        first = await ledger.credits.new_credit(credit(key="k1"), actor=WHO, now_ms=NOW)
        with pytest.raises(IdempotencyKeyReused):
            await ledger.credits.new_credit(credit(1, key="k1"), actor=WHO, now_ms=NOW)
        task = asyncio.create_task(ledger.credits.new_credit(credit(key="k2"), actor=WHO, now_ms=NOW))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        third = await ledger.credits.new_credit(credit(key="k3"), actor=WHO, now_ms=NOW)
        numbers = [one.number for one in await ledger.credits.credits_after("o1", 0, 10)]
        assert numbers == list(range(1, third.credit.number + 1))
        assert first.credit.number == 1

    with_ledger(ledger_url, scenario)


def test_every_office_counts_for_itself(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger, "o1")
        await with_office(ledger, "o2")
        for office_id in ("o1", "o2", "o1"):
            await ledger.credits.new_credit(credit(key=f"k{office_id}", office_id=office_id), actor=WHO, now_ms=NOW)
        assert [one.number for one in await ledger.credits.credits_after("o2", 0, 10)] == [1]
        assert (await ledger.credits.new_credit(credit(key="x"), actor=WHO, now_ms=NOW)).credit.number == 2

    with_ledger(ledger_url, scenario)


def test_the_same_key_gives_the_same_credit_for_ever(ledger_url: str) -> None:
    async def first(ledger: Ledger) -> None:
        await with_office(ledger)
        new = await ledger.credits.new_credit(credit(), actor=WHO, now_ms=NOW)
        assert (new.replayed, new.credit.status, new.credit.amount_micros) == (False, CreditStatus.PENDING, 50_000_000)

    async def second(ledger: Ledger) -> None:
        later = NOW + 10 * 365 * 86_400_000
        again = await ledger.credits.new_credit(credit(), actor="token:other", now_ms=later)
        assert again.replayed
        assert (again.credit.number, again.credit.created_at, again.credit.actor) == (1, NOW, WHO)
        assert await ledger.credits.find_by_key("o1", "k1") == again.credit
        assert await ledger.credits.find_by_key("o1", "k2") is None
        for other in (
            credit(49_999_999),
            credit(-50_000_000),
            credit(reason="another"),
            credit(kind=CreditKind.PURCHASE),
            credit(refill_id="o1/1"),
        ):
            with pytest.raises(IdempotencyKeyReused, match="new key") as caught:
                await ledger.credits.new_credit(other, actor=WHO, now_ms=later)
            assert (caught.value.code, caught.value.field) == ("ALREADY_EXISTS", "idempotency_key")
        assert await ledger.credits.total("o1") == CreditTotal(0, 1, 1)

    with_ledger(ledger_url, first)
    with_ledger(ledger_url, second)


def test_a_refill_is_credited_once(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger, "o1")
        await with_office(ledger, "o2")
        await ledger.credits.new_credit(credit(refill_id="o1/1"), actor=WHO, now_ms=NOW)
        with pytest.raises(RefillAlreadyCredited):
            await ledger.credits.new_credit(credit(key="k2", refill_id="o1/1"), actor=WHO, now_ms=NOW)
        assert (await ledger.credits.new_credit(credit(refill_id="o1/1"), actor=WHO, now_ms=NOW)).replayed
        assert await ledger.credits.total("o1") == CreditTotal(0, 1, 1)

    with_ledger(ledger_url, scenario)


def test_what_cannot_be_credited(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        with pytest.raises(OfficeNotFound):
            await ledger.credits.new_credit(credit(office_id="o9"), actor=WHO, now_ms=NOW)
        for wrong in (credit(0), credit(2**63), credit(10**15 + 1), credit(key=""), credit(reason="")):
            with pytest.raises(InvalidArgument):
                await ledger.credits.new_credit(wrong, actor=WHO, now_ms=NOW)
        for number in (1, 2**62):
            with pytest.raises(CreditNotFound):
                await ledger.credits.mark_applied("o1", number, 5, now_ms=NOW)
            with pytest.raises(CreditNotFound):
                await ledger.credits.mark_refused("o1", number, actor=WHO, now_ms=NOW)
            with pytest.raises(CreditNotFound):
                await ledger.credits.get("o1", number)
        assert await ledger.credits.total("o1") == CreditTotal(0, 0, 0)

    with_ledger(ledger_url, scenario)


def test_applied_once_is_applied(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.credits.new_credit(credit(), actor=WHO, now_ms=NOW)
        applied = await ledger.credits.mark_applied("o1", 1, 50_000_000, now_ms=NOW + 1)
        assert (applied.status, applied.applied_at, applied.is_confirmed) == (CreditStatus.APPLIED, NOW + 1, True)
        assert await ledger.credits.mark_applied("o1", 1, 50_000_000, now_ms=NOW + 2) == applied
        with pytest.raises(CreditAlreadyApplied):
            await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW)
        assert await ledger.credits.unapplied_credits(10) == ()
        assert await ledger.credits.total("o1") == CreditTotal(50_000_000, 1, 0)

    with_ledger(ledger_url, scenario)


def test_a_refused_credit_moves_nothing_and_keeps_its_number(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.credits.new_credit(credit(-7), actor=WHO, now_ms=NOW)
        refused = await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW)
        assert (refused.status, refused.amount_micros, refused.requested_micros) == (CreditStatus.REFUSED, 0, -7)
        assert await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW) == refused
        # The credit of 0 is still to be sent, and the next one has to wait for it.
        await ledger.credits.new_credit(credit(5, key="k2"), actor=WHO, now_ms=NOW)
        waiting = await ledger.credits.unapplied_credits(10)
        assert [(one.number, one.amount_micros) for one in waiting] == [(1, 0), (2, 5)]
        confirmed = await ledger.credits.mark_applied("o1", 1, 0, now_ms=NOW + 1)
        assert (confirmed.status, confirmed.applied_at) == (CreditStatus.REFUSED, NOW + 1)
        assert [one.number for one in await ledger.credits.unapplied_credits(10)] == [2]
        # The key is spent on the refusal.
        again = await ledger.credits.new_credit(credit(-7), actor=WHO, now_ms=NOW)
        assert (again.replayed, again.credit.status) == (True, CreditStatus.REFUSED)
        log = (await ledger.audit.list(PageRequest(), "credit:o1/1")).items
        assert [line.action for line in log] == ["credit.refuse", "credit.create"]
        assert log[0].before == {"amount_micros": -7, "status": "PENDING"}

    with_ledger(ledger_url, scenario)


def test_the_ledger_follows_the_store_when_two_senders_race(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.credits.new_credit(credit(-7), actor=WHO, now_ms=NOW)
        await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW)
        # The other sender's -7 had gone through after all.
        applied = await ledger.credits.mark_applied("o1", 1, -7, now_ms=NOW)
        assert (applied.status, applied.amount_micros) == (CreditStatus.APPLIED, -7)
        # And the other way round: the store holds the 0 of a sender that crashed before it wrote the refusal down.
        await ledger.credits.new_credit(credit(-8, key="k2"), actor=WHO, now_ms=NOW)
        zero = await ledger.credits.mark_applied("o1", 2, 0, now_ms=NOW)
        assert (zero.status, zero.amount_micros) == (CreditStatus.REFUSED, 0)
        assert (await ledger.audit.list(PageRequest(1), "credit:o1/2")).items[0].action == "credit.correct"
        assert await ledger.credits.total("o1") == CreditTotal(-7, 2, 0)

    with_ledger(ledger_url, scenario)


def test_amounts_that_cannot_have_moved_are_told_of_and_change_nothing(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.credits.new_credit(credit(5), actor=WHO, now_ms=NOW)
        before = await ledger.credits.get("o1", 1)
        for amount in (6, -5, 0):
            with pytest.raises(LedgerBroken) as caught:
                await ledger.credits.mark_applied("o1", 1, amount, now_ms=NOW)
            assert "o1" not in str(caught.value)
            assert "'o1'" in caught.value.__notes__[0]
        with pytest.raises(LedgerBroken):
            await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW)
        assert await ledger.credits.get("o1", 1) == before
        await ledger.credits.new_credit(credit(-5, key="k2"), actor=WHO, now_ms=NOW)
        await ledger.credits.mark_applied("o1", 2, -5, now_ms=NOW)
        with pytest.raises(LedgerBroken):
            await ledger.credits.mark_applied("o1", 2, 0, now_ms=NOW)

    with_ledger(ledger_url, scenario)


def test_a_store_that_has_forgotten_gets_everything_again_in_order(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        for n in range(1, 8):
            await ledger.credits.new_credit(credit(n, key=f"k{n}"), actor=WHO, now_ms=NOW)
        for n in range(1, 6):
            await ledger.credits.mark_applied("o1", n, n, now_ms=NOW)
        assert [one.number for one in await ledger.credits.credits_after("o1", 3, 100)] == [4, 5, 6, 7]
        assert [one.number for one in await ledger.credits.credits_after("o1", 3, 2)] == [4, 5]
        assert await ledger.credits.credits_after("o1", 7, 100) == ()
        assert await ledger.credits.total("o1") == CreditTotal(15, 7, 2)

    with_ledger(ledger_url, scenario)


def test_an_office_that_is_stuck_does_not_hide_the_rest(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for office_id in ("o1", "o2"):
            await with_office(ledger, office_id)
            for n in range(3):
                await ledger.credits.new_credit(credit(key=f"k{n}", office_id=office_id), actor=WHO, now_ms=NOW)
        first = await ledger.credits.unapplied_credits(2)
        assert [(one.office_id, one.number) for one in first] == [("o1", 1), ("o1", 2)]
        rest = await ledger.credits.unapplied_credits(10, (first[-1].office_id, first[-1].number))
        assert [(one.office_id, one.number) for one in rest] == [("o1", 3), ("o2", 1), ("o2", 2), ("o2", 3)]

    with_ledger(ledger_url, scenario)


def test_the_list_is_newest_first_and_stands_still(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        for n in range(5):
            await ledger.credits.new_credit(credit(key=f"k{n}"), actor=WHO, now_ms=NOW)
        page = await ledger.credits.list(PageRequest(2), "o1")
        await ledger.credits.new_credit(credit(key="later"), actor=WHO, now_ms=NOW)
        rest = await ledger.credits.list(PageRequest(10, page.next_page_token), "o1")
        assert [one.number for one in page.items + rest.items] == [5, 4, 3, 2, 1]
        assert rest.next_page_token == ""

    with_ledger(ledger_url, scenario)


def test_a_positive_credit_is_refused_only_where_its_caller_has_the_money_still(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        refill = credit(5, kind=CreditKind.REFILL, refill_id="o1/1")
        await ledger.credits.new_credit(refill, actor=WHO, now_ms=NOW)
        refused = await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW, even_positive=True)
        assert (refused.status, refused.amount_micros, refused.refill_id) == (CreditStatus.REFUSED, 0, None)
        assert (await ledger.credits.mark_applied("o1", 1, 0, now_ms=NOW)).is_confirmed
        # The same request again is told of the refusal, and the refill is open for another credit.
        assert (await ledger.credits.new_credit(refill, actor=WHO, now_ms=NOW)).replayed
        again = credit(5, "k2", kind=CreditKind.REFILL, refill_id="o1/1")
        assert (await ledger.credits.new_credit(again, actor=WHO, now_ms=NOW)).credit.number == 2

    with_ledger(ledger_url, scenario)


def test_a_credit_that_the_store_lost_is_to_be_sent_anew(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.credits.new_credit(credit(-7), actor=WHO, now_ms=NOW)
        await ledger.credits.new_credit(credit(-9, "k2"), actor=WHO, now_ms=NOW)
        await ledger.credits.mark_applied("o1", 1, -7, now_ms=NOW)
        await ledger.credits.mark_refused("o1", 2, actor=WHO, now_ms=NOW)
        await ledger.credits.mark_applied("o1", 2, 0, now_ms=NOW)
        lost = await ledger.credits.mark_lost("o1", 1, actor=WHO, now_ms=NOW + 1)
        assert (lost.status, lost.amount_micros, lost.applied_at) == (CreditStatus.PENDING, -7, None)
        assert await ledger.credits.mark_lost("o1", 1, actor=WHO, now_ms=NOW + 2) == lost
        zero = await ledger.credits.mark_lost("o1", 2, actor=WHO, now_ms=NOW + 1)
        assert (zero.status, zero.amount_micros) == (CreditStatus.REFUSED, 0)
        waiting = await ledger.credits.unapplied_credits(10)
        assert [(one.number, one.amount_micros) for one in waiting] == [(1, -7), (2, 0)]
        # It may be refused now, as if it had never been applied.
        await ledger.credits.mark_refused("o1", 1, actor=WHO, now_ms=NOW + 3)
        assert (await ledger.audit.list(PageRequest(), "credit:o1/1")).items[1].action == "credit.lose"
        with pytest.raises(CreditNotFound):
            await ledger.credits.mark_lost("o1", 3, actor=WHO, now_ms=NOW)
        assert await ledger.credits.last_numbers(["o1", "o2"]) == {"o1": 2}

    with_ledger(ledger_url, scenario)
