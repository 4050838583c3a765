"""`tollgate notices`: whom the notices of offices go to by e-mail."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.cli.ledger import ACTOR, ConfigFile, DataDirectory, gateway_database
from gateway.cli.output import columns
from gateway.ledger.notice_recipients import NoticeRecipient, NoticeRecipients

T = TypeVar("T")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An e-mail address, without a name.")]
OfficeOption = Annotated[str, typer.Option("--office", metavar="OFFICE", help="The notices of this office; or")]
CompanyOption = Annotated[str, typer.Option("--company", metavar="COMPANY", help="those of all offices of this one.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Who gets notices by e-mail; works on the gateway's database, whether the gateway runs or not.",
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
    _change(NoticeRecipients.add, address, office, company, config, data_dir)
    typer.echo(f"{address} gets the notices of {_of(company, office)}")


def remove(
    address: Address,
    office: OfficeOption = "",
    company: CompanyOption = "",
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Send no more notices to an address; what is on its way still comes."""
    _change(NoticeRecipients.remove, address, office, company, config, data_dir)
    typer.echo(f"{address} gets no more notices of {_of(company, office)}")


def show_all(config: ConfigFile = None, data_dir: DataDirectory = None) -> None:
    """List who gets which notices, beside the operators of TOLLGATE_NOTICE_EMAIL_TO, who get all."""
    recipients = _run(NoticeRecipients.list, config, data_dir)
    rows = [(each.company_id, each.office_id or "all", each.address) for each in recipients]
    for line in columns(("COMPANY", "OFFICE", "ADDRESS"), rows):
        typer.echo(line)


def _change(
    change: Callable[..., Awaitable[NoticeRecipient]],
    address: str,
    office: str,
    company: str,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    _run(
        lambda recipients: change(
            recipients, company_id=company, office_id=office, address=address, actor=ACTOR, now_ms=now_ms
        ),
        config,
        data_dir,
    )


def _run(work: Callable[[NoticeRecipients], Awaitable[T]], config: Path | None, data_dir: Path | None) -> T:
    async def run() -> T:
        async with gateway_database(config, data_dir) as database:
            return await work(NoticeRecipients(database))

    return asyncio.run(run())


def _of(company: str, office: str) -> str:
    return f"the office {office}" if office else f"the company {company}"
