"""Numbered credits: the one way in which money enters or leaves an office outside calls and messages."""

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.credit import CreditKind, CreditStatus
from gateway.ledger.models.base import Base, enum_column
from gateway.ledger.models.offices import OfficeRow


class CreditRow(Base):
    """A numbered credit. Rows are never deleted, and `requested_micros` never changes."""

    __tablename__ = "credit"
    __table_args__ = (
        UniqueConstraint("office_id", "idempotency_key"),
        UniqueConstraint("office_id", "refill_id"),
    )

    office_id: Mapped[str] = mapped_column(ForeignKey(OfficeRow.office_id), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requested_micros: Mapped[int] = mapped_column(BigInteger)
    amount_micros: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[CreditKind] = mapped_column(enum_column(CreditKind))
    reason: Mapped[str] = mapped_column(String(500))
    idempotency_key: Mapped[str] = mapped_column(String(128))
    content_hash: Mapped[str] = mapped_column(String(64))
    refill_id: Mapped[str | None] = mapped_column(String(128))
    status: Mapped[CreditStatus] = mapped_column(enum_column(CreditStatus))
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    applied_at: Mapped[int | None] = mapped_column(BigInteger)


Index(
    "ix_credit_unapplied",
    CreditRow.office_id,
    CreditRow.number,
    sqlite_where=CreditRow.applied_at.is_(None),
    postgresql_where=CreditRow.applied_at.is_(None),
)
