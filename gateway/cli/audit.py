"""`tollgate audit`: whether ledger, outbox and store agree, to the micro."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated

import typer

from gateway.auditing import AuditReport, Difference, audit
from gateway.cli.errors import EXIT_FAILED, CommandError
from gateway.cli.installation import gateway_installation, progress_bar
from gateway.cli.ledger import ConfigFile, DataDirectory, gateway_settings
from gateway.cli.output import NOTHING, instant_of_ms, money, pairs
from gateway.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(show_audit)


def show_audit(
    office: Annotated[str | None, typer.Option(help="Only this office.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="List every difference, up to 1,000.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Compare ledger, outbox and store to the micro; changes nothing, and nothing need be stopped.

    Exit code 0: they agree, 1: they do not, or could not be compared.
    """
    report = asyncio.run(_audit(gateway_settings(config, data_dir), office))
    if as_json:
        typer.echo(json.dumps(_as_json(report), indent=2))
    else:
        for line in _lines(report, every=every):
            typer.echo(line)
    if report.too_busy:
        raise CommandError(
            f"could not be compared, since too busy: {', '.join(report.too_busy[:10])}; try again", EXIT_FAILED
        )
    if report.count:
        differ = "1 difference" if report.count == 1 else f"{report.count} differences"
        raise CommandError(f"{differ}; docs/operating/audit-and-rebuild.md says what helps", EXIT_FAILED)


async def _audit(settings: Settings, office_id: str | None) -> AuditReport:
    with progress_bar() as progress:
        async with gateway_installation(settings, alone=False) as installation:
            return await audit(installation.database, installation.connection, office_id=office_id, progress=progress)


def _lines(report: AuditReport, *, every: bool) -> Iterator[str]:
    yield from pairs(
        [
            ("offices", str(report.offices)),
            ("live calls", str(report.live_calls)),
            ("usage records", str(report.usage_records)),
            ("outbox entries", f"{report.outbox_entries} not in the ledger yet"),
            ("credits to come", f"{report.credits_to_come} ({money(report.credits_to_come_micros)})"),
            ("newest entry", instant_of_ms(report.ledger_knows_until) if report.ledger_knows_until else NOTHING),
        ]
    )
    if report.is_clean:
        yield "ledger, outbox and store agree"
    elif every:
        yield from map(str, report.differences)
    elif report.differences:
        yield f"first difference: {report.differences[0]}"


def _as_json(report: AuditReport) -> dict[str, object]:
    """Micros and instants as strings, as in every answer that is printed as JSON."""
    return {
        "is_clean": report.is_clean,
        "difference_count": report.count,
        "differences": [_difference_as_json(each) for each in report.differences],
        "too_busy": report.too_busy,
        "offices": report.offices,
        "live_calls": report.live_calls,
        "usage_records": report.usage_records,
        "outbox_entries": report.outbox_entries,
        "credits_to_come": report.credits_to_come,
        "credits_to_come_micros": str(report.credits_to_come_micros),
        "ledger_knows_until_ms": str(report.ledger_knows_until),
    }


def _difference_as_json(difference: Difference) -> dict[str, object]:
    return {
        "check": difference.check.value,
        "office_id": difference.office_id,
        "subject": difference.subject,
        "is_money": difference.is_money,
        "expected": {"source": difference.expected.source, "value": str(difference.expected.value)},
        "found": {"source": difference.found.source, "value": str(difference.found.value)},
        "difference": str(difference.difference),
    }
