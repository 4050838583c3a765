"""`tollgate company`: the owners of offices."""

from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.output import columns, instant
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb

CompanyId = Annotated[str, typer.Argument(metavar="COMPANY", help="Its id, 1 to 128 printable ASCII characters.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Companies, which own offices.", no_args_is_help=True, rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(show_all)
    app.add_typer(group, name="company")


@asks_gateway
async def create(client: Client, company: CompanyId, *, name: Annotated[str, typer.Option(help="For people.")]) -> None:
    """Create a company; the same again changes nothing."""
    answer = await client.credits.CreateCompany(pb.CreateCompanyRequest(company_id=company, name=name))
    client.show(answer, [f"{answer.company_id}: {answer.name}"])


@asks_gateway
async def show_all(client: Client) -> None:
    """List the companies."""
    whole = pb.ListCompaniesResponse()
    async for page in pages_of(client.credits.ListCompanies, pb.ListCompaniesRequest()):
        whole.companies.extend(page.companies)
    rows = [(each.company_id, each.name, instant(each.created_at)) for each in whole.companies]
    client.show(whole, columns(("COMPANY", "NAME", "CREATED"), rows))
