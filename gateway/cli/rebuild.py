"""`tollgate rebuild`: the store again, from the ledger, after its total loss."""

import asyncio
import dataclasses
import json
from typing import Annotated

import typer
from redis.exceptions import RedisError

from gateway.cli.errors import EXIT_UNAVAILABLE, CommandError
from gateway.cli.installation import gateway_installation, progress_bar
from gateway.cli.ledger import ConfigFile, DataDirectory, gateway_settings
from gateway.cli.output import instant_of_ms, money, pairs
from gateway.rebuilding import RebuildReport, rebuild
from gateway.settings import Settings
from gateway.store.clock import StoreClock
from gateway.store.configuration import check_primaries
from gateway.store.connection import StoreConnection
from gateway.store_opening import lifetimes_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rebuild")(rebuild_store)


def rebuild_store(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Restore the store from the ledger after its total loss; refuses one that is in use. Stop every gateway first.

    Broken off, it is to be run again: it goes on where it was.
    """
    report = asyncio.run(_rebuild(gateway_settings(config, data_dir)))
    if as_json:
        amounts = {"balance_micros": str(report.balance_micros), "ledger_knows_until": str(report.ledger_knows_until)}
        typer.echo(json.dumps(dataclasses.asdict(report) | amounts, indent=2))
        return
    for line in pairs(_rows(report)):
        typer.echo(line)
    typer.echo(_last_words(report))


async def _rebuild(settings: Settings) -> RebuildReport:
    with progress_bar() as progress:
        async with gateway_installation(settings, alone=True) as installation:
            await _check_configuration(installation.connection)
            clock = StoreClock()
            await clock.measure(installation.connection)
            return await rebuild(
                installation.database, installation.connection, clock, lifetimes_of(settings), progress=progress
            )


async def _check_configuration(connection: StoreConnection) -> None:
    try:
        await check_primaries(connection.servers())
    except (RedisError, OSError) as error:
        raise CommandError(f"the store does not answer: {error}", EXIT_UNAVAILABLE) from None


def _rows(report: RebuildReport) -> list[tuple[str, str]]:
    return [
        ("offices", f"{report.offices}, balances {money(report.balance_micros)} in all"),
        ("calls not over", f"{report.open_calls}, to be revived or settled by their end"),
        ("ended calls", f"{report.ended_calls}, known again"),
        ("messages", f"{report.messages}, known again"),
        ("epoch", f"{report.epoch}{', gone on with' if report.went_on else ''}"),
    ]


def _last_words(report: RebuildReport) -> str:
    if not report.ledger_knows_until:
        return "the ledger has no entry yet: only credits were restored"
    return (
        f"the ledger knows everything up to {instant_of_ms(report.ledger_knows_until)}; what came later and was lost "
        "with the store never happened: switches ask again for it"
    )
