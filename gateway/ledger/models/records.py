"""Counters whose order matters, and the audit log."""

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.ledger.models.base import Base, BigKey, JsonColumn


class SequenceRow(Base):
    """A counter whose lock is held to the commit, so that numbers become visible in order and none is lost.

    A database's own sequence promises neither: on PostgreSQL a reader may see 8 before 7 is committed, and a cursor
    that has passed 8 never sees 7.

    One row is no counter: the floor of the migrations (gateway/ledger/migrations), which also only rises.
    """

    __tablename__ = "sequence"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class AuditRow(Base):
    """Who changed what, when, from what to what. Only ever appended to."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "target", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    at: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(192))
    before: Mapped[dict[str, object] | None] = mapped_column(JsonColumn)
    after: Mapped[dict[str, object] | None] = mapped_column(JsonColumn)


class InstallationRow(Base):
    """What this installation drew once, by its migrations: the only row.

    The name stands before every key that a payment provider is given, so that two installations that share an account
    of the provider, a test beside the production, say, never take each other's keys. The page's key is here so that a
    browser that one back process signed in is known to all of them.
    """

    __tablename__ = "installation"

    installation_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    page_key: Mapped[str] = mapped_column(String(64))  # 32 bytes in hexadecimal.
