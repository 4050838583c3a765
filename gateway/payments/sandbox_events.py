"""The sandbox's webhooks: an event as the JSON that is signed and sent, and back."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.payments.errors import WebhookMalformed
from gateway.payments.provider import PaymentEvent, PaymentEventKind


def write_event(event: PaymentEvent) -> bytes:
    """The body of the webhook that tells of an event."""
    told: dict[str, Any] = {
        "id": event.event_id,
        "type": event.kind.value,
        "created": event.occurred_at,
        "charge": event.charge_id,
        "idempotency_key": event.idempotency_key,
        "amount_micros": event.amount_micros,
        "currency": event.currency,
        "metadata": dict(event.metadata),
    }
    return json.dumps(told, separators=(",", ":")).encode()


def read_event(payload: bytes) -> PaymentEvent:
    """The event that a webhook's body tells of.

    Raises:
        WebhookMalformed: It tells of none.
    """
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WebhookMalformed("The webhook's body is no JSON.") from error
    if not isinstance(told, dict):
        raise WebhookMalformed("The webhook's body is no JSON object.")
    event_id, occurred_at = _read(told, "id", str), _read(told, "created", int)
    kind = _read(told, "type", str)
    if kind not in {each.value for each in PaymentEventKind if each is not PaymentEventKind.OTHER}:
        return PaymentEvent(event_id, PaymentEventKind.OTHER, occurred_at)
    metadata = _read(told, "metadata", dict)
    if not all(isinstance(value, str) for value in metadata.values()):
        raise WebhookMalformed("The webhook's metadata has a value that is no text.")
    return PaymentEvent(
        event_id,
        PaymentEventKind(kind),
        occurred_at,
        charge_id=_read(told, "charge", str),
        idempotency_key=_read(told, "idempotency_key", str) if told.get("idempotency_key") is not None else None,
        amount_micros=_read(told, "amount_micros", int),
        currency=_read(told, "currency", str),
        metadata=metadata,
    )


def _read(told: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = told.get(name)
    # JSON's true is an int to Python.
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        raise WebhookMalformed(f"The webhook's {name} is missing or of another type.")
    return value
