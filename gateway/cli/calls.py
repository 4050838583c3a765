"""`tollgate calls`: what is live now."""

from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.cli.output import NOTHING, columns, money, short_name
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Live calls.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(show_all)
    group.command("cut")(cut)
    app.add_typer(group, name="calls")


@asks_gateway
async def show_all(client: Client, office: OfficeId) -> None:
    """List the live calls of an office."""
    whole = pb.ListCallsResponse()
    request = pb.ListCallsRequest(office_id=office, page_size=1_000)
    while True:
        page = await client.credits.ListCalls(request)
        whole.calls.extend(page.calls)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    rows = [
        (
            each.call_id,
            short_name(pb.CallState.Name(each.state), "CALL_STATE_"),
            authorization_pb2.Reason.Name(each.reason),
            each.calling_number or NOTHING,
            each.called_number,
            f"{each.used_seconds}",
            f"{each.granted_seconds}",
            money(each.debited_micros),
            money(each.held_micros),
            each.switch_id or NOTHING,
        )
        for each in whole.calls
    ]
    headings = ("CALL", "STATE", "REASON", "CALLING", "CALLED", "USED s", "GRANTED s", "DEBITED", "HELD", "SWITCH")
    client.show(whole, columns(headings, rows))


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
