"""`tollgate invoices`: what offices that pay by invoice owe, month by month."""

from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.cli.output import columns, instant, money
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb

InvoiceId = Annotated[
    str, typer.Argument(metavar="INVOICE", help="OFFICE/YYYY-MM, as `tollgate invoices list` has it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Invoices of offices that pay so.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(show_all)
    group.command("show")(show)
    app.add_typer(group, name="invoices")


@asks_gateway
async def show_all(client: Client, office: OfficeId) -> None:
    """List the invoices of an office, the newest month first."""
    whole = pb.ListInvoicesResponse()
    async for page in pages_of(client.credits.ListInvoices, pb.ListInvoicesRequest(office_id=office)):
        whole.invoices.extend(page.invoices)
    rows = [(each.invoice_id, each.month, money(each.total_micros)) for each in whole.invoices]
    client.show(whole, columns(("INVOICE", "MONTH", "TOTAL"), rows))


@asks_gateway
async def show(client: Client, invoice: InvoiceId) -> None:
    """Show an invoice with its items."""
    answer = await client.credits.GetInvoice(pb.GetInvoiceRequest(invoice_id=invoice))
    rows = [
        (item.transaction_id, instant(item.at), item.kind, money(item.amount_micros), item.description)
        for item in answer.items
    ]
    lines = columns(("TRANSACTION", "AT", "KIND", "AMOUNT", "DESCRIPTION"), rows)
    client.show(answer, [*lines, f"total {money(answer.total_micros)}"])
