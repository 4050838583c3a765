"""The webhooks of the payment provider: checked, handed on, and acknowledged only when they are dealt with."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.payments.errors import WebhookRefused
from gateway.payments.provider import PaymentEvent, PaymentProvider

log = structlog.get_logger(__name__)

WEBHOOK_PATH: Final = "/payments/webhook"
MAX_WEBHOOK_BYTES: Final = 1024 * 1024

OnEvent: TypeAlias = Callable[[PaymentEvent], Awaitable[None]]
"""Deals with an event. When it returns, the event need not come again; it may come several times all the same.

Raises Unavailable when something that it needs is away: the provider then sends the event again.
"""


class WebhookReceiver:
    """Takes webhooks, by whichever way they come.

    Args:
        provider: Who signs them.
        on_event: Deals with what they tell.
        clock_ms: The present in Unix milliseconds.
    """

    def __init__(self, provider: PaymentProvider, on_event: OnEvent, clock_ms: Callable[[], int]) -> None:
        self._provider = provider
        self._on_event = on_event
        self._clock_ms = clock_ms

    async def receive(self, body: bytes, signature: str) -> None:
        """Check a webhook and have its event dealt with.

        Raises:
            WebhookRefused: It is not the provider's, or not of now.
            TollgateError: As `on_event`.
        """
        try:
            event = self._provider.parse_webhook(body, signature, now_ms=self._clock_ms())
        except WebhookRefused as error:
            log.warning("webhook_refused", provider=self._provider.name, reason=error.reason, problem=error.message)
            raise
        await self._on_event(event)


def webhook_routes(receiver: WebhookReceiver) -> Sequence[BaseRoute]:
    """Where the provider posts its webhooks."""

    async def webhook(request: Request) -> JSONResponse:
        await receiver.receive(await request.body(), request.headers.get("stripe-signature", ""))
        return JSONResponse({"received": True})

    return [Route(WEBHOOK_PATH, webhook, methods=["POST"])]
