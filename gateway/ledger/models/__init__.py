"""The tables. Nothing outside gateway/ledger/ sees these classes: repositories take and give frozen dataclasses."""

from gateway.ledger.models.base import Base
from gateway.ledger.models.credits import CreditRow
from gateway.ledger.models.journal import (
    OfficeBookRow,
    OutboxPositionRow,
    RefillTriggerRow,
    UnrecordedRefusalsRow,
    UsageRow,
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
    "AuditRow",
    "Base",
    "CardLockRow",
    "ChargeRow",
    "ChargebackRow",
    "CompanyRow",
    "CreditRow",
    "DeckRow",
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
]
