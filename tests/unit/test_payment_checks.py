import traceback
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import InvalidArgument
from gateway.payments.card_numbers import has_card_number
from gateway.payments.checks import check_charge_attempt, check_idempotency_key, check_new_payment_method
from gateway.payments.errors import CardNumberRefused
from gateway.payments.provider import ChargeAttempt, NewPaymentMethod, PaymentMethodReference

CARD = NewPaymentMethod(token="tok_visa", owner_id="berlin", idempotency_key="add/1")
ATTEMPT = ChargeAttempt(
    idempotency_key="berlin/refill/1/1",
    amount_micros=50_000_000,
    currency="USD",
    method=PaymentMethodReference("cus_1", "pm_1"),
    description="Calling credits of the office Berlin",
    metadata={"office_id": "berlin"},
)


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4242.4242.4242.4242",
        "4242\u00a04242\u00a04242\u00a04242",
        "4242\u20114242\u20114242\u20114242",
        "  4242424242424242\n",
        "378282246310005",
        "3782 822463 10005",
        "6011111111111117",
        "30569309025904",
        "6304000000000000",
        "4000000000000000006",
        "card: 4242424242424242",
        "tok_4242424242424242",
        "4242424242424242 12/30 123",
        "4242 4242 4242 4242 12/30 123",
        "12/30 4242 4242 4242 4242",
        "\uff14\uff12" * 8,
        "\u0664\u0662" * 8,
    ],
)
def test_a_card_number_is_found_however_it_was_typed_and_repeated_nowhere(text: str) -> None:
    assert has_card_number(text)
    request = replace(CARD, token=text)
    with pytest.raises(CardNumberRefused) as caught:
        check_new_payment_method(request)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(request)
    assert text.strip() not in told
    assert "4242" not in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tok_visa",
        "pm_1QYxk2Kf0000abcd4242",
        "seti_1NF2ax2eZvKYlo2C3M5Jdg2q",
        "4242424242424241",
        "5555 4444 3333 2222",
        "42424242424",
        "4242a4242b4242c4242",
        "1234567890123456789012345",
    ],
)
def test_what_is_no_card_number_is_taken_for_none(text: str) -> None:
    assert not has_card_number(text)


def test_a_card_may_be_added_anew_for_its_customer() -> None:
    check_new_payment_method(CARD)
    check_new_payment_method(replace(CARD, customer_id="cus_1", idempotency_key="k" * 200, owner_id="o" * 128))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token", ""),
        ("token", "tok visa"),
        ("token", "tok_ü"),
        ("token", "tok_\n"),
        ("token", "t" * 256),
        ("token", "4242 4242 4242 4242 " * 100),
        ("owner_id", ""),
        ("owner_id", "o" * 129),
        ("owner_id", "büro"),
        ("idempotency_key", ""),
        ("idempotency_key", "k" * 201),
        ("idempotency_key", "schlüssel"),
        ("idempotency_key", "a\tb"),
        ("customer_id", ""),
        ("customer_id", "c" * 256),
        ("customer_id", "cus 1"),
    ],
)
def test_a_card_out_of_range_is_refused_by_the_name_of_its_field(field: str, value: str) -> None:
    changes: dict[str, Any] = {field: value}
    with pytest.raises(InvalidArgument) as caught:
        check_new_payment_method(replace(CARD, **changes))
    assert caught.value.field == field
    assert not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "minor_units"),
    [
        ({}, 5_000),
        ({"amount_micros": 10_000}, 1),
        ({"amount_micros": MAX_AMOUNT_MICROS}, 10**11),
        ({"amount_micros": 1_000_000, "currency": "JPY"}, 1),
        ({"amount_micros": 1_000, "currency": "KWD"}, 1),
        ({"metadata": {}}, 5_000),
        ({"metadata": {f"name_{i}": "v" * 500 for i in range(40)}}, 5_000),
        ({"metadata": {"n" * 40: "Übersee"}}, 5_000),
        ({"description": "d" * 500}, 5_000),
    ],
)
def test_an_attempt_is_so_many_minor_units(changes: dict[str, Any], minor_units: int) -> None:
    assert check_charge_attempt(replace(ATTEMPT, **changes)) == minor_units


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("idempotency_key", {"idempotency_key": ""}),
        ("idempotency_key", {"idempotency_key": "k" * 201}),
        ("idempotency_key", {"idempotency_key": "bell\x07"}),
        ("amount_micros", {"amount_micros": 0}),
        ("amount_micros", {"amount_micros": -50_000_000}),
        ("amount_micros", {"amount_micros": 1}),
        ("amount_micros", {"amount_micros": 50_000_001}),
        ("amount_micros", {"amount_micros": 10_000, "currency": "JPY"}),
        ("amount_micros", {"amount_micros": MAX_AMOUNT_MICROS + 10_000}),
        ("amount_micros", {"amount_micros": 2**63}),
        ("currency", {"currency": ""}),
        ("currency", {"currency": "usd"}),
        ("currency", {"currency": "XXX"}),
        ("method.customer_id", {"method": PaymentMethodReference("", "pm_1")}),
        ("method.customer_id", {"method": PaymentMethodReference("cus 1", "pm_1")}),
        ("method.method_id", {"method": PaymentMethodReference("cus_1", "")}),
        ("method.method_id", {"method": PaymentMethodReference("cus_1", "p" * 256)}),
        ("description", {"description": ""}),
        ("description", {"description": "   "}),
        ("description", {"description": "two\nlines"}),
        ("description", {"description": "d" * 501}),
        ("metadata", {"metadata": {f"name_{i}": "v" for i in range(41)}}),
        ("metadata", {"metadata": {"": "v"}}),
        ("metadata", {"metadata": {"n" * 41: "v"}}),
        ("metadata", {"metadata": {"a[b]": "v"}}),
        ("metadata", {"metadata": {"tollgate_key": "v"}}),
        ("metadata.office_id", {"metadata": {"office_id": ""}}),
        ("metadata.office_id", {"metadata": {"office_id": "v" * 501}}),
        ("metadata.office_id", {"metadata": {"office_id": "a\x00b"}}),
    ],
)
def test_an_attempt_out_of_range_is_refused_by_the_name_of_its_field(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_charge_attempt(replace(ATTEMPT, **changes))
    assert caught.value.field == field


@pytest.mark.parametrize("key", ["", " " * 201, "ключ", "a\x7fb"])
def test_a_key_alone_is_checked_too(key: str) -> None:
    with pytest.raises(InvalidArgument):
        check_idempotency_key(key)
