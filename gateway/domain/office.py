"""An office's settings: what they are and which values they may have."""

import dataclasses
import re
from dataclasses import dataclass

from phonenumbers import SUPPORTED_REGIONS

from gateway.domain.calendar import time_zones
from gateway.domain.fraud_guard import BY_DEFAULT, MAX_GUARDED_CALLS, GuardLimits
from gateway.domain.ids import validate_amount, validate_id, validate_office_id, validate_text
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.domain.vocabulary import PaymentTerms
from gateway.errors import InvalidArgument

DEFAULT_REFILL_THRESHOLD_MICROS = 5_000_000
DEFAULT_REFILL_AMOUNT_MICROS = 50_000_000

MAX_CONCURRENT_CALLS = 1_000_000
MAX_PRICE_PER_MINUTE_MICROS = 10**12

_COUNTRIES = frozenset(SUPPORTED_REGIONS)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class OfficeSettings:
    """What UpdateOffice can change, and the id. A limit of 0 is no limit; an empty tariff is the deck's unnamed one.

    The limits of the fraud guards are for an hour; BY_DEFAULT stands for those of the installation.
    """

    office_id: str
    company_id: str
    name: str
    country: str
    currency: str
    time_zone: str
    tariff: str = ""
    credit_limit_micros: int = 0
    max_concurrent_calls: int = 0
    max_price_per_minute_micros: int = 0
    daily_spend_limit_micros: int = 0
    payment_terms: PaymentTerms = PaymentTerms.CARD
    fraud_country_spend_micros: int = BY_DEFAULT
    fraud_office_spend_micros: int = BY_DEFAULT
    fraud_country_calls: int = BY_DEFAULT
    fraud_office_calls: int = BY_DEFAULT

    @property
    def fraud_limits(self) -> GuardLimits:
        """What the fraud guards allow, as the office is set."""
        return GuardLimits(
            self.fraud_country_spend_micros,
            self.fraud_office_spend_micros,
            self.fraud_country_calls,
            self.fraud_office_calls,
        )

    def validate(self, currency: str) -> None:
        """Hold every value against its range.

        It is called on the way in only: a row that was right once is still read after, say, a country was dropped.

        Args:
            currency: The currency of this installation.

        Raises:
            InvalidArgument: Names the first field that is wrong, and what it may be.
        """
        validate_office_id(self.office_id)
        validate_id(self.company_id, "company_id")
        validate_text(self.name, "name")
        if self.country not in _COUNTRIES:
            raise InvalidArgument("country", "must be an ISO 3166 code of two upper-case letters, such as 'US'")
        if self.currency != currency:
            raise InvalidArgument("currency", f"must be {currency!r}: an installation has one currency")
        if self.time_zone not in time_zones():
            raise InvalidArgument("time_zone", "must be a name of the IANA database, such as 'America/New_York'")
        if self.tariff:
            validate_id(self.tariff, "tariff")
        validate_amount(self.credit_limit_micros, "credit_limit_micros")
        if not 0 <= self.max_concurrent_calls <= MAX_CONCURRENT_CALLS:
            raise InvalidArgument("max_concurrent_calls", f"must be 0 (no limit) to {MAX_CONCURRENT_CALLS}")
        if not 0 <= self.max_price_per_minute_micros <= MAX_PRICE_PER_MINUTE_MICROS:
            raise InvalidArgument(
                "max_price_per_minute_micros", f"must be 0 (no limit) to {MAX_PRICE_PER_MINUTE_MICROS} micros"
            )
        validate_amount(self.daily_spend_limit_micros, "daily_spend_limit_micros")
        if not isinstance(self.payment_terms, PaymentTerms):
            raise InvalidArgument("payment_terms", "must be CARD or INVOICE")
        for name in ("fraud_country_spend_micros", "fraud_office_spend_micros"):
            _validate_fraud_limit(getattr(self, name), name, MAX_AMOUNT_MICROS)
        for name in ("fraud_country_calls", "fraud_office_calls"):
            _validate_fraud_limit(getattr(self, name), name, MAX_GUARDED_CALLS)


@dataclass(frozen=True, slots=True)
class OfficeChanges:
    """The fields of an UpdateOffice; None stays as it is."""

    company_id: str | None = None
    name: str | None = None
    country: str | None = None
    currency: str | None = None
    time_zone: str | None = None
    tariff: str | None = None
    credit_limit_micros: int | None = None
    max_concurrent_calls: int | None = None
    max_price_per_minute_micros: int | None = None
    daily_spend_limit_micros: int | None = None
    payment_terms: PaymentTerms | None = None
    fraud_country_spend_micros: int | None = None
    fraud_office_spend_micros: int | None = None
    fraud_country_calls: int | None = None
    fraud_office_calls: int | None = None

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields that are given: what `Identity.may_update_office` asks for."""
        return frozenset(field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None)

    def applied_to(self, settings: OfficeSettings) -> OfficeSettings:
        """The settings with the given fields replaced; not yet validated."""
        return dataclasses.replace(settings, **{name: getattr(self, name) for name in self.fields})


@dataclass(frozen=True, slots=True)
class RefillSettings:
    """The automatic refill of an office."""

    enabled: bool = False
    threshold_micros: int = DEFAULT_REFILL_THRESHOLD_MICROS
    amount_micros: int = DEFAULT_REFILL_AMOUNT_MICROS
    payment_method_id: str = ""

    def validate(self) -> None:
        """Hold the values against their ranges.

        An amount below the threshold is refused: one refill would not lift the funds over it, and each would ask
        for the next.

        Raises:
            InvalidArgument: Names the field that is wrong, and what it may be.
        """
        validate_amount(self.threshold_micros, "threshold_micros", lowest=1)
        validate_amount(self.amount_micros, "amount_micros", lowest=1)
        if self.amount_micros < self.threshold_micros:
            raise InvalidArgument("amount_micros", f"must be at least the threshold, {self.threshold_micros} micros")
        if self.payment_method_id:
            validate_id(self.payment_method_id, "payment_method_id")


def _validate_fraud_limit(value: int, field: str, highest: int) -> None:
    if not BY_DEFAULT <= value <= highest:
        raise InvalidArgument(field, f"must be {BY_DEFAULT} (the installation's), 0 (no limit) or 1 to {highest}")


def validate_currency(currency: str) -> None:
    """Hold the currency of an installation against the pattern of ISO 4217.

    Raises:
        InvalidArgument: It is not three upper-case letters.
    """
    if not _CURRENCY.fullmatch(currency):
        raise InvalidArgument("currency", "must be an ISO 4217 code of three upper-case letters, such as 'USD'")
