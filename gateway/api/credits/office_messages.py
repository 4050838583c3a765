"""Offices between the contract, SQL and the store."""

from collections.abc import Callable

from gateway.api.credits.fields import check_tariff, enum_of, instant, read_enum
from gateway.domain.calendar import day_number
from gateway.domain.fraud_guard import Guard
from gateway.domain.office import OfficeChanges, OfficeSettings
from gateway.domain.vocabulary import PaymentTerms, RefillState
from gateway.ledger.offices import Office
from gateway.store.records import OfficeRecord
from gateway.v1 import credits_pb2 as pb

_FRAUD_LIMITS = (
    "fraud_country_spend_micros",
    "fraud_office_spend_micros",
    "fraud_country_calls",
    "fraud_office_calls",
)
_CHANGEABLE = (
    "name",
    "country",
    "time_zone",
    "tariff",
    "credit_limit_micros",
    "max_concurrent_calls",
    "max_price_per_minute_micros",
    "daily_spend_limit_micros",
    *_FRAUD_LIMITS,
)


def read_settings(request: pb.CreateOfficeRequest, currency: str) -> OfficeSettings:
    """The settings of an office that is to be made, the defaults in place; the domain checks the rest of them.

    Raises:
        InvalidArgument: A field is out of the contract's range.
    """
    check_tariff(request.tariff)
    has: Callable[[str], bool] = request.HasField  # type: ignore[assignment]  # it takes the names of fields only
    fraud_limits: dict[str, int] = {name: getattr(request, name) for name in _FRAUD_LIMITS if has(name)}
    return OfficeSettings(
        office_id=request.office_id,
        company_id=request.company_id,
        name=request.name,
        country=request.country,
        currency=request.currency or currency,
        time_zone=request.time_zone or "UTC",
        tariff=request.tariff,
        credit_limit_micros=request.credit_limit_micros,
        max_concurrent_calls=request.max_concurrent_calls,
        max_price_per_minute_micros=request.max_price_per_minute_micros,
        daily_spend_limit_micros=request.daily_spend_limit_micros,
        payment_terms=read_enum(PaymentTerms, request.payment_terms, "payment_terms", PaymentTerms.CARD),
        **fraud_limits,
    )


def read_changes(request: pb.UpdateOfficeRequest) -> OfficeChanges:
    """The fields that are to change; company_id and currency, which never do, are the caller's to compare.

    Raises:
        InvalidArgument: A field is out of the contract's range.
    """
    has: Callable[[str], bool] = request.HasField  # type: ignore[assignment]  # it takes the names of fields only
    given: dict[str, object] = {name: getattr(request, name) for name in _CHANGEABLE if has(name)}
    if request.HasField("payment_terms"):
        given["payment_terms"] = read_enum(PaymentTerms, request.payment_terms, "payment_terms")
    check_tariff(request.tariff)
    return OfficeChanges(**given)  # type: ignore[arg-type]  # the fields have the same names and types


def office_message(office: Office, record: OfficeRecord | None, now_ms: int) -> pb.Office:
    """An office with its settings from SQL and its money from the store.

    Without a record (the store does not hold it) the amounts are 0 and `refill` is absent.
    """
    settings = office.settings
    message = pb.Office(
        office_id=settings.office_id,
        company_id=settings.company_id,
        name=settings.name,
        country=settings.country,
        currency=settings.currency,
        time_zone=settings.time_zone,
        tariff=settings.tariff,
        credit_limit_micros=settings.credit_limit_micros,
        max_concurrent_calls=settings.max_concurrent_calls,
        max_price_per_minute_micros=settings.max_price_per_minute_micros,
        daily_spend_limit_micros=settings.daily_spend_limit_micros,
        payment_terms=enum_of(settings.payment_terms),
        state=enum_of(office.state),
        version=office.version,
        created_at=instant(office.created_at),
        fraud_country_spend_micros=settings.fraud_country_spend_micros,
        fraud_office_spend_micros=settings.fraud_office_spend_micros,
        fraud_country_calls=settings.fraud_country_calls,
        fraud_office_calls=settings.fraud_office_calls,
        fraud_guards=[_guard(guard) for guard in office.guards if now_ms < guard.ends_at],
    )
    if record is not None:
        message.balance_micros = record.balance_micros
        message.reserved_micros = record.reserved_micros
        message.available_micros = record.available_micros
        message.concurrent_calls = record.concurrent_calls
        if record.day == day_number(now_ms, settings.time_zone):
            message.day_spend_micros = record.day_spend_micros
        message.refill.CopyFrom(_refill(office, record))
    return message


def refill_id_of(office_id: str, record: OfficeRecord) -> str:
    """The refill that is asked for, PENDING or WAITING; empty: none is."""
    if record.refill_state not in (RefillState.PENDING, RefillState.WAITING):
        return ""
    return f"{office_id}/{record.refill_number + 1}"


def _guard(guard: Guard) -> pb.FraudGuard:
    return pb.FraudGuard(
        kind=pb.FraudGuardKind.Value(f"FRAUD_GUARD_KIND_{guard.kind}"),
        country=guard.country,
        limit=guard.limit,
        reached=guard.reached,
        tripped_at=instant(guard.tripped_at),
        ends_at=instant(guard.ends_at),
    )


def _refill(office: Office, record: OfficeRecord) -> pb.Refill:
    refill = pb.Refill(
        state=enum_of(record.refill_state),
        threshold_micros=office.refill.threshold_micros,
        amount_micros=office.refill.amount_micros,
        payment_method_id=office.refill.payment_method_id,
        refill_id=refill_id_of(office.office_id, record),
        failures=record.refill_failures,
    )
    if record.refill_state is RefillState.WAITING:
        refill.waiting_until.CopyFrom(instant(record.refill_until_ms))
    return refill
