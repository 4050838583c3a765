"""`tollgate rates`: importing rate decks, and asking what a number costs and why."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.deck_files import read_deck
from gateway.cli.output import columns, instant, pairs
from gateway.cli.rate_lookup import lookup
from gateway.v1 import credits_pb2 as pb

IMPORT_SECONDS = 300.0
"""The largest deck takes a while to read."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Rate decks.", no_args_is_help=True, rich_markup_mode=None)
    group.command("import")(import_deck)
    group.command("list")(show_all)
    group.command("lookup")(lookup)
    app.add_typer(group, name="rates")


@asks_gateway
async def import_deck(
    client: Client,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV; see docs/reference/rate-decks.md.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, here: no gateway is asked.")] = False,
) -> None:
    """Put a rate deck in force: whole and at once, or not at all."""
    content, deck = read_deck(file)
    if dry_run:
        typer.echo(f"{file}: {len(deck)} rates, no errors; nothing was imported")
        return
    answer = await client.credits.ImportRates(
        pb.ImportRatesRequest(deck=content, source=file.name), timeout=IMPORT_SECONDS
    )
    client.show(
        answer,
        pairs([("version", str(answer.version)), ("rates", str(answer.rates)), ("sha256", answer.sha256)]),
    )


@asks_gateway
async def show_all(client: Client) -> None:
    """List the decks that were imported, the newest first."""
    answer = await client.credits.ListRateDecks(pb.ListRateDecksRequest(page_size=1_000))
    rows = [
        (
            str(each.version),
            str(each.rates),
            instant(each.created_at),
            "in force" if each.current else "",
            each.sha256[:12],
            each.source,
        )
        for each in answer.decks
    ]
    client.show(answer, columns(("VERSION", "RATES", "IMPORTED", "", "SHA256", "SOURCE"), rows))
