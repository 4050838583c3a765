"""`tollgate usage`: the report of calls and messages."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.v1 import credits_pb2 as pb


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The usage report.", no_args_is_help=True, rich_markup_mode=None)
    # A callback keeps `usage export` two words while it is the only one.
    group.callback()(lambda: None)
    group.command("export")(export)
    app.add_typer(group, name="usage")


@asks_gateway
async def export(
    client: Client,
    office: OfficeId,
    *,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="In the office's time zone.")],
    output: Annotated[Path | None, typer.Option(help="Where to write it; standard output if not given.")] = None,
) -> None:
    """Export a month's calls and messages as CSV."""
    chunks = client.credits.ExportUsage(pb.ExportUsageRequest(office_id=office, month=month))
    file = None
    try:
        async for answer in chunks:
            # Opened with the first chunk, so that a refusal leaves no empty file, nor an old one emptied.
            if file is None:
                file = output.open("wb") if output is not None else sys.stdout.buffer
            file.write(answer.chunk)
    finally:
        if file is not None:
            file.flush()
            if output is not None:
                file.close()
