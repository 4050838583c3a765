"""Whatever is lost, late or done twice between the gateway and Stripe: one charge at most, counted at localstripe."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import pytest

from gateway.payments import stripe_api
from gateway.payments.errors import ProviderUnavailable, ProviderUnusable
from gateway.payments.provider import (
    ActionRequired,
    ChargeAttempt,
    ChargeOutcome,
    NewPaymentMethod,
    NotCharged,
    PaymentMethodAdded,
    PaymentMethodReference,
    Refunded,
    RefundRefused,
    Succeeded,
    Unknown,
)
from gateway.payments.stripe_provider import StripeProvider
from tests.support.idempotency_proxy import Fault, Request
from tests.support.servers import free_port
from tests.support.stripe import StripeStandIn, stripe_stand_in, wall_ms

LIST = r"GET /v1/payment_intents "
READ = r"GET /v1/payment_intents/"
CREATE = r"POST /v1/payment_intents "
CONFIRM = r"POST .*/confirm .*off_session"
CONFIRM_ON_SESSION = r"POST .*/confirm .*payment_method="
CANCEL = r"POST .*/cancel "
REFUND = r"POST /v1/refunds "

CUT = frozenset({Fault.DROPPED, Fault.REPLY_LOST})
"""The HTTP client repeats a read whose connection was used before and got cut, and never a write."""


def faults_of(*steps: str) -> list[tuple[str, Fault]]:
    """Each step with each fault that it can have."""
    return [(step, fault) for step in steps for fault in Fault if not (step.startswith("GET") and fault in CUT)]


@dataclass
class Scene:
    """A stand-in for Stripe, a provider, and a card that it may charge."""

    stripe: StripeStandIn
    provider: StripeProvider
    method: PaymentMethodReference

    def attempt(self, key: str = "refill/1") -> ChargeAttempt:
        return ChargeAttempt(key, 50_000_000, "USD", self.method, "Calling credits", {"office_id": "berlin"})

    async def look_up(self, attempt: ChargeAttempt, provider: StripeProvider | None = None) -> ChargeOutcome:
        return await (provider or self.provider).look_up(attempt, sent_at_ms=wall_ms())

    async def charges(self) -> int:
        return len(await self.stripe.additions.charges())

    async def known(self, attempt: ChargeAttempt) -> ChargeOutcome:
        """Look up until the outcome is known, as the gateway does."""
        for _ in range(4):
            outcome = await self.look_up(attempt)
            if not isinstance(outcome, Unknown):
                return outcome
        raise AssertionError("the outcome stays unknown")

    async def pays_once(self, first: ChargeOutcome) -> None:
        """Do what the gateway does next: look up what is unknown, charge anew what was not charged. One charge."""
        outcome = await self.known(self.attempt()) if isinstance(first, Unknown) else first
        if isinstance(outcome, NotCharged):
            assert outcome.can_retry
            assert await self.charges() == 0
            outcome = await self.provider.charge(self.attempt("refill/2"))
        assert isinstance(outcome, Succeeded)
        assert await self.charges() == 1


@asynccontextmanager
async def scene(url: str, token: str = "pm_card_visa") -> AsyncIterator[Scene]:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        added = await provider.add_payment_method(NewPaymentMethod(token, "berlin", "card/1"))
        assert isinstance(added, PaymentMethodAdded)
        yield Scene(stripe, provider, added.reference)


@pytest.fixture
def url(localstripe: str) -> str:
    return localstripe


@pytest.mark.parametrize(
    ("step", "fault", "outcome", "found"),
    [
        (LIST, Fault.DROPPED, Succeeded, Succeeded),
        (LIST, Fault.RATE_LIMITED, NotCharged, NotCharged),
        (LIST, Fault.FAILS_BEFORE, Unknown, NotCharged),
        (LIST, Fault.BAD_GATEWAY, Unknown, NotCharged),
        (LIST, Fault.NONSENSE, Unknown, NotCharged),
        (CREATE, Fault.DROPPED, Unknown, NotCharged),
        (CREATE, Fault.REPLY_LOST, Unknown, NotCharged),
        (CREATE, Fault.RATE_LIMITED, NotCharged, NotCharged),
        (CREATE, Fault.FAILS_BEFORE, Unknown, NotCharged),
        (CREATE, Fault.FAILS_AFTER, Unknown, NotCharged),
        (CREATE, Fault.BAD_GATEWAY, Unknown, NotCharged),
        (CREATE, Fault.NONSENSE, Unknown, NotCharged),
        (CONFIRM, Fault.DROPPED, Unknown, NotCharged),
        (CONFIRM, Fault.REPLY_LOST, Unknown, Succeeded),
        (CONFIRM, Fault.RATE_LIMITED, NotCharged, NotCharged),
        (CONFIRM, Fault.FAILS_BEFORE, Unknown, NotCharged),
        (CONFIRM, Fault.FAILS_AFTER, Unknown, Succeeded),
        (CONFIRM, Fault.BAD_GATEWAY, Unknown, Succeeded),
        (CONFIRM, Fault.NONSENSE, Unknown, Succeeded),
    ],
)
async def test_a_charge_with_a_fault_is_one_charge(
    url: str, step: str, fault: Fault, outcome: type[ChargeOutcome], found: type[ChargeOutcome]
) -> None:
    async with scene(url) as at:
        at.stripe.proxy.fail(step, fault)
        first = await at.provider.charge(at.attempt())
        assert type(first) is outcome
        assert type(await at.known(at.attempt())) is found
        await at.pays_once(first)


@pytest.mark.parametrize(
    ("charge_step", "step", "fault"),
    [(CONFIRM, *each) for each in faults_of(LIST, CANCEL)]
    + [(CREATE, *each) for each in faults_of(LIST, CREATE, CANCEL)],
)
async def test_a_look_up_with_a_fault_can_be_repeated(url: str, charge_step: str, step: str, fault: Fault) -> None:
    async with scene(url) as at:
        at.stripe.proxy.fail(charge_step, Fault.DROPPED)
        first = await at.provider.charge(at.attempt())
        at.stripe.proxy.fail(step, fault)
        assert isinstance(await at.look_up(at.attempt()), Unknown)
        await at.pays_once(first)


@pytest.mark.parametrize("days_pass", [False, True])
@pytest.mark.parametrize("step", [LIST, CREATE, CONFIRM])
@pytest.mark.parametrize("reply", [False, True])
async def test_a_charge_that_is_held_up_and_a_look_up_elsewhere(
    url: str, step: str, reply: bool, days_pass: bool
) -> None:
    # By its own clock, no time passes for the frozen machine: it stands still, too.
    async with scene(url) as at, at.stripe.provider() as frozen, at.stripe.provider() as elsewhere:
        gate = at.stripe.proxy.hold_reply(step) if reply else at.stripe.proxy.hold(step)
        charging = asyncio.create_task(frozen.charge(at.attempt()))
        await gate.reached()
        found = await at.look_up(at.attempt(), elsewhere)
        charged_before = await at.charges()
        if days_pass:
            at.stripe.proxy.days_pass()
        gate.open()
        late = await charging
        charged = await at.charges()
        if isinstance(found, NotCharged):
            assert charged == 0
            assert not isinstance(late, Succeeded)
            assert isinstance(await at.look_up(at.attempt(), elsewhere), NotCharged)
        else:
            # Stripe was at it: the confirmation is carried out, or is the one that a 409 speaks of.
            assert isinstance(found, Unknown | Succeeded)
            assert charged <= 1
        assert charged >= charged_before
        await at.pays_once(Unknown("whoever restarts looks up"))


async def test_a_look_up_that_is_frozen_for_days_sees_the_charge_made_meanwhile(url: str) -> None:
    async with scene(url) as at, at.stripe.provider() as frozen:
        gate = at.stripe.proxy.hold(CREATE)
        looking = asyncio.create_task(at.look_up(at.attempt(), frozen))
        await gate.reached()
        charged = await at.provider.charge(at.attempt())
        assert isinstance(charged, Succeeded)
        at.stripe.proxy.days_pass()
        gate.open()
        assert await looking == charged
        assert await at.look_up(at.attempt()) == charged
        assert await at.charges() == 1


async def test_a_charge_that_begins_days_after_its_key_was_used_up_charges_nothing(url: str) -> None:
    async with scene(url) as at:
        assert isinstance(await at.look_up(at.attempt()), NotCharged)
        at.stripe.proxy.days_pass()
        assert isinstance(await at.provider.charge(at.attempt()), NotCharged)
        assert await at.charges() == 0


async def test_days_later_a_charge_is_still_found(url: str) -> None:
    async with scene(url) as at:
        at.stripe.proxy.fail(CONFIRM, Fault.REPLY_LOST)
        assert isinstance(await at.provider.charge(at.attempt()), Unknown)
        at.stripe.proxy.days_pass()
        await at.pays_once(await at.look_up(at.attempt()))


async def test_a_charge_is_found_among_the_customers_many(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_api, "PAGE_SIZE", 2)
    async with scene(url) as at:
        outcomes = [await at.provider.charge(at.attempt(f"refill/{number}")) for number in range(5)]
        at.stripe.proxy.days_pass()
        assert [await at.look_up(at.attempt(f"refill/{number}")) for number in range(5)] == outcomes
        monkeypatch.setattr(stripe_api, "MAX_PAGES", 2)
        assert isinstance(await at.look_up(at.attempt("refill/0")), Unknown)
        assert await at.charges() == 5


async def test_no_answer_in_time_is_unknown(url: str) -> None:
    async with scene(url) as at, at.stripe.provider(timeout_seconds=0.5) as hasty:
        gate = at.stripe.proxy.hold_reply(CONFIRM)
        assert isinstance(await hasty.charge(at.attempt()), Unknown)
        gate.open()
        await at.pays_once(await at.look_up(at.attempt()))


async def test_a_charge_that_is_cancelled_can_be_looked_up(url: str) -> None:
    async with scene(url) as at:
        for number, step in enumerate((LIST, CREATE, CONFIRM)):
            attempt = at.attempt(f"cancelled/{number}")
            gate = at.stripe.proxy.hold(step)
            charging = asyncio.create_task(at.provider.charge(attempt))
            await gate.reached()
            charging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await charging
            gate.open()
            final = await at.known(attempt)
            assert await at.known(attempt) == final
            assert await at.charges() == (1 if isinstance(final, Succeeded) else 0)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (Fault.DROPPED, NotCharged),
        (Fault.REPLY_LOST, ActionRequired),
        (Fault.FAILS_BEFORE, NotCharged),
        (Fault.FAILS_AFTER, ActionRequired),
        (Fault.BAD_GATEWAY, ActionRequired),
    ],
)
async def test_a_question_to_the_owner_with_a_fault(url: str, fault: Fault, found: type[ChargeOutcome]) -> None:
    async with scene(url, "pm_proxy_asks_at_charge") as at:
        at.stripe.proxy.fail(CONFIRM_ON_SESSION, fault)
        assert isinstance(await at.provider.charge(at.attempt()), Unknown)
        outcome = await at.known(at.attempt())
        assert type(outcome) is found
        if isinstance(outcome, NotCharged):
            assert outcome.can_retry
            outcome = await at.provider.charge(at.attempt("refill/2"))
        assert isinstance(outcome, ActionRequired)
        await at.stripe.additions.answer_link(outcome.confirmation_url, True)
        assert await at.charges() == 1


async def test_a_write_is_sent_once_and_never_by_the_client_of_its_own_accord(url: str) -> None:
    async with scene(url) as at:
        for number, step in enumerate((CREATE, CONFIRM, CREATE, CONFIRM)):
            sent_before = len([request for request in at.stripe.proxy.requests if request.method == "POST"])
            at.stripe.proxy.fail(step, Fault.DROPPED)
            assert isinstance(await at.provider.charge(at.attempt(f"refill/{number}")), Unknown)
            sent = len([request for request in at.stripe.proxy.requests if request.method == "POST"]) - sent_before
            assert sent == (1 if step == CREATE else 2)


async def test_a_link_leads_back_to_our_return_page(url: str) -> None:
    async with scene(url, "pm_proxy_asks_at_charge") as at:
        asked = await at.provider.charge(at.attempt())
        assert isinstance(asked, ActionRequired)
        confirmed = at.stripe.proxy.requests[-1]
        assert confirmed.form["return_url"] == "http://127.0.0.1:8080/payments/return"
        assert asked.confirmation_url.endswith(asked.charge_id)


@pytest.mark.parametrize(("step", "fault"), faults_of(READ, CANCEL))
async def test_an_end_with_a_fault_can_be_repeated(url: str, step: str, fault: Fault) -> None:
    async with scene(url, "pm_proxy_asks_at_charge") as at:
        asked = await at.provider.charge(at.attempt())
        assert isinstance(asked, ActionRequired)
        at.stripe.proxy.fail(step, fault)
        assert isinstance(await at.provider.cancel(asked.charge_id), Unknown)
        assert isinstance(await at.provider.cancel(asked.charge_id), NotCharged)
        await at.stripe.additions.answer_link(asked.confirmation_url, True)
        assert await at.charges() == 0


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.FAILS_BEFORE])
async def test_a_refund_with_a_fault_is_one_refund(url: str, fault: Fault) -> None:
    async with scene(url) as at:
        charged = await at.provider.charge(at.attempt())
        assert isinstance(charged, Succeeded)
        at.stripe.proxy.fail(REFUND, fault)
        assert isinstance(await at.provider.refund(charged.charge_id, idempotency_key="back/1"), Unknown)
        given_back = await at.provider.refund(charged.charge_id, idempotency_key="back/1")
        assert isinstance(given_back, Refunded)
        at.stripe.proxy.days_pass()
        assert await at.provider.refund(charged.charge_id, idempotency_key="back/1") == given_back


async def test_a_refund_that_failed_inside_stripe_is_made_when_the_key_is_forgotten(url: str) -> None:
    async with scene(url) as at:
        charged = await at.provider.charge(at.attempt())
        assert isinstance(charged, Succeeded)
        at.stripe.proxy.fail(REFUND, Fault.FAILS_BEFORE)
        for _ in range(2):
            assert isinstance(await at.provider.refund(charged.charge_id, idempotency_key="back/1"), Unknown)
        at.stripe.proxy.days_pass()
        assert isinstance(await at.provider.refund(charged.charge_id, idempotency_key="back/1"), Refunded)


async def test_a_disputed_charge_is_not_given_back(url: str) -> None:
    async with scene(url) as at:
        charged = await at.provider.charge(at.attempt())
        assert isinstance(charged, Succeeded)
        await at.stripe.additions.dispute(charged.charge_id)
        refused = await at.provider.refund(charged.charge_id, idempotency_key="back/1")
        assert isinstance(refused, RefundRefused)
        assert refused.code == "charge_disputed"


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (step, fault)
        for step, fault in faults_of("POST /v1/customers ", "POST /v1/setup_intents ", "GET /v1/payment_methods/")
        # Stripe answers a key with its failure for a day: to be added with a new one.
        if fault not in (Fault.FAILS_BEFORE, Fault.FAILS_AFTER)
    ],
)
async def test_a_card_is_added_once_though_a_request_failed(url: str, step: str, fault: Fault) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        request = NewPaymentMethod("pm_card_visa", "berlin", "card/1")
        stripe.proxy.fail(step, fault)
        with pytest.raises(ProviderUnavailable):
            await provider.add_payment_method(request)
        added = await provider.add_payment_method(request)
        assert await provider.add_payment_method(request) == added
        events = [event["type"] for event in await stripe.additions.events()]
        assert events.count("customer.created") == 1


async def test_nobody_listens(url: str) -> None:
    async with scene(url) as at, at.stripe.provider(base_url=f"http://127.0.0.1:{free_port()}") as away:
        outcome = await away.charge(at.attempt())
        assert isinstance(outcome, NotCharged)
        assert (outcome.code, outcome.can_retry) == ("unreachable", True)
        assert isinstance(await at.look_up(at.attempt(), away), Unknown)
        assert isinstance(await away.cancel("pi_1"), Unknown)
        assert isinstance(await away.refund("pi_1", idempotency_key="back/1"), Unknown)
        for refused in (away.check(), away.add_payment_method(NewPaymentMethod("pm_card_visa", "berlin", "card/2"))):
            with pytest.raises(ProviderUnavailable):
                await refused
        await at.pays_once(outcome)


async def test_a_key_that_stripe_does_not_take(url: str) -> None:
    api_key = "pk_live_of_the_wrong_kind"
    async with scene(url) as at, at.stripe.provider(api_key=api_key) as refused:
        outcome = await refused.charge(at.attempt())
        assert isinstance(outcome, NotCharged)
        assert (outcome.code, outcome.can_retry) == ("provider_unusable", False)
        assert isinstance(await at.look_up(at.attempt(), refused), Unknown)
        for call in (refused.check(), refused.add_payment_method(NewPaymentMethod("pm_card_visa", "berlin", "card/2"))):
            with pytest.raises(ProviderUnusable, match="TOLLGATE_STRIPE_API_KEY") as caught:
                await call
            assert api_key not in str(caught.value)


async def test_a_customer_of_another_account_is_not_taken_for_never_charged(url: str) -> None:
    async with scene(url) as at:
        elsewhere = replace(at.attempt(), method=PaymentMethodReference("cus_of_another_account", "pm_1"))
        assert isinstance(await at.look_up(elsewhere), Unknown)


async def test_a_card_that_is_gone_is_not_charged_whenever_one_asks(url: str) -> None:
    async with scene(url) as at:
        gone = replace(at.attempt(), method=replace(at.method, method_id="pm_that_is_gone"))
        for outcome in (await at.provider.charge(gone), await at.look_up(gone)):
            assert isinstance(outcome, NotCharged)
            assert (outcome.code, outcome.can_retry) == ("not_found", False)


@pytest.mark.parametrize(
    "charge_id", ["", "pi_", "pi_1/cancel", "pi_1?x=1", "ch_1", "pi_there_is_none", "../customers"]
)
async def test_what_is_no_charge(url: str, charge_id: str) -> None:
    async with scene(url) as at:
        for call in (at.provider.cancel(charge_id), at.provider.refund(charge_id, idempotency_key="back/1")):
            with pytest.raises(Exception, match="has no charge"):
                await call


async def test_payments_of_others_in_the_same_account_are_left_alone(url: str) -> None:
    async with scene(url) as at:
        form = {"amount": "100", "currency": "usd", "customer": at.method.customer_id}
        body = urlencode({**form, "payment_method": at.method.method_id, "metadata[shop]": "1"})
        foreign = json.loads((await at.stripe.additions(Request("POST", "/v1/payment_intents", "", body))).body)["id"]
        for call in (at.provider.cancel(foreign), at.provider.refund(foreign, idempotency_key="back/1")):
            with pytest.raises(Exception, match="has no charge"):
                await call
        assert (await at.stripe.additions.intent(foreign))["status"] == "requires_confirmation"
