"""Whether what cards were charged, what invoices say and what was credited belong together (invariant 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Subquery, and_, exists, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind
from gateway.domain.payment import ChargePurpose, ChargeStatus, PurchaseStatus, RefillStatus
from gateway.ledger.database import Database
from gateway.ledger.models import ChargeRow, CreditRow, InvoiceItemRow, PurchaseRow, RefillRow

_PURPOSES: Final = {
    CreditKind.PURCHASE: (ChargePurpose.PURCHASE, f"{OWN_KEY_PREFIX}purchase:"),
    CreditKind.REFILL: (ChargePurpose.REFILL, f"{OWN_KEY_PREFIX}refill:"),
}
"""Credits that the gateway numbers for a charge or an invoice; their keys are this and then the purchase or refill."""


class PaymentFaultKind(StrEnum):
    """What does not belong together."""

    CHARGED_TWICE = "CHARGED_TWICE"
    CHARGED_WITHOUT_CREDIT = "CHARGED_WITHOUT_CREDIT"
    CREDITED_WITHOUT_CHARGE = "CREDITED_WITHOUT_CHARGE"
    INVOICED_OTHERWISE = "INVOICED_OTHERWISE"


@dataclass(frozen=True, slots=True)
class PaymentFault:
    """Two amounts, or two counts for CHARGED_TWICE, that should be one.

    Attributes:
        kind: What is wrong.
        office_id: Whose money.
        subject: The purchase or the refill.
        expected: What should be there.
        found: What is.
    """

    kind: PaymentFaultKind
    office_id: str
    subject: str
    expected: int
    found: int


class AuditedPayments:
    """Looks for faults among charges, purchases, refills, invoice items and credits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def faults(self, limit: int, office_id: str | None) -> Sequence[PaymentFault]:
        """The first faults of each kind, in one moment.

        Args:
            limit: How many of each kind.
            office_id: Of this office only.
        """
        faulty = {
            PaymentFaultKind.CHARGED_TWICE: _charged_twice(),
            PaymentFaultKind.CHARGED_WITHOUT_CREDIT: _charged_without_credit(),
            PaymentFaultKind.CREDITED_WITHOUT_CHARGE: _credited_without_charge(),
            PaymentFaultKind.INVOICED_OTHERWISE: _invoiced_otherwise(),
        }
        async with self._database.moment() as session:
            return [
                PaymentFault(kind, *row)
                for kind, table in faulty.items()
                for row in await _rows(session, table, limit, office_id)
            ]


async def _rows(session: AsyncSession, found: Subquery, limit: int, office_id: str | None) -> Sequence[Any]:
    query = select(found).order_by(found.c[0], found.c[1]).limit(limit)
    if office_id is not None:
        query = query.where(found.c[0] == office_id)
    return list(await session.execute(query))


def _charged_twice() -> Subquery:
    return (
        select(ChargeRow.office_id, ChargeRow.subject_id, literal(1).label("expected"), func.count().label("found"))
        .where(
            ChargeRow.status == ChargeStatus.SUCCEEDED,
            ChargeRow.purpose.in_((ChargePurpose.PURCHASE, ChargePurpose.REFILL)),
        )
        .group_by(ChargeRow.office_id, ChargeRow.purpose, ChargeRow.subject_id)
        .having(func.count() > 1)
        .subquery()
    )


def _charged_without_credit() -> Subquery:
    """What was paid for and not credited: charges that succeeded, and what calls itself paid, invoiced or credited."""
    charged = []
    for kind, (purpose, prefix) in _PURPOSES.items():
        # The credit's own key says what it is for; the number in the purchase or refill must be that of this credit.
        subject: Any = PurchaseRow if purpose is ChargePurpose.PURCHASE else RefillRow
        name = subject.purchase_id if purpose is ChargePurpose.PURCHASE else subject.refill_id
        is_settled = subject.status.in_(
            (PurchaseStatus.PAID, PurchaseStatus.INVOICED)
            if purpose is ChargePurpose.PURCHASE
            else (RefillStatus.CREDITED,)
        )
        is_its_credit = and_(
            CreditRow.office_id == subject.office_id,
            CreditRow.number == subject.credit_number,
            CreditRow.kind == kind,
            CreditRow.idempotency_key == literal(prefix) + name,
        )
        of_charges = (
            select(
                ChargeRow.office_id,
                ChargeRow.subject_id.label("subject"),
                ChargeRow.amount_micros.label("expected"),
                func.coalesce(CreditRow.requested_micros, 0).label("found"),
            )
            .outerjoin(subject, name == ChargeRow.subject_id)
            .outerjoin(CreditRow, is_its_credit)
            .where(
                ChargeRow.purpose == purpose,
                ChargeRow.status == ChargeStatus.SUCCEEDED,
                or_(CreditRow.number.is_(None), CreditRow.requested_micros != ChargeRow.amount_micros),
            )
        )
        of_subjects = (
            select(subject.office_id, name.label("subject"), subject.amount_micros.label("expected"), literal(0))
            .outerjoin(CreditRow, is_its_credit)
            .where(
                is_settled,
                CreditRow.number.is_(None),
                ~exists().where(
                    ChargeRow.purpose == purpose,
                    ChargeRow.subject_id == name,
                    ChargeRow.status == ChargeStatus.SUCCEEDED,
                ),
            )
        )
        charged += [of_charges, of_subjects]
    return union_all(*charged).subquery()


def _credited_without_charge() -> Subquery:
    credited = []
    for kind, (purpose, prefix) in _PURPOSES.items():
        name = func.substr(CreditRow.idempotency_key, len(prefix) + 1)
        is_charged = exists().where(
            ChargeRow.purpose == purpose, ChargeRow.subject_id == name, ChargeRow.status == ChargeStatus.SUCCEEDED
        )
        is_invoiced = exists().where(InvoiceItemRow.item_id == name)
        credited.append(
            select(
                CreditRow.office_id,
                name.label("subject"),
                literal(0).label("expected"),
                CreditRow.requested_micros.label("found"),
            ).where(CreditRow.kind == kind, CreditRow.idempotency_key.startswith(prefix), ~is_charged, ~is_invoiced)
        )
    return union_all(*credited).subquery()


def _invoiced_otherwise() -> Subquery:
    is_its_credit = and_(
        CreditRow.office_id == InvoiceItemRow.office_id, CreditRow.number == InvoiceItemRow.credit_number
    )
    return (
        select(
            InvoiceItemRow.office_id,
            InvoiceItemRow.item_id,
            CreditRow.requested_micros.label("expected"),
            InvoiceItemRow.amount_micros.label("found"),
        )
        .join(CreditRow, is_its_credit)
        .where(CreditRow.requested_micros != InvoiceItemRow.amount_micros)
        .subquery()
    )
