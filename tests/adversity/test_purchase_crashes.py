"""A crash at every step of a purchase, of a card and of a chargeback: a fresh start finishes each exactly once.

A crash is an exception at one step, before or after it was done, after which the whole back is thrown away: what a new
one knows is what SQL, the store and the provider know.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from gateway.domain.payment import ChargePurpose
from gateway.payments.provider import PaymentEvent, PaymentEventKind
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, Fault, bearer, running_back
from tests.support.balances import ManualClock
from tests.support.billing import (
    DOLLARS,
    add_card,
    answer,
    buy,
    card_charges,
    confirmed_card,
    finish,
    small_charge,
    taken_from_cards,
)
from tests.support.money_steps import PURCHASE
from tests.support.servers import StoreServer

pytestmark = pytest.mark.slow  # Short each, and many.


class Crash(Exception):
    """The process died here."""


async def crash(back: BackUnderTest, step: str, done: bool, doing: Any) -> None:
    """Do something that dies at a step."""
    fault = Fault(*PURCHASE[step](back), done=done, error=Crash())
    with pytest.raises(grpc.aio.AioRpcError):
        await doing
    assert fault.has_struck


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", PURCHASE)
async def test_a_purchase_that_died_is_finished_once(
    valkey: StoreServer, tmp_path: Path, step: str, done: bool
) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await crash(back, step, done, buy(back, card))
    was_written = step != "the purchase and its charge are written down" or done
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        clock.move(60)
        while await back.back.background.billing.turn():
            pass
        while await back.back.background.applier.turn():
            pass
        succeeded = [each for each in card_charges(back) if each.status == "SUCCEEDED"]
        assert len(succeeded) == was_written
        assert (await back.get_office()).balance_micros == 50 * DOLLARS * was_written
        # The caller never heard: a repeat tells, or buys what never began.
        bought = await buy(back, card)
        assert (bought.replayed, bought.balance_micros) == (was_written, 50 * DOLLARS)
        assert taken_from_cards(back) == 50 * DOLLARS
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1
        await finish(back)
        assert taken_from_cards(back) == 50 * DOLLARS
        await back.store_is_as_credits_say()


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", [step for step in PURCHASE if "written down" not in step])
async def test_a_repeat_finishes_what_no_loop_has_finished_yet(
    valkey: StoreServer, tmp_path: Path, step: str, done: bool
) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await crash(back, step, done, buy(back, card))
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        clock.move(60)
        bought = await buy(back, card)
        assert (bought.replayed, bought.balance_micros) == (True, 50 * DOLLARS)
        await finish(back)
        assert taken_from_cards(back) == 50 * DOLLARS
        await back.store_is_as_credits_say()


async def test_a_purchase_that_nobody_waits_for_any_more_is_not_charged_late(
    valkey: StoreServer, tmp_path: Path
) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await crash(back, "the card is charged", False, buy(back, card))
    clock.move(7_200)
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await finish(back)
        assert taken_from_cards(back) == 0
        with pytest.raises(grpc.aio.AioRpcError, match="new idempotency_key"):
            await buy(back, card)
        assert (await buy(back, card, key="k2")).balance_micros == 50 * DOLLARS


async def test_a_process_that_was_thought_dead_charges_nothing_more(valkey: StoreServer, tmp_path: Path) -> None:
    """It wrote the charge down, slept, and goes on while another process has looked the charge up meanwhile."""
    async with running_back(valkey, tmp_path) as sleeper:
        await sleeper.open_office()
        card = await confirmed_card(sleeper)
        charge = sleeper.back.provider.charge
        asleep, go_on = asyncio.Event(), asyncio.Event()

        async def charge_late(attempt: Any) -> Any:
            asleep.set()
            await go_on.wait()
            return await charge(attempt)

        sleeper.back.provider.charge = charge_late  # type: ignore[method-assign]  # a provider that is slow to ask
        buying = asyncio.create_task(buy(sleeper, card))
        await asleep.wait()
        async with running_back(valkey, tmp_path, flush=False, clock=sleeper.clock) as other:
            sleeper.clock.move(60)
            bought = await buy(other, card)
            assert bought.balance_micros == 50 * DOLLARS
            go_on.set()
            # It is told the truth all the same: the other's attempt is the one that counts.
            assert (await buying).transaction_id == bought.transaction_id
            await finish(other)
            assert taken_from_cards(other) == 50 * DOLLARS
            await other.store_is_as_credits_say()


@pytest.mark.parametrize("step", ["the card is charged", "the outcome is recorded"])
async def test_two_gateways_finish_one_purchase(valkey: StoreServer, tmp_path: Path, step: str) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await crash(back, step, False, buy(back, card))
    async with AsyncExitStack() as stack:
        clock.move(60)
        backs = [
            await stack.enter_async_context(running_back(valkey, tmp_path, flush=False, clock=clock)) for _ in range(2)
        ]
        turns = [back.back.background.billing.turn() for back in backs for _ in range(3)]
        answers = await asyncio.gather(*(buy(back, card) for back in backs), *turns, return_exceptions=True)
        # Whoever is not told of the credit is told that nobody knows yet: never that nothing was charged.
        for each in answers:
            if isinstance(each, BaseException):
                assert isinstance(each, grpc.aio.AioRpcError), each
                assert each.code() is grpc.StatusCode.UNAVAILABLE, each
        clock.move(60)
        await asyncio.gather(*(back.back.background.billing.turn() for back in backs))
        await asyncio.gather(*(back.back.background.applier.turn() for back in backs))
        assert (await buy(backs[0], card)).balance_micros == 50 * DOLLARS
        assert taken_from_cards(backs[0]) == 50 * DOLLARS
        assert (await backs[0].ledger.credits.total(OFFICE)).last_number == 1
        await backs[0].store_is_as_credits_say()


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "step",
    [("provider", "add_payment_method"), ("methods", "complete"), ("provider", "charge"), ("charges", "decide")],
    ids=lambda step: step[1],
)
async def test_a_card_whose_adding_died_is_added_once(
    valkey: StoreServer, tmp_path: Path, step: tuple[str, str], done: bool
) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        part = back.back.provider if step[0] == "provider" else getattr(back.back.billing, step[0])
        Fault(part, step[1], done=done, error=Crash())
        with pytest.raises(grpc.aio.AioRpcError):
            await add_card(back)
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        clock.move(60)
        added = await add_card(back)
        [listed] = (
            await back.stub.ListPaymentMethods(
                pb.ListPaymentMethodsRequest(office_id=OFFICE),
                metadata=bearer(),
            )
        ).payment_methods
        assert listed == added
        charge = await small_charge(back, added.payment_method_id)
        assert (await answer(back, added.payment_method_id, charge.amount_micros)).confirmed
        await finish(back)
        made = [each for each in card_charges(back, ChargePurpose.CONFIRMATION) if each.status == "SUCCEEDED"]
        assert [each.is_given_back for each in made] == [True]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["record", "number", "apply_credit", "mark_applied", "mark_taken"])
async def test_a_chargeback_that_died_is_taken_once(valkey: StoreServer, tmp_path: Path, step: str, done: bool) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        await buy(back, await confirmed_card(back))
        await back.spend(20 * DOLLARS)
        [charged] = card_charges(back)
        charge = await back.back.billing.charges.get(charged.idempotency_key)
        part: object = {"apply_credit": back.store, "mark_applied": back.back.credits}.get(
            step, back.back.billing.chargebacks
        )
        Fault(part, step, done=done, error=Crash())
        event = PaymentEvent("evt_1", PaymentEventKind.CHARGE_DISPUTED, 0, charge.provider_charge_id)
        with pytest.raises(Crash):  # noqa: PT012  # wherever it dies
            await back.back.billing.events.on_event(event)
            await back.back.background.billing.turn()
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await back.back.billing.events.on_event(event)
        await finish(back)
        assert await back.back.billing.chargebacks.owed_micros(OFFICE) == 20 * DOLLARS
        assert (await back.get_office()).balance_micros == 0
        assert (await back.ledger.credits.total(OFFICE)).last_number == 2
