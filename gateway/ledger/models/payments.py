"""Cards, charges, purchases, refills and invoices.

No card number is here: what names a card are the provider's references, its brand, its last four digits and the
provider's fingerprint of it.
"""

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Integer, String, UniqueConstraint, and_
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.payment import ChargePurpose, ChargeStatus, PurchaseStatus, RefillStatus
from gateway.ledger.models.base import Base, enum_column
from gateway.ledger.models.credits import CreditRow
from gateway.ledger.models.offices import OfficeRow


class PaymentMethodRow(Base):
    """A card of an office. It can pay once `confirmed_at` is set, until it is removed or its fingerprint is locked.

    The row is there before the provider hears of the card, so that a repeat of AddPaymentMethod asks it with the same
    words. Until `added_at` is set the provider does not keep the card, or we do not know that it does.
    """

    __tablename__ = "payment_method"
    __table_args__ = (UniqueConstraint("office_id", "provider", "provider_token_hash"),)

    payment_method_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id))
    provider: Mapped[str] = mapped_column(String(32))
    provider_token_hash: Mapped[str] = mapped_column(String(64))  # So that a repeated AddPaymentMethod adds nothing.
    # What the provider is asked with: the token as it was given, then what the bank's answer replaced it with.
    setup_token: Mapped[str] = mapped_column(String(255))
    setup_attempt: Mapped[int] = mapped_column(Integer)
    confirmation_url: Mapped[str] = mapped_column(String(2048))  # While the bank waits for the card's owner.
    customer_ref: Mapped[str] = mapped_column(String(255))
    method_ref: Mapped[str] = mapped_column(String(255))
    brand: Mapped[str] = mapped_column(String(32))
    last_four: Mapped[str] = mapped_column(String(4))
    expiry_month: Mapped[int] = mapped_column(Integer)
    expiry_year: Mapped[int] = mapped_column(Integer)
    fingerprint: Mapped[str] = mapped_column(String(128), index=True)
    added_at: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_at: Mapped[int | None] = mapped_column(BigInteger)
    removed_at: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class CardLockRow(Base):
    """Wrong answers to the question for the small charge, by card: adding the card anew does not give three more."""

    __tablename__ = "card_lock"

    fingerprint: Mapped[str] = mapped_column(String(128), primary_key=True)
    wrong_answers: Mapped[int] = mapped_column(Integer)
    locked_at: Mapped[int | None] = mapped_column(BigInteger)


class ChargeRow(Base):
    """A charge of a card, written down before the card is charged.

    `charge_key` is the provider's idempotency key. INTENDED: it was or will be sent and the outcome is not known; such
    a charge is looked up, never repeated under another key.
    """

    __tablename__ = "charge"
    __table_args__ = (UniqueConstraint("purpose", "subject_id", "attempt"), Index(None, "office_id", "created_at"))

    charge_key: Mapped[str] = mapped_column(String(160), primary_key=True)
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id))
    purpose: Mapped[ChargePurpose] = mapped_column(enum_column(ChargePurpose))
    subject_id: Mapped[str] = mapped_column(String(128))  # The purchase, the refill or the payment method.
    attempt: Mapped[int] = mapped_column(Integer)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    payment_method_id: Mapped[str] = mapped_column(ForeignKey(PaymentMethodRow.payment_method_id))
    status: Mapped[ChargeStatus] = mapped_column(enum_column(ChargeStatus))
    provider_charge_id: Mapped[str] = mapped_column(String(255), index=True)
    decline_code: Mapped[str] = mapped_column(String(64))
    can_retry: Mapped[bool]  # Of one that failed: the provider thinks that a later attempt may go through.
    message: Mapped[str] = mapped_column(String(500))
    confirmation_url: Mapped[str] = mapped_column(String(2048))
    created_at: Mapped[int] = mapped_column(BigInteger)
    decided_at: Mapped[int | None] = mapped_column(BigInteger)
    given_back_at: Mapped[int | None] = mapped_column(BigInteger)  # Of a confirmation: it is refunded.
    # How often the provider was asked in vain since the last change, and when it is asked again.
    look_ups: Mapped[int] = mapped_column(Integer)
    next_look_at: Mapped[int] = mapped_column(BigInteger)


Index(
    "ix_charge_undecided",
    ChargeRow.next_look_at,
    sqlite_where=ChargeRow.decided_at.is_(None),
    postgresql_where=ChargeRow.decided_at.is_(None),
)
Index(
    "ix_charge_to_give_back",
    ChargeRow.next_look_at,
    sqlite_where=and_(ChargeRow.purpose == ChargePurpose.CONFIRMATION, ChargeRow.given_back_at.is_(None)),
    postgresql_where=and_(ChargeRow.purpose == ChargePurpose.CONFIRMATION, ChargeRow.given_back_at.is_(None)),
)


class PurchaseRow(Base):
    """A purchase of credits, by card or on the next invoice. The credit is numbered when the money is sure."""

    __tablename__ = "purchase"
    __table_args__ = (
        UniqueConstraint("office_id", "idempotency_key"),
        ForeignKeyConstraint(["office_id", "credit_number"], [CreditRow.office_id, CreditRow.number]),
    )

    purchase_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id))
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    payment_method_id: Mapped[str | None] = mapped_column(ForeignKey(PaymentMethodRow.payment_method_id))
    idempotency_key: Mapped[str] = mapped_column(String(128))
    content_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[PurchaseStatus] = mapped_column(enum_column(PurchaseStatus))
    credit_number: Mapped[int | None] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class RefillRow(Base):
    """An automatic refill, from its trigger to its credit; its charges are `charge` rows, one an attempt."""

    __tablename__ = "refill"
    __table_args__ = (
        ForeignKeyConstraint(["office_id", "credit_number"], [CreditRow.office_id, CreditRow.number]),
        Index(None, "office_id", "number"),
    )

    refill_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id))
    number: Mapped[int] = mapped_column(BigInteger)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[RefillStatus] = mapped_column(enum_column(RefillStatus))
    attempt: Mapped[int] = mapped_column(Integer)  # The one under way, or the last, from 1.
    credit_number: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[int] = mapped_column(BigInteger)


Index(
    "ix_refill_unfinished",
    RefillRow.office_id,
    sqlite_where=RefillRow.status.in_((RefillStatus.INTENDED, RefillStatus.CHARGING)),
    postgresql_where=RefillRow.status.in_((RefillStatus.INTENDED, RefillStatus.CHARGING)),
)


class InvoiceItemRow(Base):
    """Something that an invoiced office pays with the invoice of a month."""

    __tablename__ = "invoice_item"
    __table_args__ = (
        Index(None, "office_id", "month"),
        ForeignKeyConstraint(["office_id", "credit_number"], [CreditRow.office_id, CreditRow.number]),
    )

    item_id: Mapped[str] = mapped_column(String(128), primary_key=True)  # The purchase or the refill.
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id))
    month: Mapped[str] = mapped_column(String(7))  # YYYY-MM in the office's time zone.
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    credit_number: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[int] = mapped_column(BigInteger)


class ChargebackRow(Base):
    """A charge that the cardholder's bank took back: what could be taken from the office, and what it owes."""

    __tablename__ = "chargeback"

    chargeback_id: Mapped[str] = mapped_column(String(255), primary_key=True)  # The provider's id of the dispute.
    charge_key: Mapped[str] = mapped_column(ForeignKey(ChargeRow.charge_key))
    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id), index=True)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    taken_micros: Mapped[int | None] = mapped_column(BigInteger)  # None: not yet taken.
    at: Mapped[int] = mapped_column(BigInteger)


class ProviderEventRow(Base):
    """A webhook that was handled: the provider sends each at least once."""

    __tablename__ = "provider_event"

    event_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[int] = mapped_column(BigInteger)
