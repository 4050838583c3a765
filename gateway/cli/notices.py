"""`tollgate notices`: whom the notices of offices go to by e-mail."""

import asyncio
import time
from typing import Annotated

import typer

from gateway.cli.ledger import ACTOR, ConfigFile, DataDirectory, gateway_database
from gateway.cli.output import columns
from gateway.ledger.notice_recipients import NoticeRecipients

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An e-mail address, without a name.")]
OfficeOption = Annotated[str, typer.Option("--office", metavar="OFFICE", help="The notices of this office; or")]
CompanyOption = Annotated[str, typer.Option("--company", metavar="COMPANY", help="those of all offices of this one.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Who gets notices by e-mail; works on the gateway's database, which may be running or not.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("to")(to)
    group.command("list")(show_all)
    group.command("remove")(remove)
    app.add_typer(group, name="notices")


def to(
    address: Address,
    office: OfficeOption = "",
    company: CompanyOption = "",
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Send notices from now on to an address too; the same again changes nothing."""

    async def add() -> None:
        async with gateway_database(config, data_dir) as database:
            await NoticeRecipients(database).add(
                company_id=company, office_id=office, address=address, actor=ACTOR, now_ms=_now_ms()
            )

    asyncio.run(add())
    typer.echo(f"{address} gets the notices of {_of(company, office)}")


def remove(
    address: Address,
    office: OfficeOption = "",
    company: CompanyOption = "",
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Send no more notices to an address; what is on its way still comes."""

    async def take_away() -> None:
        async with gateway_database(config, data_dir) as database:
            await NoticeRecipients(database).remove(
                company_id=company, office_id=office, address=address, actor=ACTOR, now_ms=_now_ms()
            )

    asyncio.run(take_away())
    typer.echo(f"{address} gets no more notices of {_of(company, office)}")


def show_all(config: ConfigFile = None, data_dir: DataDirectory = None) -> None:
    """List who gets which notices, beside the operators of TOLLGATE_NOTICE_EMAIL_TO, who get all."""

    async def read() -> list[tuple[str, str, str]]:
        async with gateway_database(config, data_dir) as database:
            recipients = await NoticeRecipients(database).list()
        return [(each.company_id, each.office_id or "all", each.address) for each in recipients]

    for line in columns(("COMPANY", "OFFICE", "ADDRESS"), asyncio.run(read())):
        typer.echo(line)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _of(company: str, office: str) -> str:
    return f"the office {office}" if office else f"the company {company}"
