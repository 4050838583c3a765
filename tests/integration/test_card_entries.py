"""Cards that an office's admin enters on the provider's page: begun, entered, brought back, and nobody else's."""

from pathlib import Path

import pytest

from gateway.api.credits.payment_methods import PaymentMethodRpcs
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.errors import FailedPrecondition, InvalidArgument, PermissionDenied, TollgateError
from gateway.ledger.errors import CardOfOtherProvider, PaymentMethodNotFound
from gateway.payments.errors import CardEntryInvalid, CardEntryUnfinished, ProviderUnavailable
from gateway.payments.sandbox import SandboxProvider
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, OFFICE, BackUnderTest, Fault, bearer, running_back
from tests.support.billing import add_card, answer, card_charges, confirmed_card, finish, small_charge
from tests.support.sandbox import confirmation_in, entry_in
from tests.support.servers import StoreServer

RETURN_URL = "http://127.0.0.1:8080/cards/entered"
CANCEL_URL = "http://127.0.0.1:8080/cards"
OPERATOR = Identity(Role.OPERATOR, "operator")
ADMIN = Identity(Role.OFFICE_ADMIN, "admin", COMPANY, frozenset({OFFICE}))


def rpcs_of(back: BackUnderTest) -> PaymentMethodRpcs:
    return back.back.operations.payment_methods


def sandbox_of(back: BackUnderTest) -> SandboxProvider:
    assert isinstance(back.back.provider, SandboxProvider)
    return back.back.provider


async def begin(back: BackUnderTest, office_id: str = OFFICE, identity: Identity = ADMIN) -> str:
    """The id of an entry that was begun."""
    return entry_in(await rpcs_of(back).begin_entry(office_id, RETURN_URL, CANCEL_URL, identity))


async def enter(back: BackUnderTest, token: str = "tok_visa") -> str:
    """The id of an entry in which a card was chosen."""
    entry = await begin(back)
    await sandbox_of(back).choose_card(entry, token)
    return entry


async def end(back: BackUnderTest, entry: str, office_id: str = OFFICE, identity: Identity = ADMIN) -> pb.PaymentMethod:
    return await rpcs_of(back).finish_entry(office_id, entry, identity)


async def remove(back: BackUnderTest, payment_method_id: str) -> None:
    request = pb.RemovePaymentMethodRequest(office_id=OFFICE, payment_method_id=payment_method_id)
    await back.stub.RemovePaymentMethod(request, metadata=bearer())


async def test_a_card_that_was_entered_is_added_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        entry = await enter(back)
        added = await end(back, entry)
        assert (added.office_id, added.brand, added.last_four, added.confirmed) == (OFFICE, "visa", "4242", False)
        assert [await end(back, entry) for _ in range(2)] == [added, added]  # Reloads of the page.
        assert len(card_charges(back, None)) == 1
        charge = await small_charge(back, added.payment_method_id)
        confirmed = await answer(back, added.payment_method_id, charge.amount_micros)
        assert await end(back, entry) == confirmed
        [begun, *_] = await back.audit(f"payment_method:{added.payment_method_id}")
        assert begun.actor == ADMIN.actor


async def test_a_card_that_was_removed_can_be_entered_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        first = await enter(back)
        removed = await end(back, first)
        await remove(back, removed.payment_method_id)
        with pytest.raises(InvalidArgument, match="removed"):
            await end(back, first)
        assert (await end(back, await enter(back))).payment_method_id != removed.payment_method_id


async def test_who_comes_back_without_a_card_adds_none(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        entry = await begin(back)
        with pytest.raises(CardEntryUnfinished):
            await end(back, entry)
        await sandbox_of(back).choose_card(entry, "tok_visa")
        assert (await end(back, entry)).last_four == "4242"


async def test_an_entry_is_of_one_office(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        entry = await enter(back)
        for office_id, wrong in (("other", entry), (OFFICE, "entry_of_nobody"), (OFFICE, "4242424242424242")):
            with pytest.raises(CardEntryInvalid) as caught:
                await end(back, wrong, office_id, OPERATOR)
            assert wrong not in str(caught.value)
        with pytest.raises(InvalidArgument, match="somebody else"):
            await rpcs_of(back).add(pb.AddPaymentMethodRequest(office_id="other", provider_token=entry), OPERATOR)
        assert card_charges(back, None) == []


async def test_who_may_enter_a_card(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        entry, waiting = await enter(back), (await add_card(back)).payment_method_id
        for identity in (
            Identity(Role.VIEWER, "viewer", COMPANY),
            Identity(Role.OFFICE_ADMIN, "other", COMPANY, frozenset({"other"})),
            Identity(Role.COMPANY_ADMIN, "foreign", "foreign"),
        ):
            for refused in (
                begin(back, identity=identity),
                end(back, entry, identity=identity),
                rpcs_of(back).resume(OFFICE, waiting, identity),
            ):
                with pytest.raises(PermissionDenied):
                    await refused


@pytest.mark.parametrize(
    ("return_url", "cancel_url", "field"),
    [
        ("/cards", CANCEL_URL, "return_url"),
        ("", CANCEL_URL, "return_url"),
        (RETURN_URL, "javascript:alert(1)", "cancel_url"),
    ],
)
async def test_urls_that_are_none(
    valkey: StoreServer, tmp_path: Path, return_url: str, cancel_url: str, field: str
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        with pytest.raises(InvalidArgument) as caught:
            await rpcs_of(back).begin_entry(OFFICE, return_url, cancel_url, ADMIN)
        assert caught.value.field == field


async def test_nobody_enters_a_card_for_which_there_is_no_room(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        entry = await enter(back)
        for number in range(1, 21):
            await add_card(back, f"tok_visa_{number}")
        for refused in (begin(back), end(back, entry)):
            with pytest.raises(FailedPrecondition) as caught:
                await refused
            assert caught.value.reason == "TOO_MANY_PAYMENT_METHODS"


async def test_a_provider_that_does_not_answer_is_asked_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        for method in ("begin_card_entry", "finish_card_entry", "add_payment_method"):
            for done in (False, True):
                entry = await enter(back)
                Fault(back.back.provider, method, done=done, error=ProviderUnavailable())
                with pytest.raises(ProviderUnavailable):
                    await (begin(back) if method == "begin_card_entry" else end(back, entry))
                assert (await end(back, entry)).last_four == "4242"


async def test_a_card_whose_bank_held_it_up_goes_on_without_its_token(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        waiting = await end(back, await enter(back, "tok_action_required"))
        card = waiting.payment_method_id
        assert (await rpcs_of(back).resume(OFFICE, card, ADMIN)).confirmation_url == waiting.confirmation_url
        await sandbox_of(back).answer_confirmation(confirmation_in(waiting.confirmation_url), approve=True)
        added = await rpcs_of(back).resume(OFFICE, card, ADMIN)
        assert (added.payment_method_id, added.confirmation_url) == (card, "")
        back.clock.move(7 * 86_400)
        await finish(back)  # The small charge is given back.
        await rpcs_of(back).resume(OFFICE, card, ADMIN)
        charge = await small_charge(back, card)
        assert charge.attempt == 2
        confirmed = await answer(back, card, charge.amount_micros)
        assert await rpcs_of(back).resume(OFFICE, card, ADMIN) == confirmed


async def test_what_does_not_go_on(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.open_office("other")
        foreign = await confirmed_card(back, office_id="other")
        card = (await add_card(back)).payment_method_id
        faults: tuple[tuple[str, type[TollgateError]], ...] = (
            (foreign, PaymentMethodNotFound),
            ("pm_of_nobody", PaymentMethodNotFound),
            ("", InvalidArgument),
        )
        for payment_method_id, fault in faults:
            with pytest.raises(fault):
                await rpcs_of(back).resume(OFFICE, payment_method_id, ADMIN)
        monkeypatch.setattr(SandboxProvider, "name", "another")
        with pytest.raises(CardOfOtherProvider):
            await rpcs_of(back).resume(OFFICE, card, ADMIN)
