"""Invoices: what an invoiced office pays for a month, the month being the one of its own time zone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.calendar import month_of
from gateway.domain.credit import CreditKind
from gateway.errors import InvalidArgument
from gateway.ledger.credits import Credit
from gateway.ledger.database import Database
from gateway.ledger.errors import InvoiceNotFound
from gateway.ledger.models import CreditRow, InvoiceItemRow, OfficeRow
from gateway.ledger.paging import Page, PageRequest

MAX_ITEMS: Final = 10_000
"""Of one invoice, as it is shown; the total is that of all of them."""

_INVOICE_ID: Final = re.compile(r"([A-Za-z0-9._-]{1,64})/([0-9]{4}-(?:0[1-9]|1[0-2]))")


@dataclass(frozen=True, slots=True)
class InvoiceId:
    """How an invoice is named: the office and the month, which is all that it is."""

    office_id: str
    month: str

    @classmethod
    def parse(cls, text: str) -> "InvoiceId":
        """Read `<office_id>/<YYYY-MM>`.

        Raises:
            InvalidArgument: It is none.
        """
        match = _INVOICE_ID.fullmatch(text)
        if match is None:
            raise InvalidArgument("invoice_id", "must be <office_id>/<YYYY-MM>, as ListInvoices says")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.office_id}/{self.month}"


@dataclass(frozen=True, slots=True)
class InvoiceItem:
    """A purchase or a refill on an invoice, with the credit that was given for it."""

    item_id: str
    credit_number: int
    amount_micros: int
    kind: CreditKind
    description: str
    refill_id: str | None
    at: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """What an office pays for a month. The month that runs grows yet."""

    invoice_id: InvoiceId
    total_micros: int
    items: Sequence[InvoiceItem]


class Invoices:
    """The repository of invoices: sums over their items."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, page: PageRequest, office_id: str) -> Page[Invoice]:
        """An office's invoices without their items, the newest month first.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((str,), "invoices", office_id)
        query = (
            select(InvoiceItemRow.month, func.sum(InvoiceItemRow.amount_micros))
            .where(InvoiceItemRow.office_id == office_id)
            .group_by(InvoiceItemRow.month)
            .order_by(InvoiceItemRow.month.desc())
            .limit(page.limit + 1)
        )
        if after is not None:
            query = query.where(InvoiceItemRow.month < after[0])
        async with self._database.read() as session:
            found = [
                Invoice(InvoiceId(office_id, month), int(total), ()) for month, total in await session.execute(query)
            ]
        return page.page(found, lambda invoice: (invoice.invoice_id.month,), "invoices", office_id)

    async def get(self, invoice_id: InvoiceId) -> Invoice:
        """An invoice with its items, the oldest first.

        Raises:
            InvoiceNotFound: The office has nothing to pay for that month.
        """
        of_invoice = (
            InvoiceItemRow.office_id == invoice_id.office_id,
            InvoiceItemRow.month == invoice_id.month,
        )
        total_query = select(func.sum(InvoiceItemRow.amount_micros)).where(*of_invoice)
        query = (
            select(InvoiceItemRow, CreditRow)
            .join(
                CreditRow,
                (CreditRow.office_id == InvoiceItemRow.office_id) & (CreditRow.number == InvoiceItemRow.credit_number),
            )
            .where(*of_invoice)
            .order_by(InvoiceItemRow.credit_number)
            .limit(MAX_ITEMS)
        )
        async with self._database.read() as session:
            total = await session.scalar(total_query)
            items = tuple(_item(row, credit) for row, credit in await session.execute(query))
        if total is None:
            raise InvoiceNotFound(str(invoice_id))
        return Invoice(invoice_id, int(total), items)


async def add_item(session: AsyncSession, item_id: str, credit: Credit, *, now_ms: int) -> str:
    """Put a credit on the invoice of the office's present month, in the transaction that numbers the credit.

    Args:
        session: The transaction.
        item_id: The purchase or the refill: on an invoice once.
        credit: What was given for it.
        now_ms: When.

    Returns:
        The month, YYYY-MM.
    """
    office = await session.get_one(OfficeRow, credit.office_id)
    month = month_of(now_ms, office.time_zone)
    session.add(
        InvoiceItemRow(
            item_id=item_id,
            office_id=credit.office_id,
            month=month,
            amount_micros=credit.amount_micros,
            credit_number=credit.number,
            at=now_ms,
        )
    )
    return month


def _item(row: InvoiceItemRow, credit: CreditRow) -> InvoiceItem:
    return InvoiceItem(
        row.item_id, row.credit_number, row.amount_micros, credit.kind, credit.reason, credit.refill_id, row.at
    )
