"""StripeProvider on a stand-in for Stripe: localstripe in its own process, the additions and the proxy before it."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from stripe import WebhookSignature

from gateway.payments.stripe_provider import StripeProvider
from tests.support.idempotency_proxy import IdempotencyProxy
from tests.support.localstripe import API_KEY
from tests.support.stripe_additions import StripeAdditions

WEBHOOK_SECRET = "whsec_of_the_tests"
PUBLIC_URL = "http://127.0.0.1:8080"


def wall_ms() -> int:
    """The present, by the clock that localstripe goes by too."""
    return time.time_ns() // 1_000_000


@dataclass
class StripeStandIn:
    """The stand-in, and how to make providers for it."""

    proxy: IdempotencyProxy
    additions: StripeAdditions

    @asynccontextmanager
    async def provider(
        self,
        *,
        api_key: str = API_KEY,
        timeout_seconds: float = 20.0,
        base_url: str | None = None,
        clock_ms: Callable[[], int] = wall_ms,
    ) -> AsyncIterator[StripeProvider]:
        """A provider, as a process of the gateway has one."""
        provider = StripeProvider(
            api_key,
            [WEBHOOK_SECRET],
            public_url=PUBLIC_URL,
            timeout_seconds=timeout_seconds,
            base_url=base_url or self.proxy.url,
            clock_ms=clock_ms,
        )
        try:
            yield provider
        finally:
            await provider.close()

    async def webhooks(self) -> list[tuple[bytes, str]]:
        """Every event so far, signed by the SDK."""
        bodies = [json.dumps(event) for event in await self.additions.events()]
        return [(body.encode(), WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET)) for body in bodies]


@asynccontextmanager
async def stripe_stand_in(localstripe: str) -> AsyncIterator[StripeStandIn]:
    """Stand in for Stripe until the block ends; localstripe is emptied first."""
    async with aiohttp.ClientSession() as session:
        async with session.delete(f"{localstripe}/_config/data") as emptied:
            assert emptied.status == 200
        additions = StripeAdditions(localstripe, session, authorization=f"Bearer {API_KEY}")
        async with IdempotencyProxy(additions, additions.fault_of) as proxy:
            yield StripeStandIn(proxy, additions)
