"""Signed webhooks, in Stripe's form: `t=<Unix seconds>,v1=<HMAC-SHA256 of "t.body" in hex>`.

While a secret is being changed the sender signs with both, as several v1, and the receiver knows both.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from gateway.payments.errors import WebhookSignatureInvalid, WebhookStale
from gateway.payments.provider import WEBHOOK_TOLERANCE_SECONDS

_TIME: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign_webhook(payload: bytes, secrets: Sequence[str], *, now_ms: int) -> str:
    """Make the signature header of a webhook, with a v1 for each secret."""
    seconds = str(now_ms // 1000)
    return ",".join([f"t={seconds}", *(f"v1={_digest(payload, seconds, secret)}" for secret in secrets)])


def verify_webhook(payload: bytes, signature: str, secrets: Sequence[str], *, now_ms: int) -> None:
    """Hold a webhook against its signature header: any v1, made with any of the secrets, not longer ago than 300 s.

    Schemes other than v1 count for nothing, so that nobody can talk us into a weaker one.

    Raises:
        WebhookSignatureInvalid: The header is missing or has another form, or no v1 is of our secrets.
        WebhookStale: The signature is right, and its time too far from `now_ms` in either direction.
    """
    pairs = [part.strip().partition("=") for part in signature.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    given = [value.encode() for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not _TIME.fullmatch(times[0]) or not given:
        raise WebhookSignatureInvalid("The webhook has no signature of the form t=...,v1=...; send it with one.")
    expected = [_digest(payload, times[0], secret).encode() for secret in secrets]
    # Each pair is compared to its end, so that the time that it takes tells nothing.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
    if True not in matches:
        raise WebhookSignatureInvalid("The webhook is not signed with our secret: compare the secrets on both sides.")
    if abs(now_ms // 1000 - int(times[0])) > WEBHOOK_TOLERANCE_SECONDS:
        raise WebhookStale(
            f"The webhook was signed more than {WEBHOOK_TOLERANCE_SECONDS} s from now: send it anew, or set the clocks."
        )


def _digest(payload: bytes, seconds: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"{seconds}.".encode() + payload, hashlib.sha256).hexdigest()
