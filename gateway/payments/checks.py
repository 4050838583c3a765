"""What every provider checks of what it is given, before anybody outside hears of it."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.domain.ids import validate_amount, validate_id, validate_text
from gateway.domain.minor_units import to_minor_units
from gateway.errors import InvalidArgument
from gateway.payments.card_numbers import has_card_number
from gateway.payments.errors import CardEntryInvalid, CardNumberRefused
from gateway.payments.provider import (
    MAX_DESCRIPTION_LENGTH,
    MAX_KEY_LENGTH,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_NAME_LENGTH,
    MAX_METADATA_VALUE_LENGTH,
    MAX_URL_LENGTH,
    RESERVED_METADATA_PREFIX,
    CardEntry,
    ChargeAttempt,
    NewPaymentMethod,
)

MAX_REFERENCE_LENGTH: Final = 255
"""Of what a provider names things by."""

_KEY: Final = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_LENGTH}}}")
_REFERENCE: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_REFERENCE_LENGTH}}}")
_METADATA_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_METADATA_NAME_LENGTH}}}")

# What may stand in a URL without being quoted; no fragment, behind which a query would be none.
_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")


def check_new_payment_method(request: NewPaymentMethod) -> None:
    """Hold a card to be added against what providers take.

    Raises:
        CardNumberRefused: The token looks like a card number.
        InvalidArgument: A field is out of its range.
    """
    check_idempotency_key(request.idempotency_key)
    _check_token(request.token)
    validate_id(request.owner_id, "owner_id")
    if request.customer_id is not None:
        _check_reference(request.customer_id, "customer_id")


def check_card_entry(request: CardEntry) -> None:
    """Hold the wish to enter a card against what providers take.

    Raises:
        InvalidArgument: A field is out of its range.
    """
    check_idempotency_key(request.idempotency_key)
    validate_id(request.owner_id, "owner_id")
    _check_url(request.return_url, "return_url")
    _check_url(request.cancel_url, "cancel_url")
    if request.customer_id is not None:
        _check_reference(request.customer_id, "customer_id")


def check_entry(entry: str) -> None:
    """Hold what a browser came back with against what providers give.

    Raises:
        CardEntryInvalid: No provider gave it.
    """
    if not _REFERENCE.fullmatch(entry):
        raise CardEntryInvalid


def check_charge_attempt(attempt: ChargeAttempt) -> int:
    """Hold an attempt against what providers take.

    Returns:
        Its amount in minor units of the currency, above zero.

    Raises:
        InvalidArgument: A field is out of its range.
    """
    check_idempotency_key(attempt.idempotency_key)
    validate_amount(attempt.amount_micros, "amount_micros", lowest=1)
    minor_units = to_minor_units(attempt.amount_micros, attempt.currency)
    _check_reference(attempt.method.customer_id, "method.customer_id")
    _check_reference(attempt.method.method_id, "method.method_id")
    validate_text(attempt.description, "description", longest=MAX_DESCRIPTION_LENGTH)
    _check_metadata(attempt.metadata)
    return minor_units


def check_idempotency_key(key: str) -> None:
    """Hold a provider key against its pattern.

    Raises:
        InvalidArgument: It does not match.
    """
    if not _KEY.fullmatch(key):
        raise InvalidArgument("idempotency_key", f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")


def _check_token(token: str) -> None:
    # No message here repeats the token: whatever is wrong with it, there may be a card number in it.
    if len(token) <= MAX_REFERENCE_LENGTH and has_card_number(token):
        raise CardNumberRefused
    _check_reference(token, "token")


def _check_reference(value: str, field: str) -> None:
    if not _REFERENCE.fullmatch(value):
        raise InvalidArgument(field, f"must be 1 to {MAX_REFERENCE_LENGTH} printable ASCII characters without blanks")


def _check_url(value: str, field: str) -> None:
    if len(value) > MAX_URL_LENGTH or not _URL.fullmatch(value):
        raise InvalidArgument(
            field, f"must be an absolute URL, http or https, of at most {MAX_URL_LENGTH} characters and no fragment"
        )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_METADATA_ENTRIES:
        raise InvalidArgument("metadata", f"must have at most {MAX_METADATA_ENTRIES} entries")
    for name, value in metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            raise InvalidArgument(
                "metadata", f"a name must be 1 to {MAX_METADATA_NAME_LENGTH} characters out of A-Z a-z 0-9 . _ -"
            )
        if name.startswith(RESERVED_METADATA_PREFIX):
            raise InvalidArgument("metadata", f"a name must not begin with {RESERVED_METADATA_PREFIX}")
        validate_text(value, f"metadata.{name}", longest=MAX_METADATA_VALUE_LENGTH)
