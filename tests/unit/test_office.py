import dataclasses

import pytest

from gateway.domain.credit import CreditKind, CreditRequest
from gateway.domain.office import (
    DEFAULT_REFILL_AMOUNT_MICROS,
    DEFAULT_REFILL_THRESHOLD_MICROS,
    OfficeChanges,
    OfficeSettings,
    RefillSettings,
    validate_currency,
)
from gateway.domain.vocabulary import PaymentTerms
from gateway.errors import InvalidArgument

MOST = 10**15
GOOD = OfficeSettings("o1", "c1", "Springfield", "US", "USD", "America/New_York")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"office_id": "A-b_c.9" + "x" * 57},
        {"company_id": "a company, with spaces & signs ~"},
        {"name": "Zürich, 4. Stock"},
        {"country": "GB", "time_zone": "Europe/London"},
        {"time_zone": "UTC"},
        {"tariff": "gold 2"},
        {"credit_limit_micros": MOST, "daily_spend_limit_micros": MOST, "max_price_per_minute_micros": 10**12},
        {"max_concurrent_calls": 1_000_000},
        {"payment_terms": PaymentTerms.INVOICE},
    ],
)
def test_settings_that_may_be(changes: dict[str, object]) -> None:
    dataclasses.replace(GOOD, **changes).validate("USD")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("office_id", ""),
        ("office_id", "x" * 65),
        ("office_id", "o 1"),
        ("office_id", "o1\n"),
        ("office_id", "ö1"),
        ("office_id", "*"),
        ("company_id", ""),
        ("company_id", "x" * 129),
        ("company_id", "ü"),
        ("company_id", "c\t1"),
        ("company_id", "c1\n"),
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", "two\nlines"),
        ("name", "nul\0"),
        ("name", "half \ud800 a pair"),
        ("country", ""),
        ("country", "us"),
        ("country", "USA"),
        ("country", "XX"),
        ("country", "001"),
        ("currency", ""),
        ("currency", "usd"),
        ("currency", "EUR"),
        ("time_zone", ""),
        ("time_zone", "america/new_york "),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "localtime"),
        ("tariff", "x" * 129),
        ("tariff", "gold\n"),
        ("credit_limit_micros", -1),
        ("credit_limit_micros", MOST + 1),
        ("max_concurrent_calls", -1),
        ("max_concurrent_calls", 1_000_001),
        ("max_price_per_minute_micros", -1),
        ("max_price_per_minute_micros", 2**63),
        ("daily_spend_limit_micros", -1),
        ("daily_spend_limit_micros", MOST + 1),
        ("payment_terms", 0),
        ("payment_terms", 3),
    ],
)
def test_settings_that_may_not(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        dataclasses.replace(GOOD, **{field: value}).validate("USD")  # type: ignore[arg-type]
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: must be")


def test_changes_replace_what_is_given_and_nothing_else() -> None:
    changes = OfficeChanges(name="Shelbyville", credit_limit_micros=0, payment_terms=PaymentTerms.INVOICE)
    assert changes.fields == {"name", "credit_limit_micros", "payment_terms"}
    before = dataclasses.replace(GOOD, credit_limit_micros=5, tariff="gold")
    after = changes.applied_to(before)
    assert after == dataclasses.replace(
        before, name="Shelbyville", credit_limit_micros=0, payment_terms=PaymentTerms.INVOICE
    )
    assert OfficeChanges().fields == frozenset()
    assert OfficeChanges().applied_to(GOOD) == GOOD


def test_every_setting_but_the_id_can_be_changed() -> None:
    settings = {field.name for field in dataclasses.fields(OfficeSettings)}
    changes = {field.name for field in dataclasses.fields(OfficeChanges)}
    assert changes == settings - {"office_id"}


def test_the_refill_defaults_are_those_that_were_promised() -> None:
    refill = RefillSettings()
    refill.validate()
    assert (refill.enabled, refill.threshold_micros, refill.amount_micros) == (False, 5_000_000, 50_000_000)
    assert (DEFAULT_REFILL_THRESHOLD_MICROS, DEFAULT_REFILL_AMOUNT_MICROS) == (5_000_000, 50_000_000)


@pytest.mark.parametrize(
    ("refill", "field"),
    [
        (RefillSettings(True, 0, 50), "threshold_micros"),
        (RefillSettings(True, -1, 50), "threshold_micros"),
        (RefillSettings(True, MOST + 1, MOST + 1), "threshold_micros"),
        (RefillSettings(True, 50, 49), "amount_micros"),
        (RefillSettings(True, 50, 0), "amount_micros"),
        (RefillSettings(True, 50, MOST + 1), "amount_micros"),
        (RefillSettings(False, 50, 49), "amount_micros"),
        (RefillSettings(True, 50, 50, "pm\n"), "payment_method_id"),
        (RefillSettings(True, 50, 50, "x" * 129), "payment_method_id"),
    ],
)
def test_refills_that_may_not_be(refill: RefillSettings, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        refill.validate()
    assert caught.value.field == field


def test_a_refill_of_exactly_the_threshold_may_be() -> None:
    RefillSettings(True, 50, 50, "pm_1").validate()


@pytest.mark.parametrize("currency", ["", "usd", "US", "USDX", "U$D", "USD\n"])
def test_currencies_that_are_none(currency: str) -> None:
    with pytest.raises(InvalidArgument, match="currency"):
        validate_currency(currency)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"office_id": "o 1"}, "office_id"),
        ({"amount_micros": 0}, "amount_micros"),
        ({"amount_micros": MOST + 1}, "amount_micros"),
        ({"amount_micros": -MOST - 1}, "amount_micros"),
        ({"amount_micros": 2**63}, "amount_micros"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "x" * 129}, "idempotency_key"),
        ({"idempotency_key": "clé"}, "idempotency_key"),
        ({"idempotency_key": "tg:refill"}, "idempotency_key"),
        ({"refill_id": ""}, "refill_id"),
        ({"refill_id": "r1", "amount_micros": -1}, "amount_micros"),
    ],
)
def test_credits_that_may_not_be_asked_for(changes: dict[str, object], field: str) -> None:
    request = CreditRequest("o1", 5, CreditKind.ADJUSTMENT, "a gift", "k1")
    request.validate()
    with pytest.raises(InvalidArgument) as caught:
        dataclasses.replace(request, **changes).validate()  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_gateway_may_use_its_own_keys() -> None:
    CreditRequest("o1", 5, CreditKind.REFILL, "refill", "tg:refill/o1/7", "o1/7").validate()
    CreditRequest("o1", 5, CreditKind.PURCHASE, "purchase pur_1", "tg:purchase:pur_1").validate()


def test_what_makes_a_repeat_another_request() -> None:
    request = CreditRequest("o1", 5, CreditKind.ADJUSTMENT, "a gift", "k1")
    others: list[dict[str, object]] = [
        {"amount_micros": 6},
        {"kind": CreditKind.PURCHASE},
        {"reason": "a loan"},
        {"refill_id": "r1"},
    ]
    hashes = {dataclasses.replace(request, **other).content_hash for other in others}  # type: ignore[arg-type]
    assert len(hashes | {request.content_hash}) == len(others) + 1
    assert dataclasses.replace(request).content_hash == request.content_hash
