"""`tollgate explain`: what a call cost and why, or why it was refused."""

from collections.abc import Iterator
from typing import Annotated

import grpc
import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.errors import EXIT_FAILED, EXIT_USAGE, CommandError
from gateway.cli.offices import each_office
from gateway.cli.output import instant, money, pairs, short_name
from gateway.client_channel import fault_of
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


@asks_gateway
async def explain(
    client: Client,
    call_id: Annotated[str, typer.Argument(metavar="CALL", help="Its call_id.")],
    *,
    office: Annotated[str, typer.Option(help="Whose; not given: every office that the token may see is asked.")] = "",
) -> None:
    """Say what a call cost and by which row of the deck, or why it was refused."""
    offices = [office] if office else [each.office_id async for each in each_office(client)]
    found = [(each, answer) for each in offices if (answer := await _ask(client, each, call_id, office)) is not None]
    if not found:
        raise CommandError(f"no office knows {call_id}; an ended call is known for an hour", EXIT_FAILED)
    if len(found) > 1:
        names = ", ".join(each for each, _ in found)
        raise CommandError(f"{call_id} is known to {names}; say which with --office", EXIT_USAGE)
    client.show(found[0][1], _describe(found[0][1]))


async def _ask(client: Client, office: str, call_id: str, named: str) -> pb.ExplainCallResponse | None:
    try:
        return await client.credits.ExplainCall(pb.ExplainCallRequest(office_id=office, call_id=call_id))
    except grpc.RpcError as error:
        if not named and fault_of(error).code == "NOT_FOUND":
            return None
        raise


def _describe(answer: pb.ExplainCallResponse) -> Iterator[str]:
    call = answer.call
    rows = [
        ("call", f"{call.call_id} of {call.office_id}"),
        ("state", short_name(pb.CallState.Name(call.state), "CALL_STATE_")),
    ]
    if call.reason:
        rows.append(("decision", f"{authorization_pb2.Reason.Name(call.reason)}"))
    if call.called_number:
        category = short_name(authorization_pb2.Category.Name(call.category), "CATEGORY_")
        caller = f"from {call.calling_number} " if call.calling_number else ""
        rows.append(("what", f"{category} {caller}to {call.called_number}"))
    if call.HasField("authorized_at"):
        rows.append(("authorized", instant(call.authorized_at)))
    if call.HasField("answered_at"):
        rows.append(("answered", instant(call.answered_at)))
    final = (
        short_name(authorization_pb2.FinalReason.Name(call.final_reason), "FINAL_REASON_") if call.final_reason else ""
    )
    rows += [
        ("granted", f"{call.granted_seconds} s{', the last' if call.final_unit else ''}{final and f' ({final})'}"),
        ("used", f"{call.used_seconds} s, of which the switch confirmed {call.confirmed_seconds} s"),
        ("debited", money(call.debited_micros)),
        ("held", money(call.held_micros)),
    ]
    if call.written_off_micros:
        rows.append(("written off", money(call.written_off_micros)))
    yield from pairs(rows)
    # The steps name the row, too.
    for step in answer.steps:
        yield f"- {step}"
