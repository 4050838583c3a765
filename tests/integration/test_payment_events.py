"""Webhooks: each handled once, in any order; and what a chargeback does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.billing.events import EventNotYet
from gateway.domain.credit import CreditKind
from gateway.domain.payment import ChargePurpose
from gateway.ledger.charges import Charge
from gateway.ledger.paging import PageRequest
from gateway.payments.provider import PaymentEvent, PaymentEventKind
from gateway.payments.sandbox import SandboxProvider
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, bearer, refused, running_back
from tests.support.billing import DOLLARS, add_card, buy, card_charges, confirmed_card, finish, small_charge
from tests.support.sandbox import confirmation_in
from tests.support.servers import StoreServer

ME = bearer()
DISPUTED = PaymentEventKind.CHARGE_DISPUTED


async def deliver(back: BackUnderTest) -> list[PaymentEvent]:
    """Have the webhooks that are due delivered to the receiver of the route; returns them."""
    sandbox = back.back.provider
    assert isinstance(sandbox, SandboxProvider)
    events: list[PaymentEvent] = []

    async def receive(body: bytes, signature: str) -> None:
        await back.back.webhooks.receive(body, signature)
        events.append(sandbox.parse_webhook(body, signature, now_ms=back.clock.now_ms()))

    while await sandbox.send_webhooks(receive):
        pass
    return events


async def charge_of(back: BackUnderTest, purpose: ChargePurpose = ChargePurpose.PURCHASE) -> Charge:
    return await back.back.billing.charges.get(card_charges(back, purpose)[-1].idempotency_key)


async def bought(back: BackUnderTest, *, spent: int = 0, token: str = "tok_visa", **refill: Any) -> Charge:
    """An office that has bought 50.00, spent some of it, and has its refill on."""
    await back.open_office()
    card = await confirmed_card(back, token)
    await buy(back, card)
    await back.refill(payment_method_id=card, threshold_micros=1, **refill)
    if spent:
        await back.spend(spent)
    return await charge_of(back)


def event(kind: PaymentEventKind, charge: Charge, event_id: str = "evt_1", **fields: Any) -> PaymentEvent:
    values: dict[str, Any] = {"occurred_at": 0, "charge_id": charge.provider_charge_id} | fields
    return PaymentEvent(event_id, kind, **values)


async def test_a_confirmation_is_heard_of_by_webhook(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        sandbox = back.back.provider
        assert isinstance(sandbox, SandboxProvider)
        await back.open_office()
        added = await add_card(back, "tok_authentication_required")
        await sandbox.answer_confirmation(confirmation_in(added.confirmation_url), approve=True)
        await deliver(back)
        card = await confirmed_card(back, "tok_authentication_required")
        found = await refused(StatusCode.FAILED_PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, card))
        await sandbox.answer_confirmation(confirmation_in(found.metadata["confirmation_url"]), approve=True)
        [told] = await deliver(back)
        assert told.kind is PaymentEventKind.CHARGE_SUCCEEDED
        await back.back.background.applier.turn()
        assert (await back.get_office()).balance_micros == 50 * DOLLARS
        for _ in range(3):
            await back.back.billing.events.on_event(told)
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1


async def test_a_webhook_is_believed_only_in_that_something_happened(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        added = await add_card(back, "tok_authentication_required")
        charge = await small_charge(back, added.payment_method_id)
        # One that says so although nobody has confirmed anything yet, and one that comes too late.
        await back.back.billing.events.on_event(event(PaymentEventKind.CHARGE_SUCCEEDED, charge))
        assert not (await small_charge(back, added.payment_method_id)).is_decided
        card = await confirmed_card(back)
        await buy(back, card)
        await back.back.billing.events.on_event(event(PaymentEventKind.CHARGE_FAILED, await charge_of(back), "evt_2"))
        assert (await back.get_office()).balance_micros == 50 * DOLLARS
        await back.store_is_as_credits_say()


async def test_events_of_others_and_of_no_kind(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for number, kind in enumerate(PaymentEventKind):
            other = PaymentEvent(f"evt_{number}", kind, 0, "ch_of_others", "another-installation/pur_1/1", 1, "USD")
            await back.back.billing.events.on_event(other)
        assert (await back.get_office()).state == pb.OFFICE_STATE_ACTIVE
        assert (await back.ledger.credits.total(OFFICE)).last_number == 0


@pytest.mark.parametrize(
    ("spent", "taken", "owed"),
    [(0, 50 * DOLLARS, 0), (20 * DOLLARS, 30 * DOLLARS, 20 * DOLLARS), (50 * DOLLARS, 0, 50 * DOLLARS)],
)
async def test_a_chargeback(valkey: StoreServer, tmp_path: Path, spent: int, taken: int, owed: int) -> None:
    async with running_back(valkey, tmp_path) as back:
        charge = await bought(back, spent=spent, amount_micros=100 * DOLLARS)
        for _ in range(2):
            await back.back.billing.events.on_event(event(DISPUTED, charge))
        # Other words for the same: the provider may send it as another event.
        await back.back.billing.events.on_event(event(DISPUTED, charge, "evt_2"))
        await finish(back)
        office = await back.get_office()
        assert (office.state, office.refill.state) == (pb.OFFICE_STATE_SUSPENDED, pb.REFILL_STATE_OFF)
        assert office.balance_micros == 50 * DOLLARS - spent - taken == 0
        assert await back.back.billing.chargebacks.owed_micros(OFFICE) == owed
        kinds = [
            (each.kind, each.amount_micros) for each in (await back.ledger.credits.list(PageRequest(), OFFICE)).items
        ]
        assert kinds[:-1] == ([(CreditKind.CHARGEBACK, -taken)] if taken else [])
        actions = [change.action for change in await back.audit(f"office:{OFFICE}")]
        assert actions[-3:] == ["office.charge_back", "chargeback.create", "chargeback.take"]
        # An operator who lets it go on is not overruled by the same event.
        await back.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=OFFICE), metadata=ME)
        await back.back.billing.events.on_event(event(DISPUTED, charge, "evt_3"))
        await finish(back)
        assert (await back.get_office()).state == pb.OFFICE_STATE_ACTIVE


async def test_a_chargeback_takes_nothing_from_live_calls(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        charge = await bought(back)
        version = (await back.till.office(OFFICE)).settings.version
        await back.till.authorize("c1", office_id=OFFICE, version=version)
        held = (await back.get_office()).reserved_micros
        assert held
        await back.back.billing.events.on_event(event(DISPUTED, charge))
        await finish(back, turns=1)
        office = await back.get_office()
        assert (office.balance_micros, office.available_micros) == (held, 0)
        assert await back.back.billing.chargebacks.owed_micros(OFFICE) == held


async def test_two_gateways_take_one_chargeback(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        charge = await bought(back, spent=20 * DOLLARS)
        async with running_back(valkey, tmp_path, flush=False, clock=back.clock) as other:
            both = (back, other)
            await asyncio.gather(
                *(each.back.billing.events.on_event(event(DISPUTED, charge, f"evt_{n}")) for n, each in enumerate(both))
            )
            for _ in range(3):
                await asyncio.gather(*(each.back.background.billing.turn() for each in both), return_exceptions=True)
            assert await back.back.billing.chargebacks.owed_micros(OFFICE) == 20 * DOLLARS
            assert (await back.ledger.credits.total(OFFICE)).last_number == 2
            assert (await back.get_office()).balance_micros == 0


async def test_a_chargeback_of_a_charge_that_nobody_knows_the_end_of(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await refused(StatusCode.UNAVAILABLE, "CHARGE_UNDECIDED", add_card(back, "tok_unknown_1"))
        charge = await charge_of(back, ChargePurpose.CONFIRMATION)
        disputed = event(DISPUTED, charge, charge_id="ch_1", metadata={"charge_key": charge.charge_key})
        with pytest.raises(EventNotYet):
            await back.back.billing.events.on_event(disputed)
        await back.back.billing.events.on_event(disputed)  # Sent again, and now it is known.
        await finish(back)
        assert (await back.get_office()).state == pb.OFFICE_STATE_SUSPENDED
        assert await back.back.billing.chargebacks.owed_micros(OFFICE) == charge.amount_micros
        assert (await back.ledger.credits.total(OFFICE)).last_number == 0


async def test_the_sandbox_disputes_by_itself(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await bought(back, token="tok_disputed")
        back.clock.move(30 * 86_400)
        kinds = [each.kind for each in await deliver(back)]
        assert DISPUTED in kinds
        await finish(back)
        assert (await back.get_office()).state == pb.OFFICE_STATE_SUSPENDED


async def test_a_small_charge_given_back_at_the_providers(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        added = await add_card(back)
        charge = await small_charge(back, added.payment_method_id)
        await back.back.billing.events.on_event(event(PaymentEventKind.CHARGE_REFUNDED, charge))
        assert (await small_charge(back, added.payment_method_id)).given_back_at is not None
        # That of a purchase is for people to think about: the balance stays.
        card = await confirmed_card(back, "tok_mastercard")
        await buy(back, card)
        refunded = event(PaymentEventKind.CHARGE_REFUNDED, await charge_of(back), "evt_2")
        await back.back.billing.events.on_event(refunded)
        assert (await back.get_office()).balance_micros == 50 * DOLLARS
