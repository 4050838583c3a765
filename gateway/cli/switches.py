"""`tollgate switch`: switches without a Session, and where they are told what to do."""

from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.output import NOTHING, columns
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Switches that are told what to do by HTTP.", no_args_is_help=True, rich_markup_mode=None)
    group.command("register")(register_switch)
    group.command("list")(show_all)
    app.add_typer(group, name="switch")


@asks_gateway
async def register_switch(
    client: Client,
    switch_id: Annotated[str, typer.Argument(metavar="SWITCH", help="The id that its tokens name.")],
    *,
    callback_url: Annotated[
        str, typer.Option(help="Where its commands are posted. Not given: nowhere, and it ticks its calls itself.")
    ] = "",
    rotate_secret: Annotated[bool, typer.Option("--rotate-secret", help="Sign with a new secret from now on.")] = False,
) -> None:
    """Say where a switch is told what to do, and print the secret that the posts are signed with."""
    answer = await client.credits.RegisterSwitch(
        pb.RegisterSwitchRequest(switch_id=switch_id, callback_url=callback_url, rotate_secret=rotate_secret)
    )
    # The secret stands alone on standard output, as that of a token does.
    if not client.as_json:
        where = f"is posted to at {callback_url}, signed with this secret:" if callback_url else "has no callback"
        typer.echo(f"{answer.switch_id} {where}", err=True)
    client.show(answer, [answer.callback_secret] if answer.callback_secret else [])


@asks_gateway
async def show_all(client: Client) -> None:
    """List the switches that were registered, without their secrets."""
    whole = pb.ListSwitchesResponse()
    async for page in pages_of(client.credits.ListSwitches, pb.ListSwitchesRequest()):
        whole.switches.extend(page.switches)
    rows = [(each.switch_id, each.callback_url or NOTHING) for each in whole.switches]
    client.show(whole, columns(("SWITCH", "CALLBACK"), rows))
