"""Automatic refill by card and on an invoice, end to end: a dip in a real store, journal, sandbox, credit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.payment import RefillStatus
from gateway.domain.vocabulary import RefillState
from gateway.payments.sandbox import SandboxProvider
from gateway.store.codes import Code
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, bearer, running_back
from tests.support.billing import DOLLARS, confirmed_card
from tests.support.refills import (
    attempts,
    dip,
    pay,
    pay_in_spite_of_the_store,
    refill_charges,
    refill_of,
    status_of,
    told,
    wait_out,
    with_refill,
)
from tests.support.sandbox import confirmation_in
from tests.support.servers import StoreServer

ME = bearer()


async def test_a_dip_is_paid_for_by_card_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        await dip(back)
        await pay(back)
        office = await back.till.office()
        assert (office.balance_micros, office.refill_state, office.refill_number) == (
            54 * DOLLARS,
            RefillState.ARMED,
            1,
        )
        assert attempts(back) == [(f"{OFFICE}/1/1", "SUCCEEDED")]
        assert refill_charges(back)[0].amount_micros == 50 * DOLLARS
        assert await told(back) == ["REFILL_DONE"]
        # Nothing is left to do, however often one looks.
        for _ in range(3):
            await pay(back)
        assert len(refill_charges(back)) == 1
        # The next dip is the next refill.
        await dip(back, message_id="again")
        await pay(back)
        assert attempts(back) == [(f"{OFFICE}/1/1", "SUCCEEDED"), (f"{OFFICE}/2/1", "SUCCEEDED")]
        total = await back.ledger.credits.total(OFFICE)
        assert (total.last_number, total.unconfirmed) == (3, 0)


async def test_a_thousand_debits_in_one_dip_make_one_charge(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        version = (await back.till.office()).settings.version
        sent = await asyncio.gather(*(back.till.message(6_000, f"m{n}", version=version) for n in range(1_000)))
        assert {grant.code for grant in sent} == {Code.FUNDED}
        await pay(back)
        assert attempts(back) == [(f"{OFFICE}/1/1", "SUCCEEDED")]
        assert (await back.till.office()).balance_micros == 54 * DOLLARS


async def test_a_message_that_costs_more_than_there_is_is_refilled_for(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, balance=6 * DOLLARS)
        version = (await back.till.office()).settings.version
        assert (await back.till.message(7 * DOLLARS, "m", version=version)).code is Code.INSUFFICIENT_FUNDS
        await pay(back)
        assert (await back.till.message(7 * DOLLARS, "m", version=version)).code is Code.FUNDED
        assert len(refill_charges(back)) == 1


async def test_funds_that_came_otherwise_make_the_charge_needless(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        await dip(back)
        await back.journaler.turn()
        await back.adjust(5 * DOLLARS, "by hand")
        await pay(back)
        assert refill_charges(back) == []
        assert await status_of(back) is RefillStatus.NOT_NEEDED
        assert await back.till.refill_state() is RefillState.ARMED
        # Nothing was charged, so the next dip is the same refill.
        await dip(back, message_id="again")
        await pay(back)
        assert attempts(back) == [(f"{OFFICE}/1/2", "SUCCEEDED")]


async def test_a_refill_that_was_turned_off_before_it_was_claimed_is_not_charged(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        card = await with_refill(back)
        await dip(back)
        await back.journaler.turn()
        off = pb.SetAutoRefillRequest(office_id=OFFICE, payment_method_id=card)
        await back.stub.SetAutoRefill(off, metadata=ME)
        await pay(back)
        assert refill_charges(back) == []
        assert await status_of(back) is RefillStatus.NOT_NEEDED


async def test_without_a_card_somebody_outside_pays(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10 * DOLLARS)
        await back.refill()
        await dip(back)
        await pay(back)
        assert await back.back.billing.refills.find(f"{OFFICE}/1") is None
        assert await back.till.refill_state() is RefillState.PENDING
        await back.adjust(50 * DOLLARS, "outside", refill_id=f"{OFFICE}/1")
        await pay(back)
        assert refill_charges(back) == []
        assert (await back.till.office()).balance_micros == 54 * DOLLARS


async def test_the_third_decline_in_a_row_turns_it_off_until_somebody_mends_it(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, "tok_insufficient_funds")
        await dip(back)
        await pay(back)
        for pause in (600, 3_600):
            office = await back.till.office()
            assert (office.refill_state, await status_of(back)) == (RefillState.WAITING, RefillStatus.FAILED)
            assert office.refill_until_ms == back.clock.now_ms() + pause * 1_000
            await pay(back)  # Not before its time.
            await wait_out(back)
            await pay(back)
        assert await back.till.refill_state() is RefillState.OFF
        keys = [f"{OFFICE}/1/{attempt}" for attempt in (1, 2, 3)]
        assert attempts(back) == [(key, "DECLINED") for key in keys]
        assert await told(back) == ["REFILL_FAILED", "REFILL_FAILED", "REFILL_OFF"]
        assert (await back.till.office()).balance_micros == 4 * DOLLARS
        # Another card: asked for at once, with the same id and a key of its own.
        await back.refill(payment_method_id=await confirmed_card(back, "tok_mastercard"))
        await pay(back)
        assert attempts(back)[3:] == [(f"{OFFICE}/1/4", "SUCCEEDED")]
        office = await back.till.office()
        assert (office.balance_micros, office.refill_failures) == (54 * DOLLARS, 0)


async def test_a_card_that_cannot_pay_any_more_is_a_failure_without_a_charge(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        back.clock.move(20 * 365 * 86_400)  # It expires.
        await dip(back)
        await pay(back)
        assert refill_charges(back) == []
        office = await back.till.office()
        assert (office.refill_state, office.refill_failures) == (RefillState.WAITING, 1)
        assert await told(back) == ["REFILL_FAILED"]


async def test_what_never_reached_the_card_is_tried_again_and_not_counted(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, "tok_processing_error")
        await dip(back)
        for attempt in range(1, 5):
            await pay(back)
            office = await back.till.office()
            assert (office.refill_state, office.refill_failures) == (RefillState.WAITING, 0)
            assert (await refill_of(back)).attempt == attempt
            await wait_out(back)
        assert await told(back) == []


@pytest.mark.parametrize(
    ("token", "credited"), [("tok_reply_lost", True), ("tok_unknown_3", True), ("tok_request_lost", False)]
)
async def test_an_unknown_outcome_is_looked_up_and_never_repeated(
    valkey: StoreServer, tmp_path: Path, token: str, credited: bool
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, token)
        await dip(back)
        await pay(back)
        assert await status_of(back) is RefillStatus.CHARGING
        for _ in range(6):
            # However often it is asked for: while nobody knows, there is no other attempt.
            back.clock.move(1_000)
            await back.till.message(1, f"m{back.clock.now_ms()}", version=(await back.till.office()).settings.version)
            await back.back.background.billing.turn()
            await pay(back)
        succeeded = [key for key, status in attempts(back) if status == "SUCCEEDED"]
        assert len(succeeded) == credited
        if credited:
            assert succeeded == [f"{OFFICE}/1/1"]
            assert await status_of(back) is RefillStatus.CREDITED
            assert await back.till.refill_state() is RefillState.ARMED
        else:
            assert await back.till.refill_state() in (RefillState.WAITING, RefillState.PENDING)
            assert (await back.till.office()).refill_failures == 0


@pytest.mark.parametrize("approve", [True, False])
async def test_a_bank_that_asks_its_customer_is_waited_for(valkey: StoreServer, tmp_path: Path, approve: bool) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, "tok_authentication_required")
        await dip(back)
        await pay(back)
        assert await told(back) == ["CONFIRMATION_NEEDED"]
        for _ in range(3):
            back.clock.move(60)
            await back.back.background.billing.turn()
            await pay(back)
        assert await status_of(back) is RefillStatus.CHARGING
        provider = back.back.provider
        assert isinstance(provider, SandboxProvider)
        [charge] = await back.back.billing.charges.undecided(10, now_ms=back.clock.now_ms() + 10**9)
        await provider.answer_confirmation(confirmation_in(charge.confirmation_url), approve=approve)
        while await provider.send_webhooks(back.back.webhooks.receive):
            pass
        await pay(back)
        if approve:
            assert (await back.till.office()).balance_micros == 54 * DOLLARS
            assert await told(back) == ["CONFIRMATION_NEEDED", "REFILL_DONE"]
        else:
            assert (await back.till.office()).refill_failures == 1
            assert await told(back) == ["CONFIRMATION_NEEDED", "REFILL_FAILED"]
        assert len(refill_charges(back)) == 1


async def test_the_days_refills_are_capped_by_the_offices_own_day(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, refills_a_day=2) as back:
        await back.open_office(balance=10 * DOLLARS, time_zone="Pacific/Auckland")
        await back.refill(payment_method_id=await confirmed_card(back))
        for number in (1, 2, 3):
            await dip(back, message_id=f"dip{number}")
            await pay(back)
        assert len(refill_charges(back)) == 2
        office = await back.till.office()
        assert (office.refill_state, office.refill_failures) == (RefillState.WAITING, 0)
        assert await status_of(back, f"{OFFICE}/3") is RefillStatus.CAPPED
        # The tests begin at noon UTC on June 16, which is midnight in Auckland: a day later it goes on.
        assert office.refill_until_ms == back.clock.now_ms() + 86_400_000
        assert (await told(back))[-1] == "REFILL_CAPPED"
        await wait_out(back)
        await pay(back)
        assert len(refill_charges(back)) == 3
        assert (await back.till.office()).balance_micros == 54 * DOLLARS


async def test_an_invoiced_office_is_credited_at_once_and_pays_later(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10 * DOLLARS, payment_terms=pb.PAYMENT_TERMS_INVOICE)
        await back.refill()
        await dip(back)
        await pay(back)
        assert (await back.till.office()).balance_micros == 54 * DOLLARS
        assert refill_charges(back) == []
        listed = await back.stub.ListInvoices(pb.ListInvoicesRequest(office_id=OFFICE), metadata=ME)
        [invoice] = listed.invoices
        assert (invoice.month, invoice.total_micros) == ("2025-06", 50 * DOLLARS)
        assert await told(back) == ["REFILL_DONE"]


async def test_a_store_that_cannot_write_is_not_charged_for_however_often_it_asks(
    valkey: StoreServer, tmp_path: Path
) -> None:
    """A store that comes back read-only while refill fires again and again: at most one charge, and one credit."""
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        await dip(back)
        await back.journaler.turn()

        async def read_only(is_so: bool) -> None:
            command: tuple[Any, ...] = ("REPLICAOF", "127.0.0.1", "1") if is_so else ("REPLICAOF", "NO", "ONE")
            await back.till.connection.ask(*command)

        await read_only(True)
        try:
            for _ in range(20):
                back.clock.move(600)
                await pay_in_spite_of_the_store(back)
            assert refill_charges(back) == []
        finally:
            await read_only(False)
        for _ in range(3):
            await pay(back)
        assert attempts(back) == [(f"{OFFICE}/1/1", "SUCCEEDED")]
        assert (await back.till.office()).balance_micros == 54 * DOLLARS


async def test_a_store_that_turns_read_only_behind_the_charge_gets_its_credit_later_and_once(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        await dip(back)
        await back.journaler.turn()
        charge = back.back.provider.charge

        async def charged_and_then(attempt: Any) -> Any:
            outcome = await charge(attempt)
            await back.till.connection.ask("REPLICAOF", "127.0.0.1", "1")
            return outcome

        setattr(back.back.provider, "charge", charged_and_then)  # noqa: B010
        for _ in range(20):
            back.clock.move(600)
            await pay_in_spite_of_the_store(back)
        await back.till.connection.ask("REPLICAOF", "NO", "ONE")
        await back.back.background.applier.turn()
        for _ in range(3):
            await pay(back)
        assert attempts(back) == [(f"{OFFICE}/1/1", "SUCCEEDED")]
        assert (await back.till.office()).balance_micros == 54 * DOLLARS
        assert await back.till.refill_state() is RefillState.ARMED


async def test_somebody_outside_who_is_faster_costs_nobody_a_credit(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back)
        await dip(back)
        await back.journaler.turn()
        charge = back.back.provider.charge

        async def charge_late(attempt: Any) -> Any:
            await back.adjust(50 * DOLLARS, "outside", refill_id=f"{OFFICE}/1")
            return await charge(attempt)

        setattr(back.back.provider, "charge", charge_late)  # noqa: B010
        await pay(back)
        assert (await back.till.office()).balance_micros == 104 * DOLLARS
        assert await status_of(back) is RefillStatus.CREDITED


async def test_two_gateways_pay_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with (
        running_back(valkey, tmp_path) as one,
        running_back(valkey, tmp_path, flush=False, clock=one.clock) as other,
    ):
        names = [f"o{n}" for n in range(12)]
        for name in names:
            await one.open_office(name, balance=10 * DOLLARS)
            card = await confirmed_card(one, "tok_visa", name)
            await one.refill(name, payment_method_id=card)
            await dip(one, name)
        await one.journaler.turn()
        turns = [each.back.background.refiller.turn() for each in (one, other) for _ in range(3)]
        await asyncio.gather(*turns)
        await asyncio.gather(one.back.background.applier.turn(), other.back.background.applier.turn())
        assert sorted(attempts(one)) == sorted((f"{name}/1/1", "SUCCEEDED") for name in names)
        for name in names:
            assert (await one.till.office(name)).balance_micros == 54 * DOLLARS


async def test_a_failure_that_the_store_has_forgotten_is_asked_for_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await with_refill(back, "tok_declined_after_1")
        await dip(back)
        await pay(back)
        await dip(back, message_id="again")
        pending = await back.till.connection.ask("GET", back.till.cached().keys.office)
        await pay(back)
        assert await status_of(back, f"{OFFICE}/2") is RefillStatus.FAILED
        # A failover to a replica that had not heard of the report yet.
        await back.till.connection.ask("SET", back.till.cached().keys.office, pending)
        for _ in range(2):
            await back.back.background.waker.turn()
            await pay(back)
            assert (await refill_of(back, f"{OFFICE}/2")).attempt == 1
            back.clock.move(20)
        await back.back.background.waker.turn()
        await pay(back)
        assert [key for key, _ in attempts(back)] == [f"{OFFICE}/1/1", f"{OFFICE}/2/1", f"{OFFICE}/2/2"]
        assert await back.till.refill_state() is RefillState.WAITING


async def test_what_somebody_outside_is_to_pay_is_not_waited_for_with_the_write_lock(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10 * DOLLARS)
        await back.refill()
        await dip(back)
        await pay(back)
        await back.back.background.waker.turn()
        back.clock.move(60)
        async with back.ledger.database.write(), asyncio.timeout(4):
            await back.back.background.waker.turn()
        assert await back.till.refill_state() is RefillState.PENDING


async def test_who_set_it_and_when_is_on_record(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        card = await with_refill(back)
        change = (await back.audit(f"office:{OFFICE}"))[-1]
        assert (change.action, change.at) == ("office.set_auto_refill", back.clock.now_ms())
        assert change.actor == "token:settings"
        assert card in str(change.after)
        assert card not in str(change.before)
        await dip(back)
        await pay(back)
        assert [each.action for each in await back.audit(f"refill:{OFFICE}/1")] == [
            "refill.begin", "refill.charge", "refill.credit",
        ]  # fmt: skip
