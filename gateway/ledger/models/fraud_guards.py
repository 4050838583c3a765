"""What the fraud guards count. What has tripped is a setting of the office (OfficeRow.guards)."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.ledger.models.base import Base


class GuardHourRow(Base):
    """The guarded calls of an office to a country in an hour of UTC, as the outbox tells of their debits.

    The sums over all hours are those of the usage records. What an operator forgave when lifting a guard is not counted
    against the limits again. Hours that no guard asks for any more are deleted.
    """

    __tablename__ = "guard_hour"

    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)  # Hours since 1970.
    country: Mapped[str] = mapped_column(String(3), primary_key=True)  # ISO 3166-1, or 001.
    calls: Mapped[int] = mapped_column(BigInteger)  # That were debited for the first time.
    spend_micros: Mapped[int] = mapped_column(BigInteger)  # Debits less what ends gave back: may be below zero.
    forgiven_calls: Mapped[int] = mapped_column(BigInteger)
    forgiven_micros: Mapped[int] = mapped_column(BigInteger)


class GuardDestinationRow(Base):
    """A country that an office has called, so that the first time is told of once."""

    __tablename__ = "guard_destination"

    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    country: Mapped[str] = mapped_column(String(3), primary_key=True)
    first_at: Mapped[int] = mapped_column(BigInteger)
