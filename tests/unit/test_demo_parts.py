"""Parts of the demo that need no gateway: its deck, its books, the calls of its switch, what it reads and prints."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.cli.deck_files import packaged_deck, read_deck
from gateway.cli.demo.books import Books, BooksError, cut_billed_seconds
from gateway.cli.demo.buying import small_charge_micros
from gateway.cli.demo.live_switch import SwitchedCall
from gateway.cli.demo.proof import verdict_of
from gateway.cli.demo.rates import write_deck
from gateway.cli.demo.screen import Screen, style_of
from gateway.client import Command, CutCall, FundsLow, FundsRestored
from gateway.payments.provider import ChargeAttempt, NewPaymentMethod, PaymentMethodAdded
from gateway.payments.sandbox import FILE_NAME
from gateway.v1 import authorization_pb2 as pb
from tests.support.sandbox import opened_sandbox

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
        ("CREDITED 0.6 s after the dip", "cyan"),
        ("UNCONFIRMED, a small charge", "yellow"),
        ("CONFIRMED, as it was", "green"),
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


def test_what_the_usage_report_must_have() -> None:
    books = Books()
    books.enter("acme", "order-1", 20_000_000)
    books.settle("acme", "c1", quoted_micros=300, debited_micros=200, missing_micros=100)
    books.settle("acme", "m1", quoted_micros=50, debited_micros=50, missing_micros=0)
    books.settle("other", "c2", quoted_micros=7, debited_micros=7, missing_micros=0)
    books.refund("acme", "m1", 50)
    books.settle("acme", "free", quoted_micros=0, debited_micros=0, missing_micros=0)
    assert books.costs_micros("acme") == {"c1": 200, "m1": 0, "free": 0}
    assert books.expected_micros("acme") == 20_000_000 - 200


@pytest.mark.parametrize(
    ("exit_code", "out", "err", "problem"),
    [
        (1, "", "the store does not answer", "audit: the store does not answer"),
        (1, "no such command", "", "audit: no such command"),
        (-9, "", "", "audit: exit code -9"),
        (0, "{", "", "audit: {"),
        (0, {"is_clean": False, "differences": []}, "", "audit: "),
        (1, {"is_clean": True, "differences": []}, "too busy: acme", "audit: too busy: acme"),
        (
            1,
            {"is_clean": False, "differences": [{"check": "BALANCE"}, {"check": "LATER"}]},
            "2 differences",
            'audit: 2 differences; the first: {"check": "BALANCE"}',
        ),
    ],
)
def test_an_audit_that_is_not_clean(exit_code: int, out: str | dict[str, object], err: str, problem: str) -> None:
    with pytest.raises(BooksError) as caught:
        verdict_of(exit_code, out if isinstance(out, str) else json.dumps(out), err)
    assert str(caught.value) == problem


def test_an_audit_that_is_clean() -> None:
    report = {"is_clean": True, "differences": [], "offices": 4, "usage_records": 20}
    assert verdict_of(0, json.dumps(report), "") == (
        "audit: ledger, outbox and store agree to the micro (4 offices, 20 usage records)"
    )


async def test_the_small_charge_as_its_owner_finds_it(tmp_path: Path) -> None:
    async with opened_sandbox(tmp_path) as provider:
        for subject, token, amounts in (
            ("pm_1", "tok_visa", (1_370_000, 990_000)),
            ("pm_2", "tok_declined", (550_000,)),
        ):
            card = await provider.add_payment_method(NewPaymentMethod(token, "acme", f"add/{subject}"))
            assert isinstance(card, PaymentMethodAdded)
            for amount in amounts:
                await provider.charge(
                    ChargeAttempt(
                        f"{subject}/{amount}", amount, "USD", card.reference, "small", {"subject_id": subject}
                    )
                )
        assert small_charge_micros(tmp_path / FILE_NAME, "pm_1") == 990_000
        for subject in ("pm_2", "pm_3"):
            with pytest.raises(BooksError, match=f"no small charge was made to {subject}"):
                small_charge_micros(tmp_path / FILE_NAME, subject)


def test_a_line_that_is_too_long_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().lines(["x" * 118, "y" * 119])
    assert capsys.readouterr().out.splitlines() == ["  " + "x" * 118, "  " + "y" * 117 + "…"]
