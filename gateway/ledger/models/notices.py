"""What people are to be told, to whom, and by which ways they have been."""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.notice import NoticeKind
from gateway.ledger.models.base import Base, BigKey, JsonColumn, enum_column
from gateway.ledger.models.offices import CompanyRow


class NoticeRow(Base):
    """A notice, recorded in the transaction of what it tells of; the key keeps it from being recorded twice.

    Whoever records it knows nothing of the ways it goes. The notifier makes a delivery for each of them when it first
    sees the notice, and sets `routed_at`: a channel that is set up later gets no old notices.
    """

    __tablename__ = "notice"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    notice_key: Mapped[str] = mapped_column(String(192), unique=True)
    office_id: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[NoticeKind] = mapped_column(enum_column(NoticeKind))
    facts: Mapped[dict[str, object]] = mapped_column(JsonColumn)
    created_at: Mapped[int] = mapped_column(BigInteger)
    routed_at: Mapped[int | None] = mapped_column(BigInteger)


# By this the notifier finds what is new. A cursor would not do: on PostgreSQL a later number can be visible first.
Index(
    "ix_notice_unrouted",
    NoticeRow.seq,
    sqlite_where=NoticeRow.routed_at.is_(None),
    postgresql_where=NoticeRow.routed_at.is_(None),
)


class NoticeDeliveryRow(Base):
    """One way that a notice goes, to one recipient; done when it was sent or given up.

    While somebody sends it, `next_at` is when that counts as broken off: so it is claimed by one sender at a time, and
    found again when that sender has died.
    """

    __tablename__ = "notice_delivery"

    notice_seq: Mapped[int] = mapped_column(ForeignKey(NoticeRow.seq), primary_key=True)
    channel: Mapped[str] = mapped_column(String(32), primary_key=True)
    recipient: Mapped[str] = mapped_column(String(254), primary_key=True)  # Empty where the channel has but one.
    attempts: Mapped[int] = mapped_column(Integer)  # Begun, not finished.
    next_at: Mapped[int] = mapped_column(BigInteger)
    done_at: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str] = mapped_column(String(500))  # Of the last attempt; empty: none, or it was sent.


Index(
    "ix_notice_delivery_undone",
    NoticeDeliveryRow.channel,
    NoticeDeliveryRow.next_at,
    sqlite_where=NoticeDeliveryRow.done_at.is_(None),
    postgresql_where=NoticeDeliveryRow.done_at.is_(None),
)


class NoticeRecipientRow(Base):
    """Whom the notices of a company's offices go to by e-mail, beside the operators."""

    __tablename__ = "notice_recipient"

    company_id: Mapped[str] = mapped_column(ForeignKey(CompanyRow.company_id), primary_key=True)
    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)  # Empty: all offices of the company.
    address: Mapped[str] = mapped_column(String(254), primary_key=True)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
