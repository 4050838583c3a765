"""`tollgate refills`: the triggers, as whoever charges from outside sees them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.output import money, show_json
from gateway.v1 import credits_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Refill triggers.", no_args_is_help=True, rich_markup_mode=None)
    group.callback()(lambda: None)
    group.command("watch")(watch)
    app.add_typer(group, name="refills")


@asks_gateway
async def watch(
    client: Client,
    *,
    after: Annotated[str, typer.Option(help="Resume behind this cursor; not given: from the first still kept.")] = "",
) -> None:
    """Print each refill trigger as it comes, until Ctrl-C."""
    async for trigger in client.credits.WatchRefills(pb.WatchRefillsRequest(after=after)):
        if client.as_json:
            show_json(trigger, indent=None)
            continue
        moment = datetime.fromtimestamp(trigger.triggered_at.ToMilliseconds() / 1000, UTC)
        typer.echo(
            f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"Z  {trigger.refill_id}  {trigger.office_id} has "
            f"{money(trigger.available_micros)}, below {money(trigger.threshold_micros)}: add "
            f"{money(trigger.amount_micros)}  (cursor {trigger.cursor or '-'})"
        )
