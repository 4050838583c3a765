"""`tollgate calls`: what is live now."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

import typer

from gateway.cli.call_table import ALL_OF_AN_OFFICE, plain_table
from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.cli.output import can_redraw, show_json
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb

WATCH_SECONDS: Final = 1.0
"""Between two looks: often enough for calls that are ticked by the second, and nothing to the gateway."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Live calls.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(show_all)
    group.command("cut")(cut)
    app.add_typer(group, name="calls")


@asks_gateway
async def show_all(
    client: Client,
    office: OfficeId,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until Ctrl-C: redrawn on a terminal, else printed once a second.")
    ] = False,
) -> None:
    """List the live calls of an office."""
    if not watch:
        whole = await _live_calls(client, office)
        client.show(whole, plain_table(whole.calls))
    elif client.as_json or not can_redraw():
        await _print_each(client, _looks(client, office))
    else:
        await _redraw(office, _looks(client, office))


@asks_gateway
async def cut(
    client: Client,
    office: OfficeId,
    call_id: Annotated[str, typer.Argument(metavar="CALL", help="Its id.")],
    *,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
) -> None:
    """Have the switch hang a call up."""
    answer = await client.credits.CutCall(pb.CutCallRequest(office_id=office, call_id=call_id, reason=reason))
    client.show(answer, [f"{call_id} was marked to be cut{' before' if answer.replayed else ''}"])


async def _live_calls(client: Client, office: str) -> pb.ListCallsResponse:
    """All pages as one."""
    whole = pb.ListCallsResponse()
    async for page in pages_of(client.credits.ListCalls, pb.ListCallsRequest(office_id=office)):
        whole.calls.extend(page.calls)
    return whole


async def _looks(client: Client, office: str) -> AsyncIterator[pb.ListCallsResponse]:
    """The live calls again and again."""
    while True:
        yield await _live_calls(client, office)
        await asyncio.sleep(WATCH_SECONDS)


async def _print_each(client: Client, looks: AsyncIterator[pb.ListCallsResponse]) -> None:
    async for whole in looks:
        if client.as_json:
            show_json(whole, indent=None)
            continue
        for line in plain_table(whole.calls):
            typer.echo(line)
        typer.echo()


async def _redraw(office: str, looks: AsyncIterator[pb.ListCallsResponse]) -> None:
    # Only a terminal needs what draws on one.
    from rich.console import Console  # noqa: PLC0415

    from gateway.cli.call_view import shown_on  # noqa: PLC0415

    with shown_on(Console(highlight=False), ALL_OF_AN_OFFICE, leaves_last=True) as view:
        async for whole in looks:
            view.update(whole.calls, f"live calls of {office}: {len(whole.calls)}; Ctrl-C ends this")
