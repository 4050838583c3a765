import hashlib
import hmac

import pytest

from gateway.payments.errors import WebhookMalformed, WebhookSignatureInvalid, WebhookStale
from gateway.payments.provider import PaymentEvent, PaymentEventKind
from gateway.payments.sandbox_events import read_event, write_event
from gateway.payments.webhook_signatures import sign_webhook, verify_webhook

SECONDS = 1_750_075_200
NOW_MS = SECONDS * 1000
BODY = b'{"id": "evt_1"}'
SECRETS = ["whsec_new", "whsec_old"]


def digest(secret: str, seconds: int | str = SECONDS, body: bytes = BODY) -> str:
    """What Stripe's documentation describes, written down once more."""
    return hmac.new(secret.encode(), str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()


NEW, OLD, FOREIGN = digest("whsec_new"), digest("whsec_old"), digest("whsec_foreign")


def test_a_signature_has_a_v1_for_each_secret() -> None:
    assert sign_webhook(BODY, SECRETS, now_ms=NOW_MS + 999) == f"t={SECONDS},v1={NEW},v1={OLD}"


@pytest.mark.parametrize(
    "signature",
    [
        f"t={SECONDS},v1={NEW}",
        f"t={SECONDS},v1={OLD}",
        f"v1={OLD},t={SECONDS}",
        f"t={SECONDS}, v1={FOREIGN}, v1={OLD}",
        f"t={SECONDS},v0={FOREIGN},v1={NEW},v2=x",
    ],
)
def test_any_v1_of_any_of_our_secrets_will_do(signature: str) -> None:
    verify_webhook(BODY, signature, SECRETS, now_ms=NOW_MS)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        ",",
        "=",
        "t",
        f"t={SECONDS}",
        f"v1={NEW}",
        f"t=,v1={NEW}",
        f"t={SECONDS}.0,v1={NEW}",
        f"t=-{SECONDS},v1={NEW}",
        f"t=0{SECONDS},v1={NEW}",
        f"t={'9' * 5_000},v1={NEW}",
        f"t=\u0661\u0662\u0663,v1={NEW}",
        f"t={SECONDS},t={SECONDS + 1},v1={NEW}",
        f"t={SECONDS + 1},v1={NEW}",
        f"t={SECONDS},v0={NEW}",
        f"t={SECONDS},v1={FOREIGN}",
        f"t={SECONDS},v1={NEW[:-1]}",
        f"t={SECONDS},v1={NEW.upper()}",
        f"t={SECONDS},v1=",
        f"t={SECONDS},v1=\u00e4\u00f6",
        f"T={SECONDS},V1={NEW}",
    ],
)
def test_what_is_no_signature_of_ours_is_refused(signature: str) -> None:
    with pytest.raises(WebhookSignatureInvalid) as caught:
        verify_webhook(BODY, signature, SECRETS, now_ms=NOW_MS)
    assert "whsec" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", BODY + b"\n", BODY.replace(b"1", b"2"), b"\xff"])
def test_a_signature_is_of_one_body(body: bytes) -> None:
    with pytest.raises(WebhookSignatureInvalid):
        verify_webhook(body, f"t={SECONDS},v1={NEW}", SECRETS, now_ms=NOW_MS)


def test_without_a_secret_nothing_is_ours() -> None:
    with pytest.raises(WebhookSignatureInvalid):
        verify_webhook(BODY, f"t={SECONDS},v1={digest('')}", [], now_ms=NOW_MS)


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_a_signature_holds_for_five_minutes_either_way(seconds: int) -> None:
    verify_webhook(BODY, f"t={SECONDS},v1={NEW}", SECRETS, now_ms=(SECONDS + seconds) * 1000)


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 86_400, 10**9])
def test_a_signature_of_another_time_is_stale(seconds: int) -> None:
    with pytest.raises(WebhookStale):
        verify_webhook(BODY, f"t={SECONDS},v1={NEW}", SECRETS, now_ms=(SECONDS + seconds) * 1000)


EVENT = PaymentEvent(
    event_id="evt_1",
    kind=PaymentEventKind.CHARGE_SUCCEEDED,
    occurred_at=NOW_MS,
    charge_id="ch_1",
    idempotency_key="berlin/refill/1/1",
    amount_micros=50_000_000,
    currency="USD",
    metadata={"office_id": "Übersee"},
)


def test_an_event_comes_back_as_it_was_sent() -> None:
    assert read_event(write_event(EVENT)) == EVENT


def test_an_event_of_a_kind_that_we_do_not_know_is_acknowledged() -> None:
    body = write_event(EVENT).replace(b"CHARGE_SUCCEEDED", b"CHARGE_ADMIRED")
    assert read_event(body) == PaymentEvent("evt_1", PaymentEventKind.OTHER, NOW_MS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"evt_1"',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        write_event(EVENT).replace(b'"evt_1"', b'""'),
        write_event(EVENT).replace(b'"evt_1"', b"1"),
        write_event(EVENT).replace(str(NOW_MS).encode(), b'"soon"'),
        write_event(EVENT).replace(str(NOW_MS).encode(), b"true"),
        write_event(EVENT).replace(b"50000000", b"50.5"),
        write_event(EVENT).replace(b"50000000", b"9" * 5_000),
        write_event(EVENT).replace(b'"ch_1"', b"null"),
        write_event(EVENT).replace(b'"USD"', b"null"),
        write_event(EVENT).replace(b'"berlin/refill/1/1"', b"7"),
        write_event(EVENT).replace(b'{"office_id"', b'{"n":1,"office_id"'),
    ],
)
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookMalformed):
        read_event(body)
