"""ListInvoices and GetInvoice: what an invoiced office pays, month by month."""

from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.fields import instant, read_page
from gateway.domain.credit import transaction_id
from gateway.domain.identity import Identity
from gateway.ledger.invoices import Invoice, InvoiceId, Invoices
from gateway.ledger.offices import Offices
from gateway.v1 import credits_pb2 as pb


class InvoiceRpcs:
    """What is asked about invoices."""

    def __init__(self, offices: Offices, invoices: Invoices) -> None:
        self._access = OfficeAccess(offices)
        self._invoices = invoices

    async def list(self, request: pb.ListInvoicesRequest, identity: Identity) -> pb.ListInvoicesResponse:
        """An office's invoices without their items, the newest month first.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`; or the page is none.
        """
        await self._access.readable(request.office_id, identity)
        page = await self._invoices.list(read_page(request.page_size, request.page_token), request.office_id)
        return pb.ListInvoicesResponse(
            invoices=[_message(invoice) for invoice in page.items], next_page_token=page.next_page_token
        )

    async def get(self, request: pb.GetInvoiceRequest, identity: Identity) -> pb.Invoice:
        """An invoice with its items.

        Raises:
            InvalidArgument: The invoice_id can be none.
            PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`.
            InvoiceNotFound: The office has nothing to pay for that month.
        """
        invoice_id = InvoiceId.parse(request.invoice_id)
        # Whose it is stands in its name: to whom the office is not, no invoice of it exists or does not.
        await self._access.readable(invoice_id.office_id, identity)
        return _message(await self._invoices.get(invoice_id))


def _message(invoice: Invoice) -> pb.Invoice:
    of = invoice.invoice_id
    message = pb.Invoice(invoice_id=str(of), office_id=of.office_id, month=of.month, total_micros=invoice.total_micros)
    for item in invoice.items:
        message.items.add(
            transaction_id=transaction_id(of.office_id, item.credit_number),
            at=instant(item.at),
            amount_micros=item.amount_micros,
            kind=item.kind.value.lower(),
            description=item.description,
            refill_id=item.refill_id or "",
        )
    return message
