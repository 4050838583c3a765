"""`tollgate explain`: what a call or message cost and why, or why it was refused."""

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
    call_id: Annotated[str, typer.Argument(metavar="CALL", help="Its call_id, or the message_id of a message.")],
    *,
    office: Annotated[str, typer.Option(help="Whose; not given: every office that the token may see is asked.")] = "",
) -> None:
    """Say what a call or message cost and by which row of the deck, or why it was refused."""
    offices = [office] if office else [each.office_id async for each in each_office(client)]
    found = [(each, answer) for each in offices if (answer := await _ask(client, each, call_id, office)) is not None]
    if not found:
        raise CommandError(f"no office knows {call_id}", EXIT_FAILED)
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
    rows = _of_call(answer.call) if answer.HasField("call") else _of_record(answer.record)
    yield from pairs([*rows, *_of_request(answer)])
    # The steps name the row, too.
    for step in answer.steps:
        yield f"- {step}"


def _of_request(answer: pb.ExplainCallResponse) -> Iterator[tuple[str, str]]:
    """Where to look further, of a request that was traced."""
    if answer.request_id:
        yield "request", answer.request_id
    if answer.trace_id:
        yield "trace", answer.trace_id


def _of_record(record: pb.UsageRecord) -> Iterator[tuple[str, str]]:
    """A message, or what was refused."""
    yield "id", record.id
    decision = authorization_pb2.Decision.Name(record.decision)
    yield "decision", f"{decision}, {authorization_pb2.Reason.Name(record.reason)}"
    yield "what", _what(record.category, record.calling_number, record.called_number)
    yield "at", instant(record.started_at)
    yield "debited", money(record.cost_micros)
    if record.refunded:
        yield "refunded", money(record.refunded_micros)


def _what(category: authorization_pb2.Category.ValueType, calling_number: str, called_number: str) -> str:
    name = f"{short_name(authorization_pb2.Category.Name(category), 'CATEGORY_')} " if category else ""
    return f"{name}{f'from {calling_number} ' if calling_number else ''}to {called_number}"


def _of_call(call: pb.Call) -> list[tuple[str, str]]:
    rows = [
        ("call", f"{call.call_id} of {call.office_id}"),
        ("state", short_name(pb.CallState.Name(call.state), "CALL_STATE_")),
    ]
    if call.reason:
        rows.append(("decision", f"{authorization_pb2.Reason.Name(call.reason)}"))
    if call.called_number:
        rows.append(("what", _what(call.category, call.calling_number, call.called_number)))
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
    return rows
