"""Stripe's events: what they come to, and bodies that are none."""

import json
from typing import Any

import pytest

from gateway.payments.errors import WebhookMalformed
from gateway.payments.provider import PaymentEvent, PaymentEventKind
from gateway.payments.stripe_webhooks import EVENT_TYPES, read_event

METADATA = {"tollgate_key": "refill/1", "office_id": "berlin"}
INTENT = {"object": "payment_intent", "id": "pi_1", "amount": 5_000, "currency": "usd", "metadata": METADATA}
CHARGE = {"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "currency": "usd", "metadata": METADATA}
DISPUTE = {"object": "dispute", "id": "du_1", "payment_intent": "pi_1", "amount": 5_000, "currency": "usd"}
EVENT = {"id": "evt_1", "object": "event", "created": 1_700_000_000}


def event(event_type: str, about: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**EVENT, "type": event_type, "data": {"object": about}, **changes}).encode()


def told(kind: PaymentEventKind, **changes: Any) -> PaymentEvent:
    fields: dict[str, Any] = {
        "charge_id": "pi_1",
        "idempotency_key": "refill/1",
        "amount_micros": 50_000_000,
        "currency": "USD",
        "metadata": {"office_id": "berlin"},
    }
    return PaymentEvent("evt_1", kind, 1_700_000_000_000, **{**fields, **changes})


OTHER = PaymentEvent("evt_1", PaymentEventKind.OTHER, 1_700_000_000_000)
DECLINED = {"code": "card_declined", "decline_code": "do_not_honor"}
ABSENT = {"code": "authentication_required", "decline_code": "authentication_required"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (event("payment_intent.succeeded", INTENT), told(PaymentEventKind.CHARGE_SUCCEEDED)),
        (
            event("payment_intent.succeeded", {**INTENT, "currency": "jpy", "amount": 50}),
            told(PaymentEventKind.CHARGE_SUCCEEDED, currency="JPY"),
        ),
        (
            event("payment_intent.payment_failed", {**INTENT, "last_payment_error": DECLINED}),
            told(PaymentEventKind.CHARGE_FAILED),
        ),
        (
            event("payment_intent.canceled", {**INTENT, "last_payment_error": None}),
            told(PaymentEventKind.CHARGE_FAILED),
        ),
        (event("payment_intent.canceled", INTENT), told(PaymentEventKind.CHARGE_FAILED)),
        (
            event("payment_intent.canceled", {**INTENT, "last_payment_error": ABSENT}),
            told(PaymentEventKind.CHARGE_FAILED),
        ),
        (
            event("charge.refunded", {**CHARGE, "amount": 5_000, "amount_refunded": 1_000}),
            told(PaymentEventKind.CHARGE_REFUNDED, amount_micros=10_000_000),
        ),
        (
            event("charge.dispute.created", DISPUTE),
            told(PaymentEventKind.CHARGE_DISPUTED, idempotency_key=None, metadata={}),
        ),
        # Not over yet, or told before.
        (event("payment_intent.payment_failed", {**INTENT, "last_payment_error": ABSENT}), OTHER),
        (event("payment_intent.canceled", {**INTENT, "last_payment_error": DECLINED}), OTHER),
        # Of others in the same account.
        (event("payment_intent.succeeded", {**INTENT, "metadata": {}}), OTHER),
        (event("payment_intent.succeeded", {**INTENT, "metadata": None}), OTHER),
        (event("charge.refunded", {**CHARGE, "amount_refunded": 1, "metadata": {"shop": "1"}}), OTHER),
        (event("charge.refunded", {**CHARGE, "amount_refunded": 1, "payment_intent": None}), OTHER),
        (event("charge.dispute.created", {**DISPUTE, "payment_intent": None}), OTHER),
        # What nobody acts on.
        (event("payment_intent.created", INTENT), OTHER),
        (event("customer.created", {"object": "customer"}), OTHER),
        (event("charge.succeeded", {**CHARGE, "amount": 5_000}), OTHER),
    ],
)
def test_what_an_event_tells(body: bytes, expected: PaymentEvent) -> None:
    assert read_event(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        event("payment_intent.succeeded", INTENT, id=None),
        event("payment_intent.succeeded", INTENT, id=""),
        event("payment_intent.succeeded", INTENT, id=7),
        event("payment_intent.succeeded", INTENT, created="now"),
        event("payment_intent.succeeded", INTENT, created=None),
        event("payment_intent.succeeded", INTENT, created=1.5),
        event("payment_intent.succeeded", INTENT, type=None),
        event("payment_intent.succeeded", INTENT, data=None),
        event("payment_intent.succeeded", INTENT, data=[]),
        event("payment_intent.succeeded", INTENT, data={}),
        event("payment_intent.succeeded", {**INTENT, "id": 7}),
        event("payment_intent.succeeded", {**INTENT, "amount": None}),
        event("payment_intent.succeeded", {**INTENT, "amount": "5000"}),
        event("payment_intent.succeeded", {**INTENT, "amount": -1}),
        event("payment_intent.succeeded", {**INTENT, "amount": True}),
        event("payment_intent.succeeded", {**INTENT, "currency": None}),
        event("payment_intent.succeeded", {**INTENT, "currency": "bitcoin"}),
        event("payment_intent.succeeded", {**INTENT, "metadata": "tollgate_key"}),
        event("charge.refunded", CHARGE),
    ],
)
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(WebhookMalformed):
        read_event(body)


def test_the_types_to_be_turned_on() -> None:
    assert set(EVENT_TYPES) == {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.refunded",
        "charge.dispute.created",
    }
