"""What the gateway does of its own accord and for others outside, traced: refills, notices, callbacks."""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.domain.notice import Delivery
from gateway.domain.switch import Switch
from gateway.hooks.callback_client import CallbackClient
from gateway.ledger.auto_refills import AutoRefill
from gateway.notices.sender import Sender
from gateway.tracing.tracer import ROOT, Attribute, Kind, Tracer

Advance = Callable[[AutoRefill], Awaitable[None]]


def traced_refills(tracer: Tracer | None, advance: Advance) -> Advance:
    """Each step of a refill in a span. All of them: they are few, and each may charge a card."""
    if tracer is None:
        return advance

    async def traced(refill: AutoRefill) -> None:
        attributes = {
            "tollgate.refill_id": refill.refill_id,
            "tollgate.office_id": refill.office_id,
            "tollgate.refill_status": refill.status.value,
        }
        with tracer.span("refill attempt", beginning=ROOT, attributes=attributes):
            await advance(refill)

    return traced


class TracedSender:
    """A way that notices go, with a span for each attempt: they are few.

    Args:
        tracer: Records.
        sender: Sends.
    """

    def __init__(self, tracer: Tracer, sender: Sender) -> None:
        self._tracer = tracer
        self._sender = sender
        self.channel = sender.channel

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:
        """As the sender does."""
        # Without the recipient: addresses of people are not for a collector.
        attributes: dict[str, Attribute] = {
            "tollgate.channel": self.channel.name,
            "tollgate.notice_key": delivery.notice.key,
            "tollgate.notice_kind": str(delivery.notice.kind),
            "tollgate.attempt": delivery.attempt,
        }
        with self._tracer.span("notice", kind=Kind.CLIENT, beginning=ROOT, attributes=attributes):
            await self._sender.send(delivery, now_ms=now_ms)

    async def close(self) -> None:
        """As the sender does."""
        await self._sender.close()


def traced_sender(tracer: Tracer | None, sender: Sender) -> Sender:
    """A sender, with spans where there is a tracer."""
    return sender if tracer is None else TracedSender(tracer, sender)


class TracedCallbackClient(CallbackClient):
    """Posts to callbacks, some of them traced."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    async def post(self, switch: Switch, content: dict[str, Any], *, timeout_seconds: float) -> bytes:
        """As `CallbackClient.post`."""
        beginning = self._tracer.sampled()
        if beginning is None:
            return await super().post(switch, content, timeout_seconds=timeout_seconds)
        attributes = {"tollgate.switch_id": switch.switch_id, "tollgate.kind": next(iter(content), "")}
        with self._tracer.span("callback post", kind=Kind.CLIENT, beginning=beginning, attributes=attributes):
            return await super().post(switch, content, timeout_seconds=timeout_seconds)
