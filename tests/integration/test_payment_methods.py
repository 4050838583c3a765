"""Cards: added once per token, confirmed by the small charge's amount, locked by fingerprint, never a card number."""

import asyncio
import logging
import re
from pathlib import Path

import prometheus_client
import pytest
from grpc import StatusCode

from gateway.domain.payment import ChargePurpose
from gateway.domain.vocabulary import Role
from gateway.ledger.paging import PageRequest
from gateway.payments.errors import ProviderUnavailable
from gateway.payments.sandbox import SandboxProvider
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, Fault, bearer, invalid, refused, running_back
from tests.support.billing import (
    DOLLARS,
    add_card,
    answer,
    buy,
    card_charges,
    confirmed_card,
    finish,
    small_charge,
)
from tests.support.sandbox import confirmation_in
from tests.support.servers import StoreServer

ME = bearer()
PRECONDITION = StatusCode.FAILED_PRECONDITION
NUMBERS = (
    "4242424242424242",
    "4242 4242 4242 4242",
    "4242-4242-4242-4242",
    "tok 5555555555554444 12/40",
    "378282246310005",
)


async def listed(back: BackUnderTest, office_id: str = OFFICE) -> list[pb.PaymentMethod]:
    answered = await back.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id), metadata=ME)
    return list(answered.payment_methods)


def files_below(folder: Path) -> list[str]:
    """What stands in every file: the databases with their logs."""
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]


async def remove(back: BackUnderTest, payment_method_id: str, office_id: str = OFFICE) -> pb.PaymentMethod:
    request = pb.RemovePaymentMethodRequest(office_id=office_id, payment_method_id=payment_method_id)
    removed: pb.PaymentMethod = await back.stub.RemovePaymentMethod(request, metadata=ME)
    return removed


async def test_a_card_from_token_to_confirmed(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        added = await add_card(back)
        assert (added.brand, added.last_four, added.expiry_month, added.expiry_year) == ("visa", "4242", 12, 2040)
        assert (added.confirmed, added.locked, added.confirmation_url) == (False, False, "")
        charge = await small_charge(back, added.payment_method_id)
        assert charge.amount_micros % 10_000 == 0
        assert 500_000 <= charge.amount_micros <= 1_990_000
        assert await add_card(back) == added  # A repeat charges nothing more.
        await finish(back)
        assert [each.is_given_back for each in card_charges(back, None)] == [False]
        confirmed = await answer(back, added.payment_method_id, charge.amount_micros)
        assert confirmed.confirmed
        assert await listed(back) == [confirmed]
        assert await answer(back, added.payment_method_id, 1) == confirmed  # It stays so, whatever is answered.
        await finish(back)
        assert [each.is_given_back for each in card_charges(back, None)] == [True]
        await finish(back)
        assert (await back.get_office()).balance_micros == 0
        actions = [change.action for change in await back.audit(f"payment_method:{added.payment_method_id}")]
        assert actions == ["payment_method.begin", "payment_method.add", "payment_method.answer"]


async def test_the_amount_is_told_to_nobody(
    valkey: StoreServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        added = await add_card(back)
        charge = await small_charge(back, added.payment_method_id)
        told = [str(added), capsys.readouterr().out]
        told += [f"{each.before} {each.after}" for each in (await back.ledger.audit.list(PageRequest(1_000))).items]
        told += [str(each) for each in await listed(back)]
        for text in told:
            assert str(charge.amount_micros) not in text
            assert f"{charge.amount_micros // 10_000 / 100:.2f}" not in text


async def test_amounts_are_drawn_anew(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for number in range(1, 13):
            await add_card(back, f"tok_visa_{number}")
        assert len({each.amount_micros for each in card_charges(back, None)}) > 3


async def test_three_wrong_answers_lock_the_card_in_every_office(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other", company_id="other")
        elsewhere = await confirmed_card(back, "tok_visa_again", "other")  # The same card, by another token.
        card = (await add_card(back)).payment_method_id
        right = (await small_charge(back, card)).amount_micros
        for left in (2, 1):
            found = await refused(PRECONDITION, "CONFIRMATION_AMOUNT_WRONG", answer(back, card, right + 1))
            assert found.metadata["answers_left"] == str(left)
            assert str(right) not in found.message
        for amount in (0, -1, 10**9 + 1, 2**63 - 1):  # No answers: not counted.
            await invalid("amount_micros", answer(back, card, amount))
        await refused(PRECONDITION, "CARD_LOCKED", answer(back, card, right + 1))
        await refused(PRECONDITION, "CARD_LOCKED", answer(back, card, right))
        assert [each.locked for each in await listed(back)] == [True]
        assert [(each.locked, each.confirmed) for each in await listed(back, "other")] == [(True, True)]
        await refused(PRECONDITION, "CARD_LOCKED", buy(back, elsewhere, office_id="other"))
        refill = pb.SetAutoRefillRequest(office_id="other", enabled=True, payment_method_id=elsewhere)
        await refused(PRECONDITION, "CARD_LOCKED", back.stub.SetAutoRefill(refill, metadata=ME))
        # Adding it anew, in whichever office, gives no more answers and makes no more charges.
        before = len(card_charges(back, None))
        await refused(PRECONDITION, "CARD_LOCKED", add_card(back, "tok_visa", "other"))
        assert len(card_charges(back, None)) == before
        await finish(back)
        assert all(each.is_given_back for each in card_charges(back, None))


async def test_wrong_answers_at_once_are_all_counted(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = (await add_card(back)).payment_method_id
        right = (await small_charge(back, card)).amount_micros
        await asyncio.gather(*(answer(back, card, right + n) for n in range(1, 9)), return_exceptions=True)
        await refused(PRECONDITION, "CARD_LOCKED", answer(back, card, right))


async def test_a_right_answer_forgets_the_wrong_ones(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = (await add_card(back)).payment_method_id
        right = (await small_charge(back, card)).amount_micros
        for _ in range(2):
            await refused(PRECONDITION, "CONFIRMATION_AMOUNT_WRONG", answer(back, card, right + 1))
        await answer(back, card, right)
        again = (await add_card(back, "tok_visa_again")).payment_method_id
        found = await refused(PRECONDITION, "CONFIRMATION_AMOUNT_WRONG", answer(back, again, 1))
        assert found.metadata["answers_left"] == "2"


async def test_what_nobody_answers_is_given_back_after_a_week(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = (await add_card(back)).payment_method_id
        first = await small_charge(back, card)
        back.clock.move(7 * 86_400 - 1)
        await back.back.background.billing.turn()
        assert [each.is_given_back for each in card_charges(back, None)] == [False]
        back.clock.move(1)
        await back.back.background.billing.turn()
        assert [each.is_given_back for each in card_charges(back, None)] == [True]
        await refused(PRECONDITION, "CARD_CONFIRMATION_PENDING", answer(back, card, first.amount_micros))
        await add_card(back)
        second = await small_charge(back, card)
        assert second.attempt == 2
        assert (await answer(back, card, second.amount_micros)).confirmed


async def test_a_refund_that_gets_no_answer_is_tried_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await confirmed_card(back)
        for done in (False, True):
            Fault(back.back.provider, "refund", done=done, error=ProviderUnavailable())
            await back.back.background.billing.turn()
            assert not await back.back.background.billing.turn()  # Not before its time.
            back.clock.move(60)
        await back.back.background.billing.turn()
        assert [each.is_given_back for each in card_charges(back, None)] == [True]
        assert await back.back.billing.charges.to_give_back(9, now_ms=2**60, decided_before=2**60) == []


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_card_number_is_kept_nowhere(
    valkey: StoreServer,
    tmp_path: Path,
    number: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running_back(valkey, tmp_path) as back:
            await back.open_office()
            found = await invalid("provider_token", add_card(back, number))
            assert found.reason == "CARD_NUMBER_REFUSED"
            assert await listed(back) == []
    output = capsys.readouterr()
    everything = [output.out, output.err, caplog.text, found.message, prometheus_client.generate_latest().decode()]
    everything += files_below(tmp_path)
    digits = re.sub(r"\D", "", number.removesuffix(" 12/40"))
    for text in everything:
        assert number not in text
        assert digits not in text


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", ""), ("x" * 256, ""), ("naïve", ""), ("tok_\n", ""), ("tok_of_nobody", "PAYMENT_TOKEN_INVALID")],
)
async def test_tokens_that_are_none(valkey: StoreServer, tmp_path: Path, token: str, reason: str) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        found = await invalid("provider_token", add_card(back, token))
        assert found.reason == (reason or "INVALID_ARGUMENT")
        assert await listed(back) == []


@pytest.mark.parametrize(
    ("token", "reason"),
    [("tok_refused", "CARD_DECLINED"), ("tok_declined", "CARD_DECLINED"), ("tok_expired", "CARD_EXPIRED")],
)
async def test_cards_that_are_not_taken(valkey: StoreServer, tmp_path: Path, token: str, reason: str) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await refused(PRECONDITION, reason, add_card(back, token))
        assert all(each.status != "SUCCEEDED" for each in card_charges(back, None))
        assert not any(each.confirmed for each in await listed(back))


async def test_a_card_is_not_tried_for_ever(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for _ in range(5):
            await refused(PRECONDITION, "CARD_DECLINED", add_card(back, "tok_declined"))
        await refused(PRECONDITION, "CARD_CONFIRMATION_FAILED", add_card(back, "tok_declined"))
        assert len(card_charges(back, None)) == 5


async def test_a_card_whose_bank_asks_its_owner(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        sandbox = back.back.provider
        assert isinstance(sandbox, SandboxProvider)
        await back.open_office()
        waiting = await add_card(back, "tok_action_required")
        assert waiting.confirmation_url
        assert (waiting.brand, waiting.confirmed) == ("", False)
        assert await listed(back) == [waiting]
        await refused(PRECONDITION, "CARD_UNCONFIRMED", buy(back, waiting.payment_method_id))
        await refused(PRECONDITION, "CARD_CONFIRMATION_PENDING", answer(back, waiting.payment_method_id, 500_000))
        await sandbox.answer_confirmation(confirmation_in(waiting.confirmation_url), approve=True)
        added = await add_card(back, "tok_action_required")
        assert (added.payment_method_id, added.confirmation_url) == (waiting.payment_method_id, "")
        charge = await small_charge(back, added.payment_method_id)
        assert (await answer(back, added.payment_method_id, charge.amount_micros)).confirmed


async def test_a_card_whose_bank_asks_about_the_small_charge(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        sandbox = back.back.provider
        assert isinstance(sandbox, SandboxProvider)
        await back.open_office()
        waiting = await add_card(back, "tok_authentication_required")
        assert waiting.confirmation_url
        # Also to those who have come back later, and have no answer of then.
        assert await listed(back) == [waiting]
        await refused(PRECONDITION, "CARD_CONFIRMATION_PENDING", answer(back, waiting.payment_method_id, 500_000))
        await sandbox.answer_confirmation(confirmation_in(waiting.confirmation_url), approve=True)
        added = await add_card(back, "tok_authentication_required")
        assert (added.payment_method_id, added.confirmation_url) == (waiting.payment_method_id, "")
        assert await listed(back) == [added]
        charge = await small_charge(back, added.payment_method_id)
        confirmed = await answer(back, added.payment_method_id, charge.amount_micros)
        assert await listed(back) == [confirmed]


async def test_removed_cards(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await back.refill(payment_method_id=card)
        await refused(PRECONDITION, "PAYMENT_METHOD_IN_USE", remove(back, card))
        await back.stub.SetAutoRefill(
            pb.SetAutoRefillRequest(office_id=OFFICE, enabled=False, payment_method_id=card), metadata=ME
        )
        assert (await remove(back, card)).payment_method_id == card
        assert (await remove(back, card)).payment_method_id == card
        assert await listed(back) == []
        await refused(StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND", answer(back, card, 500_000))
        await invalid("provider_token", add_card(back))
        for payment_method_id in ("pm_of_nobody",):
            await refused(StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND", remove(back, payment_method_id))
        await invalid("payment_method_id", remove(back, ""))


async def test_there_are_not_too_many_cards(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for number in range(1, 21):
            await add_card(back, f"tok_visa_{number}")
        await refused(PRECONDITION, "TOO_MANY_PAYMENT_METHODS", add_card(back, "tok_visa_21"))
        await add_card(back, "tok_visa_20")  # A repeat is none more.
        assert len(await listed(back)) == 20


async def test_which_card_a_refill_may_charge(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        await back.open_office("invoiced", payment_terms=pb.PAYMENT_TERMS_INVOICE)
        unconfirmed = (await add_card(back, "tok_visa_1")).payment_method_id
        foreign = await confirmed_card(back, "tok_visa_2", "other")
        invoiced = await confirmed_card(back, "tok_visa_3", "invoiced")
        card = await confirmed_card(back)
        not_found = (StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND")
        before = await back.get_office()
        for office_id, method, code, reason in (
            (OFFICE, unconfirmed, PRECONDITION, "CARD_UNCONFIRMED"),
            (OFFICE, foreign, *not_found),
            (OFFICE, "pm_of_nobody", *not_found),
            ("invoiced", invoiced, PRECONDITION, "PAYMENT_METHOD_NOT_ALLOWED"),
        ):
            await refused(code, reason, back.refill(office_id, payment_method_id=method))
        await invalid("amount_micros", back.refill(payment_method_id=card, amount_micros=50_000_001))
        assert await back.get_office() == before
        assert (await back.refill(payment_method_id=card)).refill.payment_method_id == card


async def test_who_may_see_and_use_a_card(valkey: StoreServer, tmp_path: Path) -> None:
    """To others it is the same whether a card exists or not."""
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        await back.open_office("foreign", company_id="foreign")
        card = await confirmed_card(back)
        words = set()
        for role, company, offices in (
            (Role.COMPANY_ADMIN, "foreign", ()),
            (Role.OFFICE_ADMIN, "acme", ("other",)),
            (Role.VIEWER, "acme", ()),
        ):
            secret = await back.token(role, company, *offices)
            for method in (card, "pm_of_nobody"):
                for request in (
                    pb.ConfirmPaymentMethodRequest(office_id=OFFICE, payment_method_id=method, amount_micros=1),
                    pb.RemovePaymentMethodRequest(office_id=OFFICE, payment_method_id=method),
                    pb.ListPaymentMethodsRequest(office_id=OFFICE),
                    pb.AddPaymentMethodRequest(office_id=OFFICE, provider_token="tok_visa"),
                    pb.AddCreditsRequest(
                        office_id=OFFICE, payment_method_id=method, amount_micros=50 * DOLLARS, idempotency_key="k"
                    ),
                ):
                    rpc = getattr(back.stub, type(request).__name__.removesuffix("Request"))
                    found = await refused(
                        StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", rpc(request, metadata=bearer(secret))
                    )
                    words.add((found.message, tuple(found.metadata.items())))
        assert len(words) == 1
        assert card_charges(back, ChargePurpose.PURCHASE) == []
