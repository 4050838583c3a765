"""Stripe's events as the protocol's. The signature is checked already; the body may still be anything.

Read from the plain JSON and not by the SDK's classes: those are of the API version that we speak, and an event is of
the version that its endpoint was set up with. What is read here has been the same in all of them.
"""

import json
from collections.abc import Mapping
from typing import Final

from gateway.errors import InvalidArgument
from gateway.payments.errors import WebhookMalformed
from gateway.payments.provider import RESERVED_METADATA_PREFIX, PaymentEvent, PaymentEventKind
from gateway.payments.stripe_amounts import from_stripe_amount
from gateway.payments.stripe_api import KEY_METADATA
from gateway.payments.stripe_outcomes import AUTHENTICATION_REQUIRED

_KINDS: Final = {
    "payment_intent.succeeded": (PaymentEventKind.CHARGE_SUCCEEDED, "id", "amount"),
    "payment_intent.payment_failed": (PaymentEventKind.CHARGE_FAILED, "id", "amount"),
    "payment_intent.canceled": (PaymentEventKind.CHARGE_FAILED, "id", "amount"),
    "charge.refunded": (PaymentEventKind.CHARGE_REFUNDED, "payment_intent", "amount_refunded"),
    "charge.dispute.created": (PaymentEventKind.CHARGE_DISPUTED, "payment_intent", "amount"),
}
"""By Stripe's type: what it tells, and where its object has the intent's id and the amount. To be turned on for the
endpoint; others do no harm."""

EVENT_TYPES: Final = tuple(_KINDS)


def read_event(payload: bytes) -> PaymentEvent:
    """Read the body of a webhook.

    Events about payments that the gateway did not make, in an account that others use too, are OTHER.

    Raises:
        WebhookMalformed: It is no event of Stripe's.
    """
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WebhookMalformed("The webhook's body is no JSON: let Stripe send it, unchanged.") from error
    fields = _mapping(event, "the body")
    event_id, occurred_at = _text(fields, "id"), _number(fields, "created") * 1000
    event_type = _text(fields, "type")
    kind, id_name, amount_name = _KINDS.get(event_type, (PaymentEventKind.OTHER, "", ""))
    about = _mapping(_mapping(fields.get("data"), "data").get("object"), "data.object")
    other = PaymentEvent(event_id, PaymentEventKind.OTHER, occurred_at)
    if kind is PaymentEventKind.OTHER or about.get(id_name) is None:
        return other
    metadata = {name: str(value) for name, value in _mapping(about.get("metadata") or {}, "metadata").items()}
    key = metadata.get(KEY_METADATA)
    # A dispute has no metadata of the charge: whose it is, the caller knows by the charge.
    if (key is None and kind is not PaymentEventKind.CHARGE_DISPUTED) or _is_no_news(event_type, about):
        return other
    currency = _text(about, "currency").upper()
    try:
        amount_micros = from_stripe_amount(_number(about, amount_name), currency)
    except InvalidArgument as error:
        raise WebhookMalformed(f"The webhook's currency is {currency!r}, which nobody is charged in.") from error
    return PaymentEvent(
        event_id,
        kind,
        occurred_at,
        charge_id=_text(about, id_name),
        idempotency_key=key,
        amount_micros=amount_micros,
        currency=currency,
        metadata={name: value for name, value in metadata.items() if not name.startswith(RESERVED_METADATA_PREFIX)},
    )


def _is_no_news(event_type: str, about: Mapping[str, object]) -> bool:
    """Whether an event of a charge that failed says what is not over yet, or what another event has said."""
    error = about.get("last_payment_error")
    if not isinstance(error, dict):
        return False
    absent = AUTHENTICATION_REQUIRED in (error.get("code"), error.get("decline_code"))
    if event_type == "payment_intent.payment_failed":
        # Failed by its owner's absence only, upon which `charge` confirms anew and has a link for them.
        return absent
    # Canceled after it had failed, as the event of that failure has told.
    return event_type == "payment_intent.canceled" and not absent


def _mapping(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise WebhookMalformed(f"The webhook is no event of Stripe's: {name} is no object.")
    return value


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise WebhookMalformed(f"The webhook is no event of Stripe's: {name} is no text.")
    return value


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise WebhookMalformed(f"The webhook is no event of Stripe's: {name} is no number.")
    return value
