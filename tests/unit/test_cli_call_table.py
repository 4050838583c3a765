"""The table of live calls: its cells, in lines and on a terminal, however small the window."""

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.call_table import (
    ALL_OF_AN_OFFICE,
    CALL,
    CALLED,
    CALLING,
    DEBITED,
    GRANTED,
    OFFICE,
    STATE,
    Column,
    plain_table,
)
from gateway.cli.call_view import shown_on
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb


def call(call_id: str = "c1", **fields: Any) -> pb.Call:
    known: dict[str, Any] = {
        "office_id": "acme",
        "call_id": call_id,
        "state": pb.CALL_STATE_ANSWERED,
        "reason": authorization_pb2.FUNDED,
        "called_number": "+442079460958",
        "used_seconds": 7,
        "granted_seconds": 9,
        "debited_micros": 140_000,
        "held_micros": 40_000,
    }
    return pb.Call(**{**known, **fields})


def drawn(calls: list[pb.Call], *, height: int = 40, leaves_last: bool = True, caption: str = "") -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=80, height=height)
    with shown_on(console, (CALL, STATE, DEBITED), leaves_last=leaves_last) as view:
        view.update(calls, caption)
    return file.getvalue()


def test_the_plain_table() -> None:
    assert list(plain_table([call()])) == [
        "CALL  STATE     REASON  CALLING  CALLED         USED s  GRANTED s  DEBITED  HELD  SWITCH",
        "c1    answered  FUNDED  -        +442079460958       7          9     0.14  0.04  -",
    ]


def test_the_plain_table_of_nothing_has_its_headings() -> None:
    assert list(plain_table([])) == ["  ".join(each.heading for each in ALL_OF_AN_OFFICE)]


@pytest.mark.parametrize(
    ("column", "fields", "cell", "style"),
    [
        (OFFICE, {}, "acme", "blue"),
        (CALLED, {}, "+442079460958", ""),
        (CALLING, {}, "-", ""),
        (STATE, {"state": pb.CALL_STATE_RINGING}, "ringing", "dim"),
        (STATE, {}, "answered", "green"),
        (STATE, {"state": pb.CALL_STATE_CUT}, "cut", "bold red"),
        (STATE, {"state": pb.CALL_STATE_LAPSED}, "lapsed", "magenta"),
        (STATE, {"state": pb.CALL_STATE_UNSPECIFIED}, "unspecified", ""),
        (GRANTED, {}, "9", ""),
        (GRANTED, {"final_unit": True}, "9", "yellow"),
        (DEBITED, {"debited_micros": 1}, "0.000001", "bold"),
    ],
)
def test_a_cell(column: Column, fields: dict[str, Any], cell: str, style: str) -> None:
    assert (column.cell(call(**fields)), column.style(call(**fields))) == (cell, style)


def test_an_id_in_brackets_is_no_markup() -> None:
    assert "[bold]c1[/bold]" in drawn([call("[bold]c1[/bold]")])


def test_calls_without_room_are_counted() -> None:
    text = drawn([call(f"c{number}") for number in range(20)], height=10, caption="the caption")
    assert "c4 " in text
    assert "c5 " not in text
    assert "and 15 more" in text
    assert "the caption" in text


@pytest.mark.parametrize("leaves_last", [True, False])
def test_the_last_table_stays_or_vanishes(leaves_last: bool) -> None:
    # What vanishes is erased line by line.
    assert ("\x1b[2K" in drawn([call()], leaves_last=leaves_last).rpartition("c1")[2]) is not leaves_last


def test_the_cursor_comes_back_after_an_error() -> None:
    file = io.StringIO()

    def break_off() -> None:
        with shown_on(Console(file=file, force_terminal=True), (CALL,), leaves_last=True) as view:
            view.update([call()])
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        break_off()
    assert file.getvalue().endswith("\x1b[?25h")
