"""Parts of the demo that need no gateway: its deck, and the calls of its switch."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.deck_files import packaged_deck, read_deck
from gateway.cli.demo.books import BooksError, cut_billed_seconds
from gateway.cli.demo.live_switch import SwitchedCall
from gateway.cli.demo.rates import write_deck
from gateway.cli.demo.screen import style_of
from gateway.client import Command, CutCall, FundsLow, FundsRestored
from gateway.v1 import authorization_pb2 as pb

IDS = ("command", "acme", "c1")
LOW = FundsLow(*IDS, 10)
RESTORED = FundsRestored(*IDS, 20)
CUT = CutCall(*IDS, pb.FINAL_REASON_INSUFFICIENT_FUNDS)


def new_call(*commands: Command) -> SwitchedCall:
    call = SwitchedCall(pb.AuthorizeCallRequest(office_id="acme", call_id="c1"))
    for command in commands:
        call.tell(command)
    return call


def test_the_deck_is_the_packaged_one_and_two_destinations(tmp_path: Path) -> None:
    _, deck = read_deck(write_deck(tmp_path))
    assert len(deck) == len(packaged_deck()) + 2


@pytest.mark.parametrize(
    ("answer", "style"),
    [
        ("GRANTED FUNDED, 3 s", "green"),
        ("DENIED INSUFFICIENT_FUNDS", "red"),
        ("LOW, 10 s are the last", "yellow"),
        ("RESTORED, 17 s granted", "bold green"),
        ("CREDITED, refill armed", "cyan"),
        ("CREDITED back", "cyan"),
        ("CUT 99 ms after their end", "bold red"),
        ("TRIGGER studio/1", "magenta"),
        ("10 s billed", ""),
        ("", ""),
    ],
)
def test_the_colour_of_an_answer(answer: str, style: str) -> None:
    assert style_of(answer) == style


@pytest.mark.parametrize(
    ("talked", "granted", "billed"),
    [(9, 10, 9), (10, 10, 10), (11, 10, 10), (12, 10, 10), (13, 10, 13), (1, 0, 0), (3, 0, 3)],
)
def test_what_a_cut_call_is_billed(talked: int, granted: int, billed: int) -> None:
    assert cut_billed_seconds(talked, granted) == billed


@pytest.mark.parametrize(
    ("commands", "kind", "heard"),
    [
        ([LOW], FundsLow, LOW),
        ([LOW, RESTORED], FundsRestored, RESTORED),
        ([LOW, CUT], CutCall, CUT),
        ([CUT, LOW], FundsLow, LOW),
        ([CUT, CutCall("again", "acme", "c1", pb.FINAL_REASON_INSUFFICIENT_FUNDS)], CutCall, CUT),
    ],
)
async def test_a_command_that_was_waited_for(
    commands: list[Command], kind: type[CutCall | FundsLow | FundsRestored], heard: Command
) -> None:
    assert (await new_call(*commands).told(kind)).command == heard


@pytest.mark.parametrize(
    ("commands", "kind", "problem"),
    [
        ([], FundsLow, "c1 of acme was told nothing where it waited for FundsLow"),
        ([LOW], CutCall, "was told nothing where it waited for CutCall"),
        ([CUT], FundsLow, "was cut where it waited for FundsLow"),
        ([LOW, CUT], FundsRestored, "was cut where it waited for FundsRestored"),
    ],
)
async def test_a_command_that_does_not_come(
    commands: list[Command], kind: type[CutCall | FundsLow | FundsRestored], problem: str
) -> None:
    with pytest.raises(BooksError, match=problem):
        await new_call(*commands).told(kind, limit_seconds=0.0)


async def test_a_call_that_is_cut_while_somebody_talks() -> None:
    call = new_call(LOW)
    talking = asyncio.create_task(call.talk(60.0))
    await asyncio.sleep(0)
    call.tell(CUT)
    with pytest.raises(BooksError, match="c1 of acme was cut, and there were funds to talk on"):
        await talking


async def test_talk_ends_by_itself() -> None:
    await new_call(LOW, RESTORED).talk(0.0)
