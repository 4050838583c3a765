"""How answers are printed: aligned columns for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import typer
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.domain.money import format_amount

NOTHING = "-"


def show_json(message: Message, *, indent: int | None = 2) -> None:
    """Print a message whole; 64-bit numbers are strings, as in every JSON form of protobuf, so that they stay exact."""
    typer.echo(
        MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=indent
        )
    )


def show_step(step: str, answer: Message, text: str, available_micros: int, *, as_json: bool) -> None:
    """Print one step of a test call or message: what was answered, and what is left; as JSON a line each."""
    if as_json:
        typer.echo(json.dumps({"step": step, "answer": MessageToDict(answer, preserving_proto_field_name=True)}))
        return
    colour = typer.colors.RED if "DENIED" in text else typer.colors.GREEN if "GRANTED" in text else None
    left = f"{money(available_micros)} available"
    typer.echo(f"{typer.style(f'{step:10}', bold=True)} {typer.style(f'{text:72}', fg=colour)} {left}")


def columns(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lay out a table: a heading, then a line a row; amounts and other numbers to the right."""
    lines = [list(row) for row in rows]
    widths = [max(map(len, cells)) for cells in zip(headings, *lines, strict=True)]
    numeric = [_are_numbers([line[column] for line in lines]) for column in range(len(headings))]
    for line in (headings, *lines):
        cells = zip(line, widths, numeric, strict=True)
        yield "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip()


def pairs(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lay out names with their values, a line each."""
    named = list(rows)
    width = max(len(name) for name, _ in named)
    for name, value in named:
        yield f"{name.ljust(width)}  {value}".rstrip()


def money(micros: int) -> str:
    """An amount in units, with as many decimals as it has and at least two."""
    return format_amount(micros)


def instant(timestamp: Timestamp) -> str:
    """A time in UTC, to the second; a dash for none."""
    if not timestamp.seconds:
        return NOTHING
    return instant_of_ms(timestamp.seconds * 1000)


def instant_of_ms(unix_ms: int) -> str:
    """Unix milliseconds in UTC, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def short_name(name: str, prefix: str) -> str:
    """The name of an enum's value without the prefix that the contract puts before it."""
    return name.removeprefix(prefix).lower()


def can_redraw() -> bool:
    """Whether standard output is a terminal that takes lines back, and not a pipe, a file or an editor's window."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether a column is amounts or counts; a telephone number with its plus is text."""
    given = [cell for cell in cells if cell != NOTHING]
    return bool(given) and all(cell.lstrip("-").replace(".", "", 1).isdigit() for cell in given)
