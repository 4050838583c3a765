"""What came in: the transactions of an office, and its invoices."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.errors import InvalidArgument
from gateway.ledger.errors import InvoiceNotFound
from gateway.page.desk import Desk, Visit
from gateway.v1 import credits_pb2 as pb


class MoneyInPages:
    """Transactions and invoices."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        route = self._desk.route
        return [
            route("/offices/{office_id}/transactions", self._transactions),
            route("/offices/{office_id}/invoices", self._invoices),
            route("/offices/{office_id}/invoices/{month}", self._invoice),
        ]

    async def _transactions(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        request = pb.ListTransactionsRequest(office_id=office.office_id, page_token=visit.query.text("page"))
        listed = await self._desk.of.transactions.list(request, visit.identity)
        return visit.page("transactions.html", office=office, listed=listed)

    async def _invoices(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        request = pb.ListInvoicesRequest(office_id=office.office_id, page_token=visit.query.text("page"))
        listed = await self._desk.of.invoices.list(request, visit.identity)
        return visit.page("invoices.html", office=office, listed=listed)

    async def _invoice(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        request = pb.GetInvoiceRequest(invoice_id=f"{office.office_id}/{visit.param('month')}")
        try:
            invoice = await self._desk.of.invoices.get(request, visit.identity)
        except InvalidArgument as error:  # What is no month has no invoice.
            raise InvoiceNotFound(request.invoice_id) from error
        return visit.page("invoice.html", office=office, invoice=invoice)
