"""The tables. Nothing outside gateway/ledger/ sees these classes: repositories take and give frozen dataclasses."""

from gateway.ledger.models.base import Base
from gateway.ledger.models.credits import CreditRow
from gateway.ledger.models.fraud_guards import GuardDestinationRow, GuardHourRow
from gateway.ledger.models.journal import (
    DAY_MS,
    OfficeBookRow,
    OutboxPositionRow,
    RefillTriggerRow,
    UnrecordedRefusalsRow,
    UsageRow,
    day_of_start,
)
from gateway.ledger.models.notices import NoticeDeliveryRow, NoticeRecipientRow, NoticeRow
from gateway.ledger.models.offices import CompanyRow, DeckRow, OfficeRow, SignInLinkRow, SwitchRow, TokenRow
from gateway.ledger.models.payments import (
    CardLockRow,
    ChargebackRow,
    ChargeRow,
    InvoiceItemRow,
    PaymentMethodRow,
    ProviderEventRow,
    PurchaseRow,
    RefillRow,
)
from gateway.ledger.models.records import AuditRow, InstallationRow, SequenceRow

__all__ = [
    "DAY_MS",
    "AuditRow",
    "Base",
    "CardLockRow",
    "ChargeRow",
    "ChargebackRow",
    "CompanyRow",
    "CreditRow",
    "DeckRow",
    "GuardDestinationRow",
    "GuardHourRow",
    "InstallationRow",
    "InvoiceItemRow",
    "NoticeDeliveryRow",
    "NoticeRecipientRow",
    "NoticeRow",
    "OfficeBookRow",
    "OfficeRow",
    "OutboxPositionRow",
    "PaymentMethodRow",
    "ProviderEventRow",
    "PurchaseRow",
    "RefillRow",
    "RefillTriggerRow",
    "SequenceRow",
    "SignInLinkRow",
    "SwitchRow",
    "TokenRow",
    "UnrecordedRefusalsRow",
    "UsageRow",
    "day_of_start",
]
