"""The refills that are not closed: where each stands, why the last attempt failed, and when the next one is."""

from pathlib import Path
from typing import Any

import pytest

from gateway.domain import notice
from gateway.domain.identity import Identity
from gateway.domain.payment import RefillStatus
from gateway.domain.vocabulary import PaymentTerms, RefillState, Role
from gateway.errors import PermissionDenied
from gateway.ledger import open_refills
from gateway.ledger.auto_refills import AutoRefill, AutoRefills
from gateway.ledger.open_refills import OpenRefills, RefillFailure, RefillStage
from gateway.ledger.refills import RefillTrigger
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, bearer, running_back
from tests.support.balances import NOON
from tests.support.billing import DOLLARS, confirmed_card
from tests.support.ledger import NOW, WHO, Ledger, credit, raise_triggers, settings, with_ledger, with_office
from tests.support.refills import dip, pay, wait_out, with_refill
from tests.support.servers import StoreServer

ME = Identity(Role.OPERATOR, "tester")


async def queue(back: BackUnderTest, who: Identity = ME) -> list[tuple[str, str, int, str | None]]:
    """What the queue lists: id, stage, attempt, and how the store has it."""
    return [
        (each.refill.refill_id, each.refill.stage.name, each.refill.attempt, each.state.name if each.state else None)
        for each in await back.back.refill_queue.list(who)
    ]


async def failure(back: BackUnderTest, office_id: str = OFFICE) -> RefillFailure | None:
    return await back.back.open_refills.last_failure(office_id)


async def test_a_card_that_is_declined_until_it_is_mended(valkey: StoreServer, tmp_path: Path, ledger_url: str) -> None:
    async with running_back(valkey, tmp_path, database_url=ledger_url) as back:
        await with_refill(back, "tok_insufficient_funds")
        assert (await queue(back), await failure(back)) == ([], None)
        await dip(back)
        await back.journaler.turn()
        assert (await queue(back), await failure(back)) == ([(f"{OFFICE}/1", "ASKED", 0, "PENDING")], None)
        await pay(back)
        [queued] = await back.back.refill_queue.list(ME)
        assert (queued.state, queued.next_attempt_at) == (RefillState.WAITING, back.clock.now_ms() + 600_000)
        refill = queued.refill
        assert (refill.office_id, refill.number, refill.amount_micros) == (OFFICE, 1, 50 * DOLLARS)
        assert (refill.raised_at, refill.changed_at) == (NOON, NOON)
        assert (refill.stage, refill.attempt) == (RefillStage.FAILED, 1)
        assert refill.last_failure == await failure(back)
        assert refill.last_failure is not None
        assert (refill.last_failure.outcome, refill.last_failure.attempt) == (RefillStatus.FAILED, 1)
        assert refill.last_failure.decline_code == "insufficient_funds"
        assert refill.last_failure.cause
        # It is asked for again, and the failure is still that of the attempt before.
        await wait_out(back)
        await back.journaler.turn()
        assert await queue(back) == [(f"{OFFICE}/1", "ASKED", 1, "PENDING")]
        assert (await back.back.refill_queue.list(ME))[0].refill.last_failure == await failure(back)
        await back.back.billing.refills.begin([f"{OFFICE}/1"], now_ms=back.clock.now_ms())
        assert await queue(back) == [(f"{OFFICE}/1", "INTENDED", 2, "PENDING")]
        found = await failure(back)
        assert found is not None
        assert (found.attempt, found.failed_at) == (1, NOON)
        await pay(back)
        await wait_out(back)
        await pay(back)
        assert await queue(back) == [(f"{OFFICE}/1", "FAILED", 3, "OFF")]
        await back.refill(payment_method_id=await confirmed_card(back, "tok_mastercard"))
        await pay(back)
        assert (await queue(back), await failure(back)) == ([], None)


async def test_a_card_that_cannot_be_charged_at_all_says_why_too(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        back.clock.move(20 * 365 * 86_400)  # It expires.
        await dip(back)
        await pay(back)
        for attempt in (1, 2, 3):
            found = await failure(back)
            assert found is not None
            assert (found.attempt, found.decline_code) == (attempt, "")
            assert (found.failed_at, found.amount_micros) == (back.clock.now_ms(), 50 * DOLLARS)
            assert "expired" in found.cause
            if attempt < 3:
                await wait_out(back)
                await pay(back)
        # The last attempt is told of as turned off, and found by that.
        assert await queue(back) == [(f"{OFFICE}/1", "FAILED", 3, "OFF")]


async def test_funds_that_come_otherwise_close_what_waits(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, "tok_insufficient_funds")
        await dip(back)
        await pay(back)
        await back.adjust(5 * DOLLARS, "by hand")
        assert await queue(back) == [(f"{OFFICE}/1", "FAILED", 1, "WAITING")]
        back.clock.move(600)
        await back.back.background.waker.turn()
        assert await back.till.refill_state() is RefillState.ARMED
        # SQL does not know, but the store does.
        assert [each.stage for each in await back.back.open_refills.newest()] == [RefillStage.FAILED]
        assert await queue(back) == []


async def test_somebody_outside_is_to_pay(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10 * DOLLARS)
        await back.refill()
        await dip(back)
        await pay(back)
        assert await queue(back) == [(f"{OFFICE}/1", "OUTSIDE", 0, "PENDING")]
        assert await failure(back) is None
        await back.adjust(50 * DOLLARS, "outside", refill_id=f"{OFFICE}/1")
        assert await queue(back) == []
        assert await back.back.open_refills.newest() == []


async def test_who_turns_it_off_waits_for_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10 * DOLLARS)
        await back.refill()
        await dip(back)
        await pay(back)
        await back.stub.SetAutoRefill(pb.SetAutoRefillRequest(office_id=OFFICE), metadata=bearer())
        assert await queue(back) == []


async def test_the_cap_of_the_day(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, refills_a_day=1) as back:
        await with_refill(back)
        for number in (1, 2):
            await dip(back, message_id=f"dip{number}")
            await pay(back)
        [queued] = await back.back.refill_queue.list(ME)
        assert (queued.refill.refill_id, queued.refill.stage) == (f"{OFFICE}/2", RefillStage.CAPPED)
        assert queued.next_attempt_at == (await back.till.office()).refill_until_ms
        assert await failure(back) == RefillFailure(f"{OFFICE}/2", RefillStatus.CAPPED, 1, 50 * DOLLARS, NOON)


async def test_each_sees_the_offices_that_are_its_own(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for office_id, company_id in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            await back.open_office(office_id, company_id=company_id, balance=10 * DOLLARS)
            await back.refill(office_id)
            await dip(back, office_id)
            await pay(back)

        async def seen(role: Role, company_id: str = "", *office_ids: str) -> list[str]:
            who = Identity(role, "t", company_id, frozenset(office_ids))
            return [each.refill.office_id for each in await back.back.refill_queue.list(who)]

        assert await seen(Role.OPERATOR) == ["b1", "a2", "a1"]
        assert await seen(Role.COMPANY_ADMIN, "a") == ["a2", "a1"]
        assert await seen(Role.VIEWER, "b") == ["b1"]
        assert await seen(Role.OFFICE_ADMIN, "a", "a1", "b1") == ["a1"]
        assert await seen(Role.VIEWER, "c") == []
        with pytest.raises(PermissionDenied):
            await seen(Role.SWITCH)
        assert [each.refill.office_id for each in await back.back.refill_queue.list(ME, 2)] == ["b1", "a2"]
        # The store has lost an office: what it was asked for is still to be seen.
        valkey.flush()
        assert {each.state for each in await back.back.refill_queue.list(ME)} == {None}


def trigger(refill_id: str) -> RefillTrigger:
    return RefillTrigger(refill_id, refill_id.partition("/")[0], 50_000_000, 5_000_000, 4_990_000, NOW - 5)


async def end(refills: AutoRefills, refill: AutoRefill, status: RefillStatus, cause: str = "") -> None:
    """End an attempt that was begun, and tell people why."""
    card = notice.ByCard("visa", "4242")
    told = notice.refill_failed(
        refill.office_id, refill.refill_id, refill.attempt, amount_micros=refill.amount_micros, card=card, cause=cause
    )
    assert await refills.close(refill, status, told if cause else None, now_ms=NOW + 9)


def test_what_the_ledger_alone_says(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_refills, "LOOK_BACK", 3)

    async def scenario(ledger: Ledger) -> None:
        refills, of = AutoRefills(ledger.database, "sandbox"), OpenRefills(ledger.database)
        await with_office(ledger)
        for office_id in ("under-way", "failed", "not-needed", "closed", "asked", "old", "old-asked"):
            invoiced: dict[str, Any] = {"payment_terms": PaymentTerms.INVOICE}
            await ledger.offices.create(settings(office_id, **invoiced), actor=WHO, now_ms=NOW)
        ids = ["old-asked/1", "old/1", "under-way/1", "failed/3", "not-needed/1", "closed/1"]
        await raise_triggers(ledger, *map(trigger, ids))
        begun = {each.refill_id: each for each in await refills.begin(ids[1:], now_ms=NOW + 1)}
        for refill_id, status in (
            ("old/1", RefillStatus.FAILED),
            ("not-needed/1", RefillStatus.NOT_NEEDED),
            ("closed/1", RefillStatus.FAILED),
        ):
            await end(refills, begun[refill_id], status)
        await end(refills, begun["failed/3"], RefillStatus.FAILED, "the card has expired")
        await ledger.credits.new_credit(credit(office_id="closed", refill_id="closed/1"), actor=WHO, now_ms=NOW)
        found = {each.refill_id: each for each in await of.newest()}
        # What waits is seen among the newest triggers, what is asked for or under way however old it is.
        assert list(found) == ["failed/3", "under-way/1", "old-asked/1"]
        failed = found["failed/3"]
        assert (failed.stage, failed.number, failed.attempt, failed.changed_at) == (RefillStage.FAILED, 3, 1, NOW + 9)
        assert failed.last_failure == RefillFailure(
            "failed/3", RefillStatus.FAILED, 1, 50_000_000, NOW + 9, cause="the card has expired"
        )
        assert (found["under-way/1"].stage, found["under-way/1"].last_failure) == (RefillStage.INTENDED, None)
        assert (found["old-asked/1"].stage, found["old-asked/1"].changed_at) == (RefillStage.ASKED, NOW)
        assert await of.last_failure("failed") == failed.last_failure
        for office_id in ("under-way", "not-needed", "closed", "old-asked", "o1", "nobody"):
            assert await of.last_failure(office_id) is None
        assert [each.refill_id for each in await of.newest(1)] == ["failed/3"]
        assert await of.newest(company_id="nobody") == []
        assert await of.newest(office_ids=set()) == []
        assert [each.refill_id for each in await of.newest(company_id="c1", office_ids={"under-way"})] == [
            "under-way/1"
        ]

    with_ledger(ledger_url, scenario)
