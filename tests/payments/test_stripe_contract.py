"""Stripe keeps the contract of every provider: on localstripe, with what it lacks added before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.payments.contract import OpenSubject, ProviderContract, Subject, Tokens
from tests.support.stripe import stripe_stand_in, wall_ms

TOKENS = Tokens(
    succeeds="pm_card_visa",
    same_card="pm_card_visa",
    other_card="pm_proxy_other",
    declined="pm_card_chargeCustomerFail",
    insufficient_funds="pm_proxy_insufficient_funds",
    expired="pm_proxy_expired",
    authentication_required="pm_proxy_asks_at_charge",
    asked_when_added="pm_proxy_asks_when_added",
    refused_when_added="pm_card_visa_chargeDeclined",
    processing_error="pm_proxy_processing_error",
    request_lost="pm_proxy_request_lost",
    reply_lost="pm_proxy_reply_lost",
    unknown="pm_there_is_none",
)


@asynccontextmanager
async def stripe_subject(url: str) -> AsyncIterator[Subject]:
    async with stripe_stand_in(url) as stripe, stripe.provider() as provider:
        yield Subject(
            provider, TOKENS, wall_ms, stripe.additions.answer_link, stripe.additions.enter_card, stripe.webhooks
        )


@pytest.fixture
def open_subject(localstripe: str) -> OpenSubject:
    return lambda: stripe_subject(localstripe)


class TestContract(ProviderContract):
    """Each promise, one by one."""
