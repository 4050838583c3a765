"""Which provider the settings open, and what they are told when it will not do."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.payments.errors import ProviderUnavailable, ProviderUnusable, WebhookMalformed
from gateway.payments.open import open_provider
from gateway.payments.provider import NewPaymentMethod, PaymentMethodActionRequired
from gateway.payments.sandbox import FILE_NAME, SandboxProvider
from gateway.payments.stripe_provider import StripeProvider
from gateway.payments.webhook_signatures import sign_webhook
from gateway.settings import Settings, load_settings
from gateway.startup import StartupError
from tests.support.balances import ManualClock
from tests.support.localstripe import API_KEY
from tests.support.stripe import WEBHOOK_SECRET, stripe_stand_in, wall_ms


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from the machine the tests run on."""
    for name in list(os.environ):
        if name.upper().startswith("TOLLGATE_"):
            monkeypatch.delenv(name)


async def opened(settings: Settings) -> None:
    provider = await open_provider(settings, clock_ms=ManualClock().now_ms)
    try:
        assert isinstance(provider, SandboxProvider)
    finally:
        await provider.close()


async def test_the_sandbox_is_opened_with_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logged:
        await opened(load_settings(data_dir=tmp_path))
    [warning] = [entry for entry in logged if entry["event"] == "payment_sandbox_in_use"]
    assert warning["log_level"] == "warning"
    assert "TOLLGATE_PAYMENT_PROVIDER" in warning["cure"]
    assert (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"currency": "XXX"}, "TOLLGATE_CURRENCY: must be an ISO 4217 code"),
        ({"currency": "DEM"}, "TOLLGATE_CURRENCY: "),
        ({"refill_amount_micros": 50_000_001}, "TOLLGATE_REFILL_AMOUNT_MICROS: must be a multiple of 10000 micros"),
        ({"refill_amount_micros": 50_010_000, "currency": "JPY"}, "TOLLGATE_REFILL_AMOUNT_MICROS: .*steps of 1"),
    ],
)
async def test_amounts_that_no_card_can_be_charged_with(tmp_path: Path, flags: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        await opened(load_settings(data_dir=tmp_path, **flags))


async def no_answer(_provider: SandboxProvider) -> None:
    raise ProviderUnavailable


async def never_an_answer(_provider: SandboxProvider) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("check", [no_answer, never_an_answer])
async def test_a_provider_that_does_not_answer_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: object
) -> None:
    monkeypatch.setattr(SandboxProvider, "check", check)
    monkeypatch.setattr("gateway.payments.open.CHECK_SECONDS", 0.02)
    with capture_logs() as logged:
        await opened(load_settings(data_dir=tmp_path))
    assert [entry["event"] for entry in logged][-1] == "payment_provider_unavailable"


async def test_a_provider_that_refuses_us_keeps_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_provider: SandboxProvider) -> None:
        raise ProviderUnusable("The key was revoked: set another one.")

    monkeypatch.setattr(SandboxProvider, "check", refuse)
    with pytest.raises(StartupError, match="TOLLGATE_PAYMENT_PROVIDER: The key was revoked"):
        await opened(load_settings(data_dir=tmp_path))


STRIPE = {"payment_provider": "stripe", "stripe_api_key": API_KEY, "stripe_webhook_secret": WEBHOOK_SECRET}


async def test_stripe_is_opened_with_what_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, localstripe: str
) -> None:
    settings = load_settings(data_dir=tmp_path, public_url="https://calls.example.com", **STRIPE)
    async with stripe_stand_in(localstripe) as stripe:
        monkeypatch.setattr("gateway.payments.open.StripeProvider", partial(StripeProvider, base_url=stripe.proxy.url))
        provider = await open_provider(settings, clock_ms=wall_ms)
        try:
            assert provider.name == "stripe"
            assert [request.authorization for request in stripe.proxy.requests] == [f"Bearer {API_KEY}"]
            asked = NewPaymentMethod("pm_proxy_asks_when_added", "berlin", "card/1")
            assert isinstance(await provider.add_payment_method(asked), PaymentMethodActionRequired)
            assert stripe.proxy.requests[-1].form["return_url"] == "https://calls.example.com/payments/return"
            signature = sign_webhook(b"{}", [WEBHOOK_SECRET], now_ms=wall_ms())
            with pytest.raises(WebhookMalformed):
                provider.parse_webhook(b"{}", signature, now_ms=wall_ms())
        finally:
            await provider.close()


async def test_a_key_that_stripe_refuses_keeps_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, localstripe: str
) -> None:
    settings = load_settings(data_dir=tmp_path, **{**STRIPE, "stripe_api_key": "rk_revoked"})
    async with stripe_stand_in(localstripe) as stripe:
        monkeypatch.setattr("gateway.payments.open.StripeProvider", partial(StripeProvider, base_url=stripe.proxy.url))
        with pytest.raises(StartupError, match="TOLLGATE_STRIPE_API_KEY") as caught:
            await open_provider(settings, clock_ms=wall_ms)
    assert "rk_revoked" not in str(caught.value)


async def test_amounts_that_stripe_does_not_take(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, currency="KWD", refill_amount_micros=50_001_000, **STRIPE)
    with pytest.raises(StartupError, match="TOLLGATE_REFILL_AMOUNT_MICROS: must be a multiple of 10000 micros"):
        await open_provider(settings, clock_ms=wall_ms)


async def test_a_sandbox_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StartupError, match=f"TOLLGATE_PAYMENT_PROVIDER: .*{FILE_NAME}"):
        await opened(load_settings(data_dir=tmp_path))
