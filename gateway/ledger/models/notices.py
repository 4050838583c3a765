"""What people are to be told, and by which way they have been."""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.notice import NoticeKind
from gateway.ledger.models.base import Base, BigKey, JsonColumn, enum_column


class NoticeRow(Base):
    """A notice, recorded in the transaction of what it tells of; the key keeps it from being recorded twice."""

    __tablename__ = "notice"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    notice_key: Mapped[str] = mapped_column(String(192), unique=True)
    office_id: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[NoticeKind] = mapped_column(enum_column(NoticeKind))
    facts: Mapped[dict[str, object]] = mapped_column(JsonColumn)
    created_at: Mapped[int] = mapped_column(BigInteger)


class NoticeDeliveryRow(Base):
    """One way that a notice goes; a row for each is made with the notice, and done when it was sent or given up."""

    __tablename__ = "notice_delivery"

    notice_seq: Mapped[int] = mapped_column(ForeignKey(NoticeRow.seq), primary_key=True)
    channel: Mapped[str] = mapped_column(String(32), primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
    next_at: Mapped[int] = mapped_column(BigInteger)
    done_at: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str] = mapped_column(String(500))  # Of the last attempt; empty: none, or it was sent.


Index(
    "ix_notice_delivery_undone",
    NoticeDeliveryRow.next_at,
    sqlite_where=NoticeDeliveryRow.done_at.is_(None),
    postgresql_where=NoticeDeliveryRow.done_at.is_(None),
)
