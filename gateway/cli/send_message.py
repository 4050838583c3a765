"""`tollgate message`: asks whether a test message may be sent, and is debited for it."""

from enum import StrEnum
from typing import Annotated
from uuid import uuid4

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.errors import EXIT_DENIED, CommandError
from gateway.cli.offices import OfficeId
from gateway.cli.output import money, show_step
from gateway.v1 import authorization_pb2 as pb


class Kind(StrEnum):
    """What a message is."""

    SMS = "sms"
    MMS = "mms"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("message")(message)


@asks_gateway
async def message(
    client: Client,
    office: OfficeId,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Who receives it.")],
    *,
    segments: Annotated[int, typer.Option(min=1, max=255, help="How long it is.")] = 1,
    kind: Annotated[Kind, typer.Option(help="What it is.")] = Kind.SMS,
    calling: Annotated[str, typer.Option("--from", help="Who sends it.")] = "",
    message_id: Annotated[str, typer.Option(help="Its id; not given: a new one.")] = "",
    refund: Annotated[
        bool, typer.Option("--refund", help="Then give the debit back, as if the carrier refused.")
    ] = False,
) -> None:
    """Authorize a test message: it is debited, or blocked. Nothing is sent. Exit code 3: it was blocked."""
    request = pb.AuthorizeMessageRequest(
        office_id=office,
        message_id=message_id or f"test-{uuid4().hex[:12]}",
        calling_number=calling,
        called_number=number,
        kind=pb.MessageKind.Value(kind.name),
        segments=segments,
    )
    answer = await client.switch.AuthorizeMessage(request)
    decision = f"{pb.Decision.Name(answer.decision)} {pb.Reason.Name(answer.reason)}"
    replayed = ", replayed" if answer.replayed else ""
    text = f"{decision}, {money(answer.debited_micros)} debited for {request.message_id}{replayed}"
    show_step("authorize", answer, text, answer.available_micros, as_json=client.as_json)
    if answer.decision != pb.GRANTED:
        raise CommandError(f"the message was blocked: {pb.Reason.Name(answer.reason)}", EXIT_DENIED)
    if refund:
        back = await client.switch.RefundMessage(
            pb.RefundMessageRequest(office_id=office, message_id=request.message_id)
        )
        text = f"{money(back.refunded_micros)} given back"
        show_step("refund", back, text, back.available_micros, as_json=client.as_json)
