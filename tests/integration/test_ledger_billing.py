"""Charges, cards, purchases, invoices and chargebacks in SQL: on both databases, and with many writers at once."""

import asyncio
import dataclasses
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.payment import ChargePurpose, ChargeStatus, PurchaseStatus
from gateway.domain.vocabulary import OfficeState, PaymentTerms
from gateway.errors import FailedPrecondition
from gateway.ledger.chargebacks import Chargebacks, ProviderEvents
from gateway.ledger.charges import SENDING_MS, Charge, Charges, Consequence, Decision, NewCharge, Verdict
from gateway.ledger.errors import (
    CardLocked,
    ChargeContradicted,
    IdempotencyKeyReused,
    InvoiceNotFound,
    LedgerBroken,
    PaymentMethodNotFound,
)
from gateway.ledger.invoices import InvoiceId, Invoices
from gateway.ledger.paging import PageRequest
from gateway.ledger.payment_methods import AddedCard, PaymentMethod, PaymentMethods, confirmation_decided
from gateway.ledger.purchases import PurchaseRequest, Purchases, purchase_decided
from tests.support.ledger import NOW, WHO, Ledger, settings, with_ledger, with_office

CARD = AddedCard("cus_1", "m_1", "visa", "4242", 12, 2040, "fingerprint")
SUCCEEDED = Verdict(ChargeStatus.SUCCEEDED, "ch_1")
NEVER_MADE = Verdict(ChargeStatus.NOT_CHARGED, decline_code="not_found", can_retry=True)
CONSEQUENCES: dict[ChargePurpose, Consequence] = {
    ChargePurpose.PURCHASE: purchase_decided,
    ChargePurpose.CONFIRMATION: confirmation_decided,
}


def charges_of(ledger: Ledger) -> Charges:
    return Charges(ledger.database, CONSEQUENCES)


async def with_card(ledger: Ledger, token: str = "t1", office_id: str = "o1", **card: Any) -> PaymentMethod:
    """A confirmed card; its small charge is not given back yet."""
    methods = PaymentMethods(ledger.database, "sandbox")
    added = await unconfirmed(ledger, token, office_id, **card)
    answer = await methods.answer(office_id, added.payment_method_id, 770_000, actor=WHO, now_ms=NOW)
    assert answer.is_right
    return answer.method


async def unconfirmed(ledger: Ledger, token: str = "t1", office_id: str = "o1", **card: Any) -> PaymentMethod:
    """A card whose small charge went through."""
    methods = PaymentMethods(ledger.database, "sandbox")
    begun = await methods.begin(office_id, token, token, actor=WHO, now_ms=NOW)
    kept = dataclasses.replace(CARD, **card)
    intended = await methods.complete(begun, kept, small_amount_micros=770_000, actor=WHO, now_ms=NOW)
    await charges_of(ledger).decide(
        intended.charge.charge_key, Verdict(ChargeStatus.SUCCEEDED, f"ch_{token}"), now_ms=NOW
    )
    return await methods.of_office(office_id, begun.payment_method_id)


def request(payment_method_id: str, key: str = "k1", amount_micros: int = 50_000_000) -> PurchaseRequest:
    return PurchaseRequest("o1", amount_micros, payment_method_id, key)


async def purchase(ledger: Ledger, payment_method_id: str, key: str = "k1") -> Charge:
    new = await Purchases(ledger.database, "sandbox").begin(request(payment_method_id, key), actor=WHO, now_ms=NOW)
    charge = await charges_of(ledger).latest(ChargePurpose.PURCHASE, new.purchase.purchase_id)
    assert charge is not None
    return charge


def test_one_key_is_one_purchase_however_many_ask(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        card = (await with_card(ledger)).payment_method_id
        purchases = Purchases(ledger.database, "sandbox")
        made = await asyncio.gather(*(purchases.begin(request(card), actor=WHO, now_ms=NOW) for _ in range(12)))
        assert [new.replayed for new in made].count(False) == 1
        assert len({new.purchase.purchase_id for new in made}) == 1
        with pytest.raises(IdempotencyKeyReused):
            await purchases.begin(request(card, amount_micros=1), actor=WHO, now_ms=NOW)
        charge = await charges_of(ledger).find(ChargePurpose.PURCHASE, made[0].purchase.purchase_id, 1)
        assert charge is not None
        assert charge.charge_key.endswith(f"/{made[0].purchase.purchase_id}/1")
        assert (charge.status, charge.next_look_at) == (ChargeStatus.INTENDED, NOW + SENDING_MS)

    with_ledger(ledger_url, scenario)


def test_a_charge_is_decided_once_with_its_credit(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        charges = charges_of(ledger)
        decided = await asyncio.gather(
            *(charges.decide(charge.charge_key, SUCCEEDED, now_ms=NOW + n) for n in range(12))
        )
        assert len({decision.charge.decided_at for decision in decided}) == 1
        found = await Purchases(ledger.database, "sandbox").get(charge.subject_id)
        assert (found.status, found.credit_number) == (PurchaseStatus.PAID, 1)
        credit = await ledger.credits.get("o1", 1)
        assert (credit.amount_micros, credit.idempotency_key) == (50_000_000, f"tg:purchase:{found.purchase_id}")
        assert (await ledger.credits.total("o1")).last_number == 1

    with_ledger(ledger_url, scenario)


def test_what_follows_is_written_with_the_outcome_or_neither(ledger_url: str) -> None:
    async def broken(session: AsyncSession, charge: Charge, now_ms: int) -> Charge | None:
        await purchase_decided(session, charge, now_ms)
        raise LedgerBroken("the test says so")

    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        with pytest.raises(LedgerBroken):
            await Charges(ledger.database, {ChargePurpose.PURCHASE: broken}).decide(
                charge.charge_key, SUCCEEDED, now_ms=NOW
            )
        assert await charges_of(ledger).get(charge.charge_key) == charge
        assert (await ledger.credits.total("o1")).last_number == 0

    with_ledger(ledger_url, scenario)


def test_a_decision_stays_and_a_contradiction_is_told(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        charges = charges_of(ledger)
        declined = await charges.decide(
            charge.charge_key, Verdict(ChargeStatus.DECLINED, "ch_1", "card_declined", "No."), now_ms=NOW
        )
        assert await charges.decide(charge.charge_key, NEVER_MADE, now_ms=NOW + 1) == declined
        with pytest.raises(ChargeContradicted):
            await charges.decide(charge.charge_key, SUCCEEDED, now_ms=NOW + 1)
        assert (await charges.get(charge.charge_key)).status is ChargeStatus.DECLINED
        assert (await ledger.credits.total("o1")).last_number == 0

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize(
    ("verdict", "after_ms", "follows"),
    [
        (NEVER_MADE, 0, True),
        (NEVER_MADE, 3_599_999, True),
        (NEVER_MADE, 3_600_000, False),
        (dataclasses.replace(NEVER_MADE, can_retry=False), 0, False),
        (Verdict(ChargeStatus.NOT_CHARGED, "ch_1", "canceled", can_retry=True), 0, False),
        (Verdict(ChargeStatus.DECLINED, decline_code="insufficient_funds", can_retry=True), 0, False),
    ],
)
def test_which_attempt_is_followed_by_another(ledger_url: str, verdict: Verdict, after_ms: int, follows: bool) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        decision = await charges_of(ledger).decide(charge.charge_key, verdict, now_ms=NOW + after_ms)
        assert (decision.successor is not None) == follows
        found = await Purchases(ledger.database, "sandbox").get(charge.subject_id)
        assert found.status is (PurchaseStatus.CHARGING if follows else PurchaseStatus.DECLINED)
        if decision.successor is not None:
            assert (decision.successor.attempt, decision.successor.amount_micros) == (2, 50_000_000)

    with_ledger(ledger_url, scenario)


def test_attempts_come_to_an_end(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        attempts = [charge.attempt]
        decision = Decision(charge, charge)
        while decision.successor is not None:
            decision = await charges_of(ledger).decide(decision.successor.charge_key, NEVER_MADE, now_ms=NOW)
            attempts.append(decision.charge.attempt)
        assert attempts == [1, 1, 2, 3]
        found = await Purchases(ledger.database, "sandbox").get(charge.subject_id)
        assert found.status is PurchaseStatus.DECLINED

    with_ledger(ledger_url, scenario)


def test_what_is_to_be_looked_up_and_when(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        card = (await with_card(ledger)).payment_method_id
        charges = charges_of(ledger)
        first, second = await purchase(ledger, card), await purchase(ledger, card, "k2")
        assert await charges.undecided(9, now_ms=NOW + SENDING_MS - 1) == []
        assert len(await charges.undecided(9, now_ms=NOW + SENDING_MS)) == 2
        later = await charges.postpone(first.charge_key, next_look_at=NOW + 99_000)
        assert later.look_ups == 1
        assert [each.charge_key for each in await charges.undecided(9, now_ms=NOW + 98_999)] == [second.charge_key]
        waiting = Verdict(ChargeStatus.ACTION_REQUIRED, "ch_9", confirmation_url="https://bank.example/1")
        decided = (await charges.decide(first.charge_key, waiting, now_ms=NOW)).charge
        assert (decided.is_decided, decided.look_ups, decided.next_look_at) == (False, 0, NOW)
        assert await charges.count_undecided() == 2
        assert await charges.find_by_provider(None, "ch_9") == decided
        assert await charges.find_by_provider(second.charge_key, None) == second
        assert await charges.find_by_provider("x/y/1", "ch_of_nobody") is None

    with_ledger(ledger_url, scenario)


def test_a_charge_is_intended_once_an_attempt(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        card = (await with_card(ledger)).payment_method_id
        new = NewCharge("o1", ChargePurpose.REFILL, "o1/1", 1, 50_000_000, card)
        made = await asyncio.gather(*(charges_of(ledger).intend(new, actor=WHO, now_ms=NOW) for _ in range(8)))
        assert [each.is_new for each in made].count(True) == 1
        assert len({each.charge.charge_key for each in made}) == 1
        other = await charges_of(ledger).intend(dataclasses.replace(new, attempt=2), actor=WHO, now_ms=NOW)
        assert (other.is_new, other.charge.charge_key.rpartition("/")[2]) == (True, "2")

    with_ledger(ledger_url, scenario)


def test_small_charges_that_have_done_their_work(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charges, methods = charges_of(ledger), PaymentMethods(ledger.database, "sandbox")
        waiting = await unconfirmed(ledger, "t1", fingerprint="f1")
        confirmed = await with_card(ledger, "t2", fingerprint="f2")
        removed = await unconfirmed(ledger, "t3", fingerprint="f3")
        await methods.remove("o1", removed.payment_method_id, actor=WHO, now_ms=NOW)
        locked = await unconfirmed(ledger, "t4", fingerprint="f4")
        for _ in range(3):
            await methods.answer("o1", locked.payment_method_id, 1, actor=WHO, now_ms=NOW)

        async def over(decided_before: int = 0) -> set[str]:
            found = await charges.to_give_back(9, now_ms=NOW, decided_before=decided_before)
            return {each.payment_method_id for each in found}

        done = {each.payment_method_id for each in (confirmed, removed, locked)}
        assert await over() == await over(NOW - 1) == done
        assert await over(NOW) == done | {waiting.payment_method_id}
        for charge in await charges.to_give_back(9, now_ms=NOW, decided_before=0):
            await charges.mark_given_back(charge.charge_key, now_ms=NOW)
        assert await over() == set()

    with_ledger(ledger_url, scenario)


def test_answers_at_once_are_counted_each(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await with_office(ledger, "o2")
        methods = PaymentMethods(ledger.database, "sandbox")
        here, there = await unconfirmed(ledger), await unconfirmed(ledger, office_id="o2")

        async def wrong(method: PaymentMethod) -> bool:
            try:
                await methods.answer(method.office_id, method.payment_method_id, 1, actor=WHO, now_ms=NOW)
            except CardLocked:
                return False
            return True

        counted = await asyncio.gather(*(wrong(each) for each in (here, there) for _ in range(5)))
        assert counted.count(True) == 3
        for each in (here, there):
            assert (await methods.of_office(each.office_id, each.payment_method_id)).is_locked

    with_ledger(ledger_url, scenario)


def test_cards_of_another_provider_and_of_another_office(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await with_office(ledger, "o2")
        card = (await with_card(ledger)).payment_method_id
        with pytest.raises(FailedPrecondition, match="no longer used") as caught:
            await PaymentMethods(ledger.database, "stripe").usable("o1", card, now_ms=NOW)
        assert caught.value.reason == "CARD_OF_OTHER_PROVIDER"
        with pytest.raises(PaymentMethodNotFound):
            await PaymentMethods(ledger.database, "sandbox").usable("o2", card, now_ms=NOW)

    with_ledger(ledger_url, scenario)


def test_a_card_is_removed_while_it_is_being_charged(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        methods, purchases = PaymentMethods(ledger.database, "sandbox"), Purchases(ledger.database, "sandbox")
        for n in range(6):
            card = (await with_card(ledger, f"t{n}", fingerprint=f"f{n}")).payment_method_id
            bought, _ = await asyncio.gather(
                purchases.begin(request(card, f"k{n}"), actor=WHO, now_ms=NOW),
                methods.remove("o1", card, actor=WHO, now_ms=NOW),
                return_exceptions=True,
            )
            assert isinstance(bought, PaymentMethodNotFound) or not isinstance(bought, BaseException)

    with_ledger(ledger_url, scenario)


def test_invoices_are_sums_of_their_months(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        await ledger.offices.create(settings(payment_terms=PaymentTerms.INVOICE), actor=WHO, now_ms=NOW)
        purchases, invoices = Purchases(ledger.database, "sandbox"), Invoices(ledger.database)
        month_ms = 31 * 86_400_000
        for n in range(5):
            made = await purchases.begin(request("", f"k{n}"), actor=WHO, now_ms=NOW + n // 2 * month_ms)
            assert (made.purchase.status, made.purchase.credit_number) == (PurchaseStatus.INVOICED, n + 1)
        first = await invoices.list(PageRequest(2), "o1")
        rest = await invoices.list(PageRequest(2, first.next_page_token), "o1")
        listed = [(each.invoice_id.month, each.total_micros) for each in (*first.items, *rest.items)]
        assert listed == [("2024-01", 50_000_000), ("2023-12", 100_000_000), ("2023-11", 100_000_000)]
        invoice = await invoices.get(InvoiceId("o1", "2023-12"))
        assert [item.credit_number for item in invoice.items] == [3, 4]
        with pytest.raises(InvoiceNotFound):
            await invoices.get(InvoiceId("o1", "2024-02"))

    with_ledger(ledger_url, scenario)


def test_a_chargeback_stops_an_office_once(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        charge = await purchase(ledger, (await with_card(ledger)).payment_method_id)
        charge = (await charges_of(ledger).decide(charge.charge_key, SUCCEEDED, now_ms=NOW)).charge
        chargebacks = Chargebacks(ledger.database)
        made = await asyncio.gather(*(chargebacks.record("ch_1", charge, 50_000_000, now_ms=NOW) for _ in range(8)))
        assert {office.version for _, office in made} == {2}
        assert (await ledger.offices.get("o1")).state is OfficeState.SUSPENDED
        [chargeback] = await chargebacks.untaken(9)
        # While an attempt is on its way, nobody may note that there was nothing to take.
        numbered = await chargebacks.number(chargeback, 1, 30_000_000, now_ms=NOW)
        assert numbered is not None
        assert numbered.amount_micros == -30_000_000
        assert (await chargebacks.mark_taken("ch_1", 0, 1, now_ms=NOW)).taken_micros is None
        with pytest.raises(IdempotencyKeyReused):
            await chargebacks.number(chargeback, 1, 20_000_000, now_ms=NOW)
        assert (await chargebacks.mark_taken("ch_1", 30_000_000, 1, now_ms=NOW)).owed_micros == 20_000_000
        assert (await chargebacks.mark_taken("ch_1", 0, 2, now_ms=NOW)).taken_micros == 30_000_000
        assert await chargebacks.number(chargeback, 2, 1, now_ms=NOW) is None
        assert await chargebacks.owed_micros("o1") == 20_000_000
        assert await chargebacks.untaken(9) == []

    with_ledger(ledger_url, scenario)


def test_events_are_known_once_they_were_handled(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        events = ProviderEvents(ledger.database)
        assert not await events.is_known("evt_1")
        await asyncio.gather(*(events.mark_handled("evt_1", "OTHER", now_ms=NOW) for _ in range(4)))
        assert await events.is_known("evt_1")

    with_ledger(ledger_url, scenario)
