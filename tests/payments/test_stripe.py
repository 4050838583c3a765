"""What is Stripe's own beside the contract: SetupIntents of the browser, webhooks that localstripe sends, secrets."""

import asyncio
import io
import json
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlencode

import pytest
import structlog
from aiohttp import web

from gateway.errors import InvalidArgument
from gateway.log import configure_logging
from gateway.payments.errors import (
    CardEntryInvalid,
    CardEntryUnfinished,
    CardNumberRefused,
    PaymentTokenInvalid,
    ProviderUnavailable,
    ProviderUnusable,
    WebhookMalformed,
    WebhookSignatureInvalid,
    WebhookStale,
)
from gateway.payments.provider import (
    ActionRequired,
    CardEntry,
    ChargeAttempt,
    Declined,
    NewPaymentMethod,
    PaymentEvent,
    PaymentEventKind,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    Refunded,
    Succeeded,
)
from gateway.payments.stripe_provider import StripeProvider
from gateway.payments.webhook_signatures import sign_webhook
from tests.support.idempotency_proxy import Fault, Request
from tests.support.localstripe import API_KEY
from tests.support.sandbox import entry_in
from tests.support.stripe import WEBHOOK_SECRET, StripeStandIn, stripe_stand_in, wall_ms

DELIVERY_SECONDS = 15.0
ENTRY = CardEntry("berlin", "https://credits.example/entered", "https://credits.example/", "entry/1")


@pytest.fixture
def url(localstripe: str) -> str:
    return localstripe


async def setup_intent_of_the_browser(stripe: StripeStandIn, customer_id: str = "", token: str = "pm_card_visa") -> str:
    """A SetupIntent that the form in the browser has confirmed, or not if there is no token."""
    form = {"usage": "off_session", **({"customer": customer_id} if customer_id else {})}
    made = await stripe.additions.pass_on(Request("POST", "/v1/setup_intents", "", urlencode(form)))
    setup_id = str(re.search(r'"id": "(seti_\w+)"', made.body)[1])  # type: ignore[index]
    if token:
        await stripe.additions.confirm_setup(setup_id, payment_method=token)
    return setup_id


async def added(provider: StripeProvider, token: str, key: str = "card/1") -> PaymentMethodAdded:
    outcome = await provider.add_payment_method(NewPaymentMethod(token, "berlin", key))
    assert isinstance(outcome, PaymentMethodAdded)
    return outcome


async def test_the_card_of_a_setup_intent_that_the_browser_confirmed_is_added(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        card = await added(provider, await setup_intent_of_the_browser(stripe))
        attempt = ChargeAttempt("refill/1", 50_000_000, "USD", card.reference, "Calling credits")
        assert isinstance(await provider.charge(attempt), Succeeded)


async def test_a_setup_intent_that_is_not_finished_is_no_card_yet(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        token = await setup_intent_of_the_browser(stripe, token="")
        with pytest.raises(PaymentTokenInvalid, match="finish it"):
            await provider.add_payment_method(NewPaymentMethod(token, "berlin", "card/1"))


@pytest.mark.parametrize("customer", ["", "another"])
async def test_the_card_of_anothers_setup_intent_is_not_given_away(url: str, customer: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        owner = (await added(provider, "pm_card_visa")).reference.customer_id
        token = await setup_intent_of_the_browser(stripe, customer_id=owner)
        stranger = (await added(provider, "pm_card_visa", "card/2")).reference.customer_id if customer else None
        request = NewPaymentMethod(token, "munich", "card/3", customer_id=stranger)
        with pytest.raises(PaymentTokenInvalid, match="another customer"):
            await provider.add_payment_method(request)


async def test_what_stripe_is_asked_for_a_card_to_be_entered(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        entry = CardEntry("berlin", "https://credits.example/?x=1", "https://credits.example/no", "entry/1")
        page = await provider.begin_card_entry(entry)
        customer, checkout = (request.form for request in stripe.proxy.requests)
        assert customer == {"metadata[tollgate_owner]": "berlin"}
        assert checkout == {
            "mode": "setup",
            "customer": checkout["customer"],
            "allowed_payment_method_types[0]": "card",
            "success_url": "https://credits.example/?x=1&entry={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://credits.example/no",
            "metadata[tollgate_owner]": "berlin",
            "setup_intent_data[metadata][tollgate_owner]": "berlin",
        }
        entered = entry_in(await stripe.additions.enter_card(page, "pm_proxy_asks_when_added"))
        card = await added(provider, await provider.finish_card_entry(entered, owner_id="berlin"))
        assert card.reference.customer_id == checkout["customer"]
        assert len(stripe.proxy.requests) == 5  # No other customer, and nothing is set up twice.


@pytest.mark.parametrize("is_expired", [True, False])
async def test_an_entry_without_a_card_is_not_finished(url: str, is_expired: bool) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        page = await provider.begin_card_entry(ENTRY)
        session_id = stripe.additions.expire_checkout(page) if is_expired else page.rsplit("/", 1)[1]
        with pytest.raises(CardEntryUnfinished, match="begin anew"):
            await provider.finish_card_entry(session_id, owner_id="berlin")


async def test_the_checkout_of_somebody_else_in_the_account_is_no_entry(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        customer = (await added(provider, "pm_card_visa")).reference.customer_id
        form = {"mode": "setup", "customer": customer, "currency": "usd"}
        form |= {"success_url": "https://shop.example/{CHECKOUT_SESSION_ID}", "cancel_url": "https://shop.example"}
        made = await stripe.additions(Request("POST", "/v1/checkout/sessions", "", urlencode(form)))
        returned = await stripe.additions.enter_card(json.loads(made.body)["url"], "pm_card_visa")
        with pytest.raises(CardEntryInvalid, match="none of this owner's"):
            await provider.finish_card_entry(returned.rsplit("/", 1)[1], owner_id="berlin")


@pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.REPLY_LOST, Fault.RATE_LIMITED, Fault.NONSENSE])
@pytest.mark.parametrize("request_line", ["POST /v1/customers", "POST /v1/checkout/sessions", "GET /v1/checkout"])
async def test_an_entry_whose_answer_is_lost_is_tried_again(url: str, fault: Fault, request_line: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:

        async def enter() -> str:
            page = await provider.begin_card_entry(ENTRY)
            with suppress(AssertionError):  # Entered already, by the try before.
                await stripe.additions.enter_card(page, "pm_card_visa")
            return await provider.finish_card_entry(page.rsplit("/", 1)[1], owner_id="berlin")

        is_repeated = request_line.startswith("GET") and fault in (Fault.DROPPED, Fault.REPLY_LOST)
        for _ in range(2 if is_repeated else 1):  # By the HTTP client: a GET whose connection was closed.
            stripe.proxy.fail(request_line, fault)
        with pytest.raises(ProviderUnavailable):
            await enter()
        await added(provider, await enter())


async def test_stripe_that_lets_no_card_be_entered_is_told(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        stripe.additions.cards_are_on = False
        with pytest.raises(ProviderUnusable, match="payment methods"):
            await provider.begin_card_entry(ENTRY)


async def test_anothers_card_is_not_added(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        method_id = (await added(provider, "pm_card_visa")).reference.method_id
        with pytest.raises(PaymentTokenInvalid):
            await provider.add_payment_method(NewPaymentMethod(method_id, "munich", "card/2"))


@pytest.mark.parametrize(
    "token", ["tok_visa", "src_1", "cus_1", "pi_1", "pm", "seti", "seti_there_is_none", "pm_1/attach"]
)
async def test_what_is_no_token_of_stripes_form(url: str, token: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        with pytest.raises(PaymentTokenInvalid):
            await provider.add_payment_method(NewPaymentMethod(token, "berlin", "card/1"))


async def test_only_what_stripe_can_charge_to_the_micro_is_sent(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        reference = (await added(provider, "pm_card_visa")).reference
        sent = len(stripe.proxy.requests)
        for call in (
            provider.charge(ChargeAttempt("refill/1", 12_341_000, "KWD", reference, "Calling credits")),
            provider.look_up(ChargeAttempt("refill/1", 50_010_000, "MGA", reference, "Credits"), sent_at_ms=wall_ms()),
        ):
            with pytest.raises(InvalidArgument) as caught:
                await call
            assert caught.value.field == "amount_micros"
        assert len(stripe.proxy.requests) == sent


@pytest.mark.parametrize(
    ("token", "code", "can_retry"),
    [
        ("pm_proxy_stolen", "card_declined", False),
        ("pm_proxy_try_again_later", "do_not_honor", True),
        ("pm_proxy_do_not_try_again", "insufficient_funds", False),
    ],
)
async def test_the_banks_advice_and_what_is_not_told(url: str, token: str, code: str, can_retry: bool) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        reference = (await added(provider, token)).reference
        attempt = ChargeAttempt("refill/1", 50_000_000, "USD", reference, "Calling credits")
        for outcome in (await provider.charge(attempt), await provider.look_up(attempt, sent_at_ms=wall_ms())):
            assert isinstance(outcome, Declined)
            assert (outcome.code, outcome.can_retry) == (code, can_retry)


async def test_a_declined_charge_is_ended_once_it_is_looked_up(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        reference = (await added(provider, "pm_proxy_asks_at_charge")).reference
        attempt = ChargeAttempt("refill/1", 50_000_000, "USD", reference, "Calling credits")
        asked = await provider.charge(attempt)
        assert isinstance(asked, ActionRequired)
        await stripe.additions.answer_link(asked.confirmation_url, False)
        # The browser knows the intent's client secret by now, and could confirm it with another card.
        assert (await stripe.additions.intent(asked.charge_id))["status"] == "requires_payment_method"
        for _ in range(2):
            assert isinstance(await provider.look_up(attempt, sent_at_ms=wall_ms()), Declined)
            assert (await stripe.additions.intent(asked.charge_id))["status"] == "canceled"


async def test_webhooks_tell_of_refunds_and_disputes(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        reference = (await added(provider, "pm_card_visa")).reference
        charges = []
        for key in ("refill/1", "refill/2"):
            outcome = await provider.charge(
                ChargeAttempt(key, 50_000_000, "USD", reference, "Calling credits", {"office_id": "berlin"})
            )
            assert isinstance(outcome, Succeeded)
            charges.append(outcome.charge_id)
        assert isinstance(await provider.refund(charges[0], idempotency_key="back/1"), Refunded)
        await stripe.additions.dispute(charges[1])
        refunded, disputed = [
            provider.parse_webhook(body, signature, now_ms=wall_ms()) for body, signature in await stripe.webhooks()
        ][-2:]
        assert (refunded.kind, refunded.charge_id) == (PaymentEventKind.CHARGE_REFUNDED, charges[0])
        assert (refunded.idempotency_key, refunded.metadata) == ("refill/1", {"office_id": "berlin"})
        assert (disputed.kind, disputed.charge_id) == (PaymentEventKind.CHARGE_DISPUTED, charges[1])
        assert (disputed.idempotency_key, disputed.amount_micros) == (None, 50_000_000)


async def test_a_webhook_that_localstripe_sends_is_read(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        events: asyncio.Queue[PaymentEvent] = asyncio.Queue()

        async def receive(request: web.Request) -> web.Response:
            signature = request.headers["Stripe-Signature"]
            events.put_nowait(provider.parse_webhook(await request.read(), signature, now_ms=wall_ms()))
            return web.Response()

        app = web.Application()
        app.router.add_post("/payments/webhook", receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            form = {"url": f"http://{host}:{port}/payments/webhook", "secret": WEBHOOK_SECRET}
            await stripe.additions.pass_on(Request("POST", "/_config/webhooks/gateway", "", urlencode(form)))
            reference = (await added(provider, "pm_card_visa")).reference
            charged = await provider.charge(ChargeAttempt("refill/1", 50_000_000, "USD", reference, "Calling credits"))
            assert isinstance(charged, Succeeded)
            async with asyncio.timeout(DELIVERY_SECONDS):
                # localstripe sends each a second late: there may be some of the tests before.
                while (event := await events.get()).charge_id != charged.charge_id:
                    pass
            assert event.kind is PaymentEventKind.CHARGE_SUCCEEDED
            assert (event.idempotency_key, event.amount_micros) == ("refill/1", 50_000_000)
        finally:
            await runner.cleanup()


async def test_a_webhook_that_is_replayed_stale_forged_or_malformed(url: str) -> None:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        now_ms = wall_ms()
        body, signature = b'{"id":"evt_1"}', sign_webhook(b'{"id":"evt_1"}', [WEBHOOK_SECRET], now_ms=now_ms)
        for wrong, when, refused in [
            (signature, now_ms, WebhookMalformed),
            (signature, now_ms + 302_000, WebhookStale),
            (signature, now_ms - 302_000, WebhookStale),
            (sign_webhook(body, ["whsec_of_another"], now_ms=now_ms), now_ms, WebhookSignatureInvalid),
            (signature.replace("v1=", "v0="), now_ms, WebhookSignatureInvalid),
            ("", now_ms, WebhookSignatureInvalid),
        ]:
            with pytest.raises(refused):
                provider.parse_webhook(body, wrong, now_ms=when)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, the libraries' details too."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("debug", "json", "back", stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        root.handlers, root.level = handlers, level


async def test_no_secret_is_logged_or_told(url: str, log: io.StringIO) -> None:
    number = "4242 4242 4242 4242"
    told: list[str] = []
    async with (
        stripe_stand_in(url) as stripe,
        stripe.provider() as provider,
        stripe.provider(api_key="pk_a_b_c") as bad,
    ):
        with pytest.raises(CardNumberRefused) as refused:
            await provider.add_payment_method(NewPaymentMethod(number, "berlin", "card/0"))
        with pytest.raises(ProviderUnusable) as unusable:
            await bad.check()
        with pytest.raises(WebhookSignatureInvalid) as forged:
            provider.parse_webhook(b"{}", "t=1,v1=00", now_ms=wall_ms())
        told += ["".join(traceback.format_exception(each.value)) for each in (refused, unusable, forged)]
        for token in ("pm_card_visa", "pm_proxy_insufficient_funds", "pm_proxy_asks_at_charge", "pm_proxy_reply_lost"):
            reference = (await added(provider, token, f"card/{token}")).reference
            attempt = ChargeAttempt(f"refill/{token}", 50_000_000, "USD", reference, "Calling credits")
            stripe.proxy.fail("GET /v1/payment_intents ", Fault.BAD_GATEWAY)
            told += [repr(await provider.charge(attempt)) for _ in range(3)]
        asked = await provider.add_payment_method(NewPaymentMethod("pm_proxy_asks_when_added", "berlin", "card/9"))
        assert isinstance(asked, PaymentMethodActionRequired)
        told += [repr(asked), repr(provider)]
    text = log.getvalue() + "".join(told)
    assert "stripe_request_failed" in text
    for secret in (API_KEY, "pk_a_b_c", WEBHOOK_SECRET, number, number.replace(" ", "")):
        assert secret not in text
    assert not re.search(r"i_[A-Za-z0-9]+_secret_", text), "an intent's client secret"
