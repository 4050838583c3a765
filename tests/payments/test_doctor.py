"""What `tollgate doctor` says of Stripe."""

from functools import partial

import pytest

from gateway.cli.doctor.findings import Verdict
from gateway.cli.doctor.payments import examine_payments
from gateway.payments.stripe_provider import StripeProvider
from gateway.settings import Settings
from tests.support.localstripe import API_KEY
from tests.support.stripe import WEBHOOK_SECRET, stripe_stand_in


def by_stripe(key: str) -> Settings:
    return Settings(payment_provider="stripe", stripe_api_key=key, stripe_webhook_secret=WEBHOOK_SECRET)


@pytest.mark.parametrize(
    ("key", "verdict", "words"),
    [
        (API_KEY, Verdict.OK, "stripe answers, and takes the key"),
        ("rk_revoked", Verdict.FAIL, "TOLLGATE_STRIPE_API_KEY"),
    ],
)
async def test_stripe_takes_the_key_or_not(
    monkeypatch: pytest.MonkeyPatch, localstripe: str, key: str, verdict: Verdict, words: str
) -> None:
    async with stripe_stand_in(localstripe) as stripe:
        monkeypatch.setattr("gateway.payments.open.StripeProvider", partial(StripeProvider, base_url=stripe.proxy.url))
        (finding,) = await examine_payments(by_stripe(key))
    assert (finding.verdict, words in finding.what) == (verdict, True), finding
    assert key not in finding.sentence


async def test_stripe_that_does_not_answer_keeps_no_call_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.payments.open.StripeProvider", partial(StripeProvider, base_url="http://127.0.0.1:1"))
    (finding,) = await examine_payments(by_stripe(API_KEY))
    assert finding.verdict is Verdict.WARN, finding
    assert "does not answer" in finding.what
