"""AddCredits and the invoices: what is bought is paid once and credited once; what is refused changes nothing."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from grpc import StatusCode
from sqlalchemy import select

from gateway.billing.purchases import Standing
from gateway.domain.payment import ChargeStatus
from gateway.domain.vocabulary import Role
from gateway.ledger.models import NoticeRow
from gateway.ledger.paging import PageRequest
from gateway.payments.sandbox import SandboxProvider
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, Fault, bearer, invalid, refused, running_back
from tests.support.balances import ManualClock
from tests.support.billing import DOLLARS, add_card, buy, card_charges, confirmed_card, finish, taken_from_cards
from tests.support.refills import turn_into
from tests.support.sandbox import confirmation_in
from tests.support.servers import StoreServer

ME = bearer()
PRECONDITION = StatusCode.FAILED_PRECONDITION
INVOICE = pb.PAYMENT_TERMS_INVOICE


async def standing(back: BackUnderTest, key: str = "k1") -> Standing:
    """How the purchase of a key stands."""
    found = await back.back.billing.buying.standing(OFFICE, key)
    assert found is not None
    return found


async def nothing_moved(back: BackUnderTest, *, balance: int = 0) -> None:
    """No card was charged for credits, and no balance changed."""
    assert taken_from_cards(back) == 0
    assert (await back.get_office()).balance_micros == balance
    assert (await back.ledger.credits.total(OFFICE)).last_number == (1 if balance else 0)


async def test_a_card_is_charged_and_the_credit_is_there(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        bought = await buy(back, card)
        assert bought == pb.AddCreditsResponse(
            transaction_id=f"{OFFICE}/1", balance_micros=50 * DOLLARS, available_micros=50 * DOLLARS
        )
        [charged] = card_charges(back)
        assert (charged.amount_micros, charged.status) == (50 * DOLLARS, "SUCCEEDED")
        installation, subject, attempt = charged.idempotency_key.split("/")
        assert (len(installation), attempt) == (16, "1")
        assert [change.action for change in await back.audit(f"purchase:{subject}")] == [
            "purchase.create",
            "purchase.settle",
        ]
        changes = await back.audit(f"charge:{charged.idempotency_key}")
        assert [(each.action, each.actor) for each in changes] == [
            ("charge.intend", "token:settings"),
            ("charge.decide", "billing"),
        ]
        await back.store_is_as_credits_say()


async def test_a_repeat_gets_the_first_answer_and_charges_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        card, other = await confirmed_card(back), await confirmed_card(back, "tok_mastercard")
        first = await buy(back, card)
        await back.spend(100)
        again = await buy(back, card)
        assert again == pb.AddCreditsResponse(
            transaction_id=first.transaction_id,
            balance_micros=50 * DOLLARS - 100,
            available_micros=50 * DOLLARS - 100,
            replayed=True,
        )
        for changes in ({"amount_micros": 100 * DOLLARS}, {"payment_method_id": other}):
            request: dict[str, Any] = {"payment_method_id": card} | changes
            found = await refused(StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", buy(back, **request))
            assert found.metadata["field"] == "idempotency_key"
        assert len(card_charges(back)) == 1
        # Another office has keys of its own.
        assert not (await buy(back, await confirmed_card(back, office_id="other"), office_id="other")).replayed


@pytest.mark.parametrize("terms", [pb.PAYMENT_TERMS_CARD, INVOICE])
async def test_the_latest_that_was_not_refused_is_found(
    valkey: StoreServer, tmp_path: Path, ledger_url: str, terms: pb.PaymentTerms.ValueType
) -> None:
    async with running_back(valkey, tmp_path, database_url=ledger_url) as back:
        purchases = back.back.billing.purchases
        await back.open_office(balance=DOLLARS, payment_terms=terms)
        await back.open_office("other", payment_terms=INVOICE)
        assert await purchases.latest(OFFICE) is None
        card = "" if terms == INVOICE else await confirmed_card(back)
        for number, amount in ((2, 50), (3, 100), (4, 50)):
            if number < 4:  # The last two within a millisecond.
                back.clock.move(60)
            bought = await buy(back, card, amount * DOLLARS, f"k{number}")
            latest = await purchases.latest(OFFICE)
            assert latest is not None
            assert (latest.idempotency_key, latest.credit_number) == (f"k{number}", number)
            assert bought.transaction_id == f"{OFFICE}/{number}"
        if card:
            await turn_into(back, card, "tok_declined")
            await refused(PRECONDITION, "CARD_DECLINED", buy(back, card, key="declined"))
        assert await purchases.latest(OFFICE) == latest
        if card:
            other_card = await confirmed_card(back, "tok_mastercard")
            await turn_into(back, other_card, "tok_authentication_required")
            await refused(PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, other_card, key="may yet be paid"))
            waiting = await purchases.latest(OFFICE)
            assert waiting is not None
            assert (waiting.idempotency_key, waiting.credit_number) == ("may yet be paid", None)
        assert await purchases.latest("other") is None


async def test_a_key_is_answered_when_its_amount_is_no_longer_offered(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await buy(back, card)
    async with running_back(valkey, tmp_path, flush=False, offered_amounts="15,25.50") as back:
        offered = await back.stub.ListOfferedAmounts(pb.ListOfferedAmountsRequest(), metadata=ME)
        assert list(offered.amounts_micros) == [15 * DOLLARS, 25_500_000]
        assert (await buy(back, card)).replayed
        found = await invalid("amount_micros", buy(back, card, key="k2"))
        assert "15000000, 25500000" in found.message
        assert (await buy(back, card, 25_500_000, "k2")).balance_micros == 75_500_000


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("amount_micros", {"amount_micros": 0}),
        ("amount_micros", {"amount_micros": -50 * DOLLARS}),
        ("amount_micros", {"amount_micros": 49_999_999}),
        ("amount_micros", {"amount_micros": 50_000_001}),
        ("amount_micros", {"amount_micros": 10**15 + 1}),
        ("amount_micros", {"amount_micros": 2**63 - 1}),
        ("amount_micros", {"amount_micros": -(2**63)}),
        ("idempotency_key", {"key": ""}),
        ("idempotency_key", {"key": "x" * 129}),
        ("idempotency_key", {"key": "naïve"}),
        ("idempotency_key", {"key": "tg:purchase:1"}),
        ("payment_method_id", {"payment_method_id": "x" * 129}),
        ("payment_method_id", {"payment_method_id": "a\nb"}),
        ("office_id", {"office_id": ""}),
        ("office_id", {"office_id": "a/b"}),
    ],
    ids=str,
)
async def test_a_field_that_is_wrong(valkey: StoreServer, tmp_path: Path, field: str, changes: dict[str, Any]) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await invalid(field, buy(back, **({"payment_method_id": card} | changes)))
        await nothing_moved(back)


def test_an_amount_that_no_int64_holds_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="out of range"):
        pb.AddCreditsRequest(amount_micros=2**63)


async def test_cards_that_cannot_pay(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        unconfirmed = (await add_card(back, "tok_visa_1")).payment_method_id
        removed = await confirmed_card(back, "tok_visa_2")
        await back.stub.RemovePaymentMethod(
            pb.RemovePaymentMethodRequest(office_id=OFFICE, payment_method_id=removed), metadata=ME
        )
        foreign = await confirmed_card(back, "tok_visa_3", "other")
        for card, code, reason in (
            (unconfirmed, PRECONDITION, "CARD_UNCONFIRMED"),
            (removed, StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND"),
            (foreign, StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND"),
            ("pm_of_nobody", StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND"),
            ("", PRECONDITION, "PAYMENT_METHOD_REQUIRED"),
        ):
            found = await refused(code, reason, buy(back, card, key=f"k {card}"))
            assert found.metadata["field"] == "payment_method_id", found
        await nothing_moved(back)


async def test_a_card_that_expires_is_refused_before_it_is_charged(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(time_zone="America/New_York")
        card = await confirmed_card(back)
        # The last hour of 2040-12 in New York, then the first of 2041.
        new_year_ms = int(datetime(2041, 1, 1, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 1000
        back.clock.set(new_year_ms - 3_600_000)
        await buy(back, card)
        back.clock.move(3_600)
        found = await refused(PRECONDITION, "CARD_EXPIRED", buy(back, card, key="k2"))
        assert "2040-12" in found.message
        assert len(card_charges(back)) == 1


async def test_a_card_that_is_declined(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back, "tok_declined_after_1")
        for _ in range(2):  # The key has its answer.
            found = await refused(PRECONDITION, "CARD_DECLINED", buy(back, card))
            assert (found.metadata["decline_code"], found.metadata["can_retry"]) == ("card_declined", "false")
            assert "new idempotency_key" in found.message
        assert len(card_charges(back)) == 1
        await nothing_moved(back)
        await finish(back)
        await nothing_moved(back)


async def test_an_answer_that_was_lost_is_looked_up(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        added = await refused(StatusCode.UNAVAILABLE, "CHARGE_UNDECIDED", add_card(back, "tok_reply_lost"))
        assert "repeat the request" in added.message
        card = await confirmed_card(back, "tok_reply_lost")
        await refused(StatusCode.UNAVAILABLE, "CHARGE_UNDECIDED", buy(back, card))
        assert (await back.get_office()).balance_micros == 0
        bought = await buy(back, card)
        assert (bought.replayed, bought.balance_micros) == (True, 50 * DOLLARS)
        assert len(card_charges(back)) == 1


async def test_an_outcome_that_stays_unknown_is_asked_for_with_growing_pauses(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        billing = back.back.background.billing
        await refused(StatusCode.UNAVAILABLE, "CHARGE_UNDECIDED", add_card(back, "tok_unknown_3"))
        method = (await back.back.billing.methods.list(OFFICE))[0]
        looks = []
        for _ in range(80):
            back.clock.move(1)
            await billing.turn()
            [charge] = [await back.back.billing.charges.get(each.idempotency_key) for each in card_charges(back, None)]
            looks.append(charge.look_ups)
            if charge.is_decided:
                break
        # The reply was lost, then it was looked up after 5, 10, 20 and 40 s; the last one knew.
        assert charge.status is ChargeStatus.SUCCEEDED
        assert [looks.index(n) + 1 for n in (2, 3, 4)] == [5, 15, 35]
        assert len(looks) == 75
        assert method.payment_method_id == charge.subject_id


async def test_a_payment_that_its_owner_confirms(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        sandbox = back.back.provider
        assert isinstance(sandbox, SandboxProvider)
        await back.open_office()
        added = await add_card(back, "tok_authentication_required")
        assert added.confirmation_url
        assert await sandbox.answer_confirmation(confirmation_in(added.confirmation_url), approve=True)
        card = await confirmed_card(back, "tok_authentication_required")
        for approve, key in ((True, "k1"), (False, "k2")):
            found = await refused(PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, card, key=key))
            await refused(PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, card, key=key))
            await sandbox.answer_confirmation(confirmation_in(found.metadata["confirmation_url"]), approve=approve)
        assert (await buy(back, card, key="k1")).balance_micros == 50 * DOLLARS
        await refused(PRECONDITION, "CARD_DECLINED", buy(back, card, key="k2"))
        assert (await back.get_office()).balance_micros == 50 * DOLLARS
        assert [notice.kind for notice in await notices(back)] == [
            "CONFIRMATION_NEEDED",
            "CONFIRMATION_NEEDED",
            "RECEIPT",
        ]


async def test_a_payment_that_nobody_confirms_is_cancelled(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path, payment_confirmation_seconds=600) as back:
        sandbox = back.back.provider
        assert isinstance(sandbox, SandboxProvider)
        await back.open_office()
        added = await add_card(back, "tok_authentication_required")
        await sandbox.answer_confirmation(confirmation_in(added.confirmation_url), approve=True)
        card = await confirmed_card(back, "tok_authentication_required")
        found = await refused(PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, card))
        back.clock.move(599)
        await back.back.background.billing.turn()
        await refused(PRECONDITION, "CONFIRMATION_REQUIRED", buy(back, card))
        back.clock.move(1)
        await refused(PRECONDITION, "CARD_NOT_CHARGED", buy(back, card))
        assert len(card_charges(back)) == 1  # Nobody asks its owner anew by itself.
        late = await sandbox.answer_confirmation(confirmation_in(found.metadata["confirmation_url"]), approve=True)
        assert late is not None
        await nothing_moved(back)


async def test_a_suspended_office_buys_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        await back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE), metadata=ME)
        await refused(PRECONDITION, "OFFICE_SUSPENDED", buy(back, card))
        await nothing_moved(back)
        await back.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=OFFICE), metadata=ME)
        assert not (await buy(back, card)).replayed


async def test_a_balance_that_would_pass_its_bound(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10**15 - 20 * DOLLARS)
        card = await confirmed_card(back)
        found = await refused(PRECONDITION, "BALANCE_OUT_OF_RANGE", buy(back, card))
        assert found.metadata["largest_amount_micros"] == str(20 * DOLLARS)
        await nothing_moved(back, balance=10**15 - 20 * DOLLARS)
        await buy(back, card, 20 * DOLLARS)


async def test_many_at_once_with_one_key_are_one_charge(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        answers = await asyncio.gather(*(buy(back, card) for _ in range(8)), return_exceptions=True)
        bought = [each for each in answers if isinstance(each, pb.AddCreditsResponse)]
        assert bought
        assert {each.transaction_id for each in bought} == {f"{OFFICE}/1"}
        assert len(card_charges(back)) == 1
        assert (await buy(back, card)).balance_micros == 50 * DOLLARS


async def test_no_card_is_charged_while_the_store_is_away(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        Fault(back.store, "read_office", done=False)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", buy(back, card))
        await nothing_moved(back)
        # Away after the charge: the money is sure, and a repeat tells.
        Fault(back.store, "apply_credit", done=False)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", buy(back, card))
        assert taken_from_cards(back) == 50 * DOLLARS
        assert (await standing(back)).is_credited is False
        await finish(back, turns=1)
        assert (await standing(back)).is_credited is True
        assert (await back.get_office()).balance_micros == 50 * DOLLARS
        assert (await buy(back, card)).replayed
        await back.store_is_as_credits_say()


async def test_an_invoiced_office_is_credited_at_once(valkey: StoreServer, tmp_path: Path) -> None:
    # 2025-06-30 23:59:59 in New York.
    clock = ManualClock(1_751_342_399_000)
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office(time_zone="America/New_York", payment_terms=INVOICE)
        await refused(PRECONDITION, "PAYMENT_METHOD_NOT_ALLOWED", buy(back, "pm_1"))
        assert (await buy(back, "", 20 * DOLLARS)).balance_micros == 20 * DOLLARS
        clock.move(1)
        assert (await buy(back, "", 50 * DOLLARS, "k2")).balance_micros == 70 * DOLLARS
        clock.move(1)
        again = await buy(back, "", 50 * DOLLARS, "k2")
        assert (again.replayed, again.transaction_id) == (True, f"{OFFICE}/2")
        await buy(back, "", 10 * DOLLARS, "k3")
        assert card_charges(back, None) == []

        page = await back.stub.ListInvoices(pb.ListInvoicesRequest(office_id=OFFICE, page_size=1), metadata=ME)
        assert [(each.invoice_id, each.total_micros, len(each.items)) for each in page.invoices] == [
            (f"{OFFICE}/2025-07", 60 * DOLLARS, 0)
        ]
        request = pb.ListInvoicesRequest(office_id=OFFICE, page_token=page.next_page_token)
        rest = await back.stub.ListInvoices(request, metadata=ME)
        assert [each.month for each in rest.invoices] == ["2025-06"]
        july = await back.stub.GetInvoice(pb.GetInvoiceRequest(invoice_id=f"{OFFICE}/2025-07"), metadata=ME)
        assert [(item.transaction_id, item.amount_micros, item.kind) for item in july.items] == [
            (f"{OFFICE}/2", 50 * DOLLARS, "purchase"),
            (f"{OFFICE}/3", 10 * DOLLARS, "purchase"),
        ]
        assert july.items[0].at.seconds == 1_751_342_400
        receipts = await notices(back)
        assert [(each.kind, each.facts["invoice_month"]) for each in receipts] == [
            ("RECEIPT", "2025-06"),
            ("RECEIPT", "2025-07"),
            ("RECEIPT", "2025-07"),
        ]
        await back.store_is_as_credits_say()


async def test_invoices_that_are_none(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(payment_terms=INVOICE)
        for invoice_id in ("", OFFICE, f"{OFFICE}/2025-13", f"{OFFICE}/2025-7", f"{OFFICE}/2025-07/1", "a b/2025-07"):
            await invalid("invoice_id", back.stub.GetInvoice(pb.GetInvoiceRequest(invoice_id=invoice_id), metadata=ME))
        future = back.stub.GetInvoice(pb.GetInvoiceRequest(invoice_id=f"{OFFICE}/2999-01"), metadata=ME)
        await refused(StatusCode.NOT_FOUND, "INVOICE_NOT_FOUND", future)
        listed = await back.stub.ListInvoices(pb.ListInvoicesRequest(office_id=OFFICE), metadata=ME)
        assert not listed.invoices
        await invalid(
            "page_token",
            back.stub.ListInvoices(pb.ListInvoicesRequest(office_id=OFFICE, page_token="x"), metadata=ME),
        )


async def test_admins_buy_what_is_theirs_and_the_log_says_who(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        card = await confirmed_card(back)
        for role, scope in ((Role.COMPANY_ADMIN, ()), (Role.OFFICE_ADMIN, (OFFICE,))):
            secret = await back.token(role, "acme", *scope)
            await buy(back, card, key=role.name, secret=secret)
        viewer = await back.token(Role.VIEWER, "acme")
        await refused(StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", buy(back, card, key="v", secret=viewer))
        credits_ = (await back.ledger.credits.list(PageRequest(), OFFICE)).items
        assert len({credit.actor for credit in credits_}) == 2
        assert all(credit.actor.startswith("token:") for credit in credits_)


async def notices(back: BackUnderTest) -> list[Any]:
    """What was to be told, in order."""
    async with back.back.database.read() as session:
        return list(await session.scalars(select(NoticeRow).order_by(NoticeRow.seq)))
