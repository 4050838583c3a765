"""What every payment provider promises (gateway/payments/provider.py), as tests.

A provider's test module derives a class from ProviderContract and has a fixture `open_subject`; see test_sandbox.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import InvalidArgument
from gateway.payments.errors import (
    CardEntryInvalid,
    CardEntryUnfinished,
    CardNumberRefused,
    ChargeNotFound,
    PaymentTokenInvalid,
    ProviderKeyReused,
    WebhookRefused,
    WebhookSignatureInvalid,
    WebhookStale,
)
from gateway.payments.provider import (
    MAX_URL_LENGTH,
    ActionRequired,
    CardEntry,
    ChargeAttempt,
    Declined,
    NewPaymentMethod,
    NotCharged,
    PaymentEvent,
    PaymentEventKind,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentMethodReference,
    PaymentProvider,
    Refunded,
    RefundRefused,
    Succeeded,
    Unknown,
)
from tests.support.sandbox import entry_in

AMOUNT_MICROS = 50_000_000
TOLERANCE_MS = 300_000
RETURN_URL = "https://credits.example/cards/entered"
CANCEL_URL = "https://credits.example/cards"


@dataclass(frozen=True)
class Tokens:
    """Tokens of a provider by what their cards do; None if it has none that does."""

    succeeds: str
    same_card: str
    """Another token of the card that succeeds."""
    other_card: str
    declined: str
    insufficient_funds: str
    expired: str
    authentication_required: str
    """The bank asks at each charge."""
    asked_when_added: str | None
    refused_when_added: str | None
    processing_error: str | None
    request_lost: str | None
    reply_lost: str | None
    unknown: str
    """Looks like a token and is none."""


@dataclass
class Subject:
    """A provider under test, and the people and machines around it.

    Attributes:
        provider: The provider.
        tokens: Its test cards.
        now_ms: The provider's present.
        answer: Opens a confirmation link and says yes (True) or no.
        enter: Enters a card, by its token, on a page for cards, and says where that sends the browser.
        webhooks: What the provider has sent so far: body and signature header, the oldest first.
    """

    provider: PaymentProvider
    tokens: Tokens
    now_ms: Callable[[], int]
    answer: Callable[[str, bool], Awaitable[None]]
    enter: Callable[[str, str], Awaitable[str]]
    webhooks: Callable[[], Awaitable[list[tuple[bytes, str]]]]

    def key(self) -> str:
        """A key that was never used."""
        return f"contract/{uuid4()}"

    def card(self, token: str | None = None, **changes: Any) -> NewPaymentMethod:
        """A card to be added."""
        request = NewPaymentMethod(token=token or self.tokens.succeeds, owner_id="berlin", idempotency_key=self.key())
        return replace(request, **changes)

    def entry(self, **changes: Any) -> CardEntry:
        """A card to be entered on the provider's page."""
        return replace(CardEntry("berlin", RETURN_URL, CANCEL_URL, self.key()), **changes)

    async def entered(self, token: str | None = None, **changes: Any) -> str:
        """What the browser brings back that has entered a card there."""
        page = await self.provider.begin_card_entry(self.entry(**changes))
        return entry_in(await self.enter(page, token or self.tokens.succeeds))

    async def add(self, token: str | None = None) -> PaymentMethodReference:
        """Add a card."""
        outcome = await self.provider.add_payment_method(self.card(token))
        assert isinstance(outcome, PaymentMethodAdded)
        return outcome.reference

    async def attempt(self, token: str | None = None, **changes: Any) -> ChargeAttempt:
        """An attempt to charge a card that was just added; nothing is sent."""
        attempt = ChargeAttempt(
            idempotency_key=self.key(),
            amount_micros=AMOUNT_MICROS,
            currency="USD",
            method=changes.pop("method", None) or await self.add(token),
            description="Calling credits of the office Berlin",
            metadata={"office_id": "berlin", "purpose": "REFILL"},
        )
        return replace(attempt, **changes)

    async def charged(self, token: str | None = None) -> tuple[ChargeAttempt, str]:
        """An attempt that succeeded, and its charge."""
        attempt = await self.attempt(token)
        outcome = await self.provider.charge(attempt)
        assert isinstance(outcome, Succeeded)
        return attempt, outcome.charge_id

    async def look_up(self, attempt: ChargeAttempt) -> Any:
        """What has become of an attempt."""
        return await self.provider.look_up(attempt, sent_at_ms=self.now_ms())

    async def events(self, charge_id: str) -> list[PaymentEvent]:
        """What the webhooks have told of a charge."""
        events = [
            self.provider.parse_webhook(body, signature, now_ms=self.now_ms())
            for body, signature in await self.webhooks()
        ]
        return [event for event in events if event.charge_id == charge_id]


OpenSubject = Callable[[], AbstractAsyncContextManager[Subject]]


def given(token: str | None) -> str:
    """A token that not every provider has."""
    if token is None:
        pytest.skip("this provider has no such test card")
    return token


class ProviderContract:
    """The promises; each test opens a provider of its own."""

    async def test_it_answers_and_has_a_name(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            await subject.provider.check()
            assert subject.provider.name.islower()

    async def test_an_added_card_shows_what_may_be_shown(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            added = await subject.provider.add_payment_method(subject.card())
            assert isinstance(added, PaymentMethodAdded)
            card = added.card
            assert (card.brand, card.last_four) == ("visa", "4242")
            assert 1 <= card.expiry_month <= 12
            assert card.expiry_year > 2000
            assert card.fingerprint

    async def test_a_repeat_adds_the_card_once(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            request = subject.card()
            first = await subject.provider.add_payment_method(request)
            assert await subject.provider.add_payment_method(request) == first

    async def test_a_card_can_join_its_owners_others(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            first = await subject.add()
            again = subject.card(subject.tokens.other_card, customer_id=first.customer_id)
            second = await subject.provider.add_payment_method(again)
            assert isinstance(second, PaymentMethodAdded)
            assert second.reference.customer_id == first.customer_id
            assert second.reference.method_id != first.method_id

    async def test_a_fingerprint_is_of_the_card_and_not_of_the_token_or_owner(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            tokens = subject.tokens
            cards = [
                await subject.provider.add_payment_method(subject.card(token, owner_id=owner))
                for token, owner in [
                    (tokens.succeeds, "berlin"),
                    (tokens.same_card, "munich"),
                    (tokens.other_card, "berlin"),
                ]
            ]
            fingerprints = [card.card.fingerprint for card in cards if isinstance(card, PaymentMethodAdded)]
            assert len(fingerprints) == 3
            assert fingerprints[0] == fingerprints[1] != fingerprints[2]

    async def test_a_key_of_another_card_is_refused(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            request = subject.card()
            await subject.provider.add_payment_method(request)
            with pytest.raises(ProviderKeyReused) as caught:
                await subject.provider.add_payment_method(replace(request, token=subject.tokens.other_card))
            assert request.idempotency_key not in caught.value.message

    async def test_a_token_that_is_none_is_refused(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            with pytest.raises(PaymentTokenInvalid):
                await subject.provider.add_payment_method(subject.card(subject.tokens.unknown))

    @pytest.mark.parametrize("number", ["4242424242424242", "4000-0000-0000-0002", "3782 822463 10005"])
    async def test_a_card_number_is_refused_and_not_repeated(self, open_subject: OpenSubject, number: str) -> None:
        async with open_subject() as subject:
            with pytest.raises(CardNumberRefused) as caught:
                await subject.provider.add_payment_method(subject.card(number))
            assert number not in str(caught.value)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("token", ""),
            ("token", "tok visa"),
            ("owner_id", ""),
            ("owner_id", "o" * 129),
            ("idempotency_key", ""),
            ("idempotency_key", "k" * 201),
            ("customer_id", ""),
            ("customer_id", "cus_there_is_none"),
        ],
    )
    async def test_a_card_out_of_range_is_refused(self, open_subject: OpenSubject, field: str, value: str) -> None:
        async with open_subject() as subject:
            with pytest.raises(InvalidArgument) as caught:
                await subject.provider.add_payment_method(replace(subject.card(), **{field: value}))
            assert caught.value.field == field

    async def test_a_card_is_added_once_its_owner_confirmed_it(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            asked = await subject.provider.add_payment_method(subject.card(given(subject.tokens.asked_when_added)))
            assert isinstance(asked, PaymentMethodActionRequired)
            again = subject.card(asked.token, customer_id=asked.customer_id)
            waits = await subject.provider.add_payment_method(again)
            assert isinstance(waits, PaymentMethodActionRequired)
            assert (waits.token, waits.customer_id) == (asked.token, asked.customer_id)
            await subject.answer(asked.confirmation_url, True)
            again = subject.card(asked.token, customer_id=asked.customer_id)
            added = await subject.provider.add_payment_method(again)
            assert isinstance(added, PaymentMethodAdded)
            assert added.reference.customer_id == asked.customer_id
            attempt = await subject.attempt(method=added.reference)
            assert isinstance(await subject.provider.charge(attempt), Succeeded)

    async def test_a_card_whose_owner_says_no_is_not_added(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            asked = await subject.provider.add_payment_method(subject.card(given(subject.tokens.asked_when_added)))
            assert isinstance(asked, PaymentMethodActionRequired)
            await subject.answer(asked.confirmation_url, False)
            again = subject.card(asked.token, customer_id=asked.customer_id)
            assert isinstance(await subject.provider.add_payment_method(again), Declined)

    async def test_a_bank_may_refuse_a_card_when_it_is_added(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            request = subject.card(given(subject.tokens.refused_when_added))
            refused = await subject.provider.add_payment_method(request)
            assert isinstance(refused, Declined)
            assert refused.code
            assert refused.message

    @pytest.mark.parametrize("has_customer", [True, False])
    async def test_a_card_is_entered_on_the_providers_page(self, open_subject: OpenSubject, has_customer: bool) -> None:
        async with open_subject() as subject:
            customer_id = (await subject.add()).customer_id if has_customer else None
            entry = await subject.entered(subject.tokens.other_card, customer_id=customer_id)
            token = await subject.provider.finish_card_entry(entry, owner_id="berlin")
            added = await subject.provider.add_payment_method(subject.card(token, customer_id=customer_id))
            assert isinstance(added, PaymentMethodAdded)
            assert customer_id in {None, added.reference.customer_id}
            charged = await subject.provider.charge(await subject.attempt(method=added.reference))
            assert isinstance(charged, Succeeded)

    async def test_an_entry_is_finished_as_often_as_wanted(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            entry = await subject.entered()
            tokens = {await subject.provider.finish_card_entry(entry, owner_id="berlin") for _ in range(3)}
            assert len(tokens) == 1

    async def test_the_same_card_entered_again_has_another_token(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            finish = subject.provider.finish_card_entry
            entries = [await subject.entered() for _ in range(2)]
            tokens = [await finish(entry, owner_id="berlin") for entry in entries]
            added = [await subject.provider.add_payment_method(subject.card(token)) for token in tokens]
            assert tokens[0] != tokens[1]
            assert len({each.card.fingerprint for each in added if isinstance(each, PaymentMethodAdded)}) == 1

    async def test_a_first_card_can_be_entered_in_two_windows(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            entries = [await subject.entered() for _ in range(2)]
            customer_id = None
            for entry in entries:
                token = await subject.provider.finish_card_entry(entry, owner_id="berlin")
                added = await subject.provider.add_payment_method(subject.card(token, customer_id=customer_id))
                assert isinstance(added, PaymentMethodAdded)
                customer_id = added.reference.customer_id

    @pytest.mark.parametrize(
        ("return_url", "expected"),
        [
            (RETURN_URL, f"{RETURN_URL}?entry="),
            (f"{RETURN_URL}?office=berlin&x=%26", f"{RETURN_URL}?office=berlin&x=%26&entry="),
        ],
    )
    async def test_a_browser_comes_back_where_it_was_to(
        self, open_subject: OpenSubject, return_url: str, expected: str
    ) -> None:
        async with open_subject() as subject:
            page = await subject.provider.begin_card_entry(subject.entry(return_url=return_url))
            url = await subject.enter(page, subject.tokens.succeeds)
            assert url.startswith(expected)
            assert entry_in(url) == url.removeprefix(expected)

    async def test_a_repeat_begins_one_entry(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            request = subject.entry()
            pages = {await subject.provider.begin_card_entry(request) for _ in range(3)}
            assert len(pages) == 1
            with pytest.raises(ProviderKeyReused):
                await subject.provider.begin_card_entry(replace(request, cancel_url=RETURN_URL))

    async def test_an_entry_is_its_owners_alone(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            entry = await subject.entered()
            with pytest.raises(CardEntryInvalid) as caught:
                await subject.provider.finish_card_entry(entry, owner_id="munich")
            assert not isinstance(caught.value, CardEntryUnfinished)
            token = await subject.provider.finish_card_entry(entry, owner_id="berlin")
            stranger = (await subject.add(subject.tokens.other_card)).customer_id
            for customer_id in (None, stranger):
                request = subject.card(token, owner_id="munich", customer_id=customer_id)
                with pytest.raises(PaymentTokenInvalid):
                    await subject.provider.add_payment_method(request)

    @pytest.mark.parametrize(
        "entry", ["", "entry", "cs_test_there_is_none", "cs_1/../../customers", "entry_%00", "a b", "\u00fc", "e" * 256]
    )
    async def test_what_is_no_entry(self, open_subject: OpenSubject, entry: str) -> None:
        async with open_subject() as subject:
            await subject.entered()
            with pytest.raises(CardEntryInvalid) as caught:
                await subject.provider.finish_card_entry(entry, owner_id="berlin")
            assert (caught.value.field, caught.value.reason) == ("entry", "CARD_ENTRY_INVALID")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("owner_id", ""),
            ("owner_id", "o" * 129),
            ("idempotency_key", ""),
            ("idempotency_key", "k" * 201),
            ("customer_id", ""),
            ("customer_id", "cus_there_is_none"),
            *(
                (field, url)
                for field in ("return_url", "cancel_url")
                for url in (
                    "",
                    "/cards",
                    "//credits.example/cards",
                    "javascript:alert(1)",
                    "ftp://credits.example",
                    "https://",
                    f"{RETURN_URL}#here",
                    f"{RETURN_URL}?{{CHECKOUT_SESSION_ID}}",
                    f"{RETURN_URL}\r\nx: y",
                    f'{RETURN_URL}"',
                    RETURN_URL + "a" * MAX_URL_LENGTH,
                )
            ),
        ],
    )
    async def test_an_entry_out_of_range_is_refused(self, open_subject: OpenSubject, field: str, value: str) -> None:
        async with open_subject() as subject:
            with pytest.raises(InvalidArgument) as caught:
                await subject.provider.begin_card_entry(replace(subject.entry(), **{field: value}))
            assert caught.value.field == field

    @pytest.mark.parametrize(
        ("amount_micros", "currency"),
        [(10_000_000, "USD"), (50_120_000, "EUR"), (5_000_000_000, "JPY"), (12_340_000, "KWD")],
    )
    async def test_a_charge_succeeds_and_is_found_again(
        self, open_subject: OpenSubject, amount_micros: int, currency: str
    ) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(amount_micros=amount_micros, currency=currency)
            outcome = await subject.provider.charge(attempt)
            assert isinstance(outcome, Succeeded)
            for _ in range(3):
                assert await subject.look_up(attempt) == outcome
            [event] = await subject.events(outcome.charge_id)
            assert (event.amount_micros, event.currency) == (amount_micros, currency)

    @pytest.mark.parametrize("off_session", [True, False])
    async def test_a_repeat_charges_nothing_more(self, open_subject: OpenSubject, off_session: bool) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(off_session=off_session)
            first = await subject.provider.charge(attempt)
            assert isinstance(first, Succeeded)
            repeats = await asyncio.gather(*(subject.provider.charge(attempt) for _ in range(5)))
            assert {repeat.charge_id for repeat in repeats if isinstance(repeat, Succeeded)} <= {first.charge_id}
            assert await subject.look_up(attempt) == first

    async def test_the_same_attempt_many_times_at_once_is_one_charge(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt()
            outcomes = await asyncio.gather(*(subject.provider.charge(attempt) for _ in range(8)))
            found = await subject.look_up(attempt)
            assert isinstance(found, Succeeded)
            assert {outcome.charge_id for outcome in outcomes if isinstance(outcome, Succeeded)} <= {found.charge_id}

    @pytest.mark.parametrize(
        "changes",
        [
            {"amount_micros": AMOUNT_MICROS + 10_000},
            {"currency": "EUR"},
            {"metadata": {"office_id": "munich"}},
            {"description": "Something else"},
        ],
    )
    async def test_a_key_of_another_charge_is_refused(self, open_subject: OpenSubject, changes: dict[str, Any]) -> None:
        async with open_subject() as subject:
            attempt, charge_id = await subject.charged()
            with pytest.raises(ProviderKeyReused):
                await subject.provider.charge(replace(attempt, **changes))
            assert await subject.look_up(attempt) == Succeeded(charge_id)

    @pytest.mark.parametrize(
        ("kind", "code", "can_retry"),
        [
            ("declined", "card_declined", False),
            ("insufficient_funds", "insufficient_funds", True),
            ("expired", "expired_card", False),
        ],
    )
    async def test_a_declined_charge_says_why_and_stays_declined(
        self, open_subject: OpenSubject, kind: str, code: str, can_retry: bool
    ) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(getattr(subject.tokens, kind))
            declined = await subject.provider.charge(attempt)
            assert isinstance(declined, Declined)
            assert (declined.code, declined.can_retry) == (code, can_retry)
            assert declined.message
            found = await subject.look_up(attempt)
            assert isinstance(found, Declined)
            assert found.code == code

    async def test_an_error_of_the_provider_is_no_charge(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(given(subject.tokens.processing_error))
            outcome = await subject.provider.charge(attempt)
            assert isinstance(outcome, NotCharged)
            assert outcome.can_retry
            assert isinstance(await subject.look_up(attempt), NotCharged)

    async def test_a_card_that_is_not_there_is_not_charged(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            nobody = PaymentMethodReference("cus_there_is_none", "pm_there_is_none")
            attempt = await subject.attempt(method=nobody)
            outcome = await subject.provider.charge(attempt)
            assert isinstance(outcome, NotCharged)
            assert not outcome.can_retry

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("idempotency_key", ""),
            ("idempotency_key", "k" * 201),
            ("amount_micros", 0),
            ("amount_micros", -AMOUNT_MICROS),
            ("amount_micros", AMOUNT_MICROS + 1),
            ("amount_micros", MAX_AMOUNT_MICROS * 10),
            ("currency", "usd"),
            ("currency", "XXX"),
            ("description", ""),
            ("description", "d" * 501),
            ("metadata", {"tollgate_key": "mine"}),
            ("metadata", {f"name_{number}": "v" for number in range(41)}),
        ],
    )
    async def test_an_attempt_out_of_range_is_refused(
        self, open_subject: OpenSubject, field: str, value: object
    ) -> None:
        async with open_subject() as subject:
            changes: dict[str, Any] = {field: value}
            attempt = await subject.attempt(**changes)
            for refused in (subject.provider.charge(attempt), subject.look_up(attempt)):
                with pytest.raises(InvalidArgument) as caught:
                    await refused
                assert caught.value.field == field

    async def test_looking_up_what_was_never_sent_uses_its_key_up(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt()
            assert isinstance(await subject.look_up(attempt), NotCharged)
            late = await subject.provider.charge(attempt)
            assert not isinstance(late, Succeeded | ActionRequired)
            found = await subject.look_up(attempt)
            assert isinstance(found, NotCharged)
            assert found.can_retry
            next_attempt = replace(attempt, idempotency_key=subject.key())
            assert isinstance(await subject.provider.charge(next_attempt), Succeeded)

    async def test_a_look_up_and_its_charge_at_once_agree(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            method = await subject.add()
            for _ in range(10):
                attempt = await subject.attempt(method=method)
                charged, found = await asyncio.gather(subject.provider.charge(attempt), subject.look_up(attempt))
                final = await subject.look_up(attempt)
                if isinstance(found, NotCharged):
                    assert not isinstance(charged, Succeeded)
                    assert isinstance(final, NotCharged)
                if isinstance(charged, Succeeded):
                    assert final == charged
                assert isinstance(final, Succeeded | NotCharged)

    async def test_a_lost_reply_is_looked_up(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(given(subject.tokens.reply_lost))
            assert isinstance(await subject.provider.charge(attempt), Unknown)
            found = await subject.look_up(attempt)
            assert isinstance(found, Succeeded)
            assert await subject.look_up(attempt) == found

    async def test_a_lost_request_is_found_not_to_have_charged(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(given(subject.tokens.request_lost))
            assert isinstance(await subject.provider.charge(attempt), Unknown)
            found = await subject.look_up(attempt)
            assert isinstance(found, NotCharged)
            assert found.can_retry

    @pytest.mark.parametrize("off_session", [True, False])
    async def test_a_charge_waits_for_its_owner(self, open_subject: OpenSubject, off_session: bool) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(subject.tokens.authentication_required, off_session=off_session)
            asked = await subject.provider.charge(attempt)
            assert isinstance(asked, ActionRequired)
            waits = await subject.look_up(attempt)
            assert isinstance(waits, ActionRequired)
            assert waits.charge_id == asked.charge_id
            assert await subject.events(asked.charge_id) == []
            await subject.answer(waits.confirmation_url, True)
            assert await subject.look_up(attempt) == Succeeded(asked.charge_id)
            [event] = await subject.events(asked.charge_id)
            assert event.kind is PaymentEventKind.CHARGE_SUCCEEDED
            assert event.idempotency_key == attempt.idempotency_key

    async def test_an_owner_who_says_no_is_not_charged(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(subject.tokens.authentication_required)
            asked = await subject.provider.charge(attempt)
            assert isinstance(asked, ActionRequired)
            await subject.answer(asked.confirmation_url, False)
            assert isinstance(await subject.look_up(attempt), Declined)
            [event] = await subject.events(asked.charge_id)
            assert event.kind is PaymentEventKind.CHARGE_FAILED

    async def test_a_canceled_charge_can_no_longer_be_confirmed(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt = await subject.attempt(subject.tokens.authentication_required)
            asked = await subject.provider.charge(attempt)
            assert isinstance(asked, ActionRequired)
            for _ in range(2):
                canceled = await subject.provider.cancel(asked.charge_id)
                assert isinstance(canceled, NotCharged)
                assert canceled.code == "canceled"
            await subject.answer(asked.confirmation_url, True)
            assert isinstance(await subject.look_up(attempt), NotCharged)

    async def test_what_is_over_cannot_be_canceled(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            _, charge_id = await subject.charged()
            assert await subject.provider.cancel(charge_id) == Succeeded(charge_id)
            with pytest.raises(ChargeNotFound):
                await subject.provider.cancel("ch_there_is_none")

    async def test_a_charge_is_given_back_once(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt, charge_id = await subject.charged()
            key = subject.key()
            first = await subject.provider.refund(charge_id, idempotency_key=key)
            assert isinstance(first, Refunded)
            assert await subject.provider.refund(charge_id, idempotency_key=key) == first
            assert await subject.provider.refund(charge_id, idempotency_key=subject.key()) == first
            assert await subject.look_up(attempt) == Succeeded(charge_id)
            refunds = [
                event for event in await subject.events(charge_id) if event.kind is PaymentEventKind.CHARGE_REFUNDED
            ]
            assert [event.amount_micros for event in refunds] == [AMOUNT_MICROS]

    async def test_what_cannot_be_given_back(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            asked = await subject.provider.charge(await subject.attempt(subject.tokens.authentication_required))
            assert isinstance(asked, ActionRequired)
            refused = await subject.provider.refund(asked.charge_id, idempotency_key=subject.key())
            assert isinstance(refused, RefundRefused)
            with pytest.raises(ChargeNotFound):
                await subject.provider.refund("ch_there_is_none", idempotency_key=subject.key())
            with pytest.raises(InvalidArgument):
                await subject.provider.refund(asked.charge_id, idempotency_key="")

    async def test_a_key_of_another_refund_is_refused(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            _, first = await subject.charged()
            _, second = await subject.charged()
            key = subject.key()
            await subject.provider.refund(first, idempotency_key=key)
            with pytest.raises(ProviderKeyReused):
                await subject.provider.refund(second, idempotency_key=key)

    async def test_a_webhook_tells_of_a_charge(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            attempt, charge_id = await subject.charged()
            [event] = await subject.events(charge_id)
            assert event.kind is PaymentEventKind.CHARGE_SUCCEEDED
            assert event.event_id
            assert abs(event.occurred_at - subject.now_ms()) < TOLERANCE_MS
            assert event.idempotency_key == attempt.idempotency_key
            assert (event.amount_micros, event.currency) == (AMOUNT_MICROS, "USD")
            assert event.metadata == attempt.metadata

    async def test_a_webhook_that_is_not_the_providers_is_refused(self, open_subject: OpenSubject) -> None:
        async with open_subject() as subject:
            await subject.charged()
            body, signature = (await subject.webhooks())[-1]
            parse, now = subject.provider.parse_webhook, subject.now_ms()
            assert parse(body, signature, now_ms=now).kind is PaymentEventKind.CHARGE_SUCCEEDED
            for wrong_body, wrong_signature in [
                (body, ""),
                (body, "v1=00"),
                (body, signature[:-1] + ("0" if signature[-1] != "0" else "1")),
                (body + b" ", signature),
                (body.replace(b"5", b"6"), signature),
                (b"", signature),
            ]:
                with pytest.raises(WebhookSignatureInvalid):
                    parse(wrong_body, wrong_signature, now_ms=now)
            for wrong_now in (now - TOLERANCE_MS - 2_000, now + TOLERANCE_MS + 2_000):
                with pytest.raises(WebhookStale):
                    parse(body, signature, now_ms=wrong_now)
            assert issubclass(WebhookStale, WebhookRefused)
