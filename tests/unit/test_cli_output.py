"""What is printed: columns, amounts, errors with their cure, and the demo's own books."""

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.address import Address
from gateway.cli.client import explain_fault
from gateway.cli.connection import Connection
from gateway.cli.demo.books import Books, BooksError
from gateway.cli.errors import EXIT_FAILED, EXIT_NOT_ALLOWED, EXIT_UNAVAILABLE, EXIT_USAGE
from gateway.cli.output import columns, instant, pairs, show_json, show_step
from gateway.client_channel import Fault
from gateway.v1 import authorization_pb2 as pb

CONNECTION = Connection(Address("127.0.0.1", 4001), "", Address("127.0.0.1", 4002), "", "a test")


def test_columns_stand_under_their_headings() -> None:
    rows = [("a", "+49301", "1.50", "-"), ("long", "-", "-12.00", "-")]
    assert list(columns(("ID", "NUMBER", "COST", "NOTE"), rows)) == [
        "ID    NUMBER    COST  NOTE",
        "a     +49301    1.50  -",
        "long  -       -12.00  -",
    ]


def test_columns_of_nothing() -> None:
    assert list(columns(("ID", "COST"), [])) == ["ID  COST"]


def test_pairs() -> None:
    assert list(pairs([("a", "1"), ("longer", "")])) == ["a       1", "longer"]


def test_instants() -> None:
    assert instant(Timestamp()) == "-"
    assert instant(Timestamp(seconds=1_700_000_000)) == "2023-11-14 22:13:20Z"


def test_json_keeps_amounts_exact(capsys: pytest.CaptureFixture[str]) -> None:
    show_json(pb.EndCallResponse(debited_micros=999_999_999_999_999))
    answer = json.loads(capsys.readouterr().out)
    assert answer["debited_micros"] == "999999999999999"
    assert answer["replayed"] is False


def test_a_step_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_step("end", pb.EndCallResponse(billed_seconds=5), "text", 7, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"step": "end", "answer": {"billed_seconds": 5}}


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (
            Fault("INVALID_ARGUMENT", "segments: is 0", "INVALID_ARGUMENT", "segments"),
            EXIT_USAGE,
            "segments: is 0 (INVALID_ARGUMENT)",
        ),
        (
            Fault("ALREADY_EXISTS", "The key is taken.", "KEY_REUSED", "idempotency_key"),
            EXIT_FAILED,
            "The key is taken. (ALREADY_EXISTS, KEY_REUSED, field idempotency_key)",
        ),
        (Fault("PERMISSION_DENIED", "Not yours.", "PERMISSION_DENIED"), EXIT_NOT_ALLOWED, "Not yours."),
        (Fault("UNAUTHENTICATED", "No token.", "UNAUTHENTICATED"), EXIT_NOT_ALLOWED, "--token, TOLLGATE_TOKEN"),
        (Fault("UNAVAILABLE", "The store.", "STORE_UNAVAILABLE"), EXIT_UNAVAILABLE, "The store."),
        (Fault("RESOURCE_EXHAUSTED", "Too many.", "OVERLOADED"), EXIT_UNAVAILABLE, "Too many."),
        (Fault("DEADLINE_EXCEEDED", "Deadline Exceeded"), EXIT_UNAVAILABLE, "no answer within 10 s"),
        (Fault("UNIMPLEMENTED", "Method not found!"), EXIT_FAILED, "does not serve that yet"),
        (Fault("UNAVAILABLE", "ipv4:127.0.0.1:4001: refused"), EXIT_UNAVAILABLE, "nothing answers at 127.0.0.1:4001"),
        (Fault("UNAVAILABLE", "ipv4:127.0.0.1:4002: refused"), EXIT_UNAVAILABLE, "nothing answers at 127.0.0.1:4002"),
        (Fault("INTERNAL", "Received RST_STREAM"), EXIT_FAILED, "Received RST_STREAM (INTERNAL)"),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_a_fault_in_one_line(fault: Fault, code: int, text: str) -> None:
    error = explain_fault(fault, CONNECTION)
    assert error.exit_code == code
    assert text in str(error)
    assert "\n" not in str(error)


def test_books_that_are_right() -> None:
    books = Books()
    books.enter("o1", "opening", 1_000)
    books.settle("o1", "c1", quoted_micros=300, debited_micros=300, missing_micros=0)
    books.settle("o1", "c2", quoted_micros=900, debited_micros=700, missing_micros=200)
    books.enter("o2", "opening", 5)
    assert list(books.offices()) == ["o1", "o2"]
    assert books.judge("o1", balance_micros=0, reserved_micros=0).is_right
    assert books.judge("o2", balance_micros=5, reserved_micros=0).is_right


@pytest.mark.parametrize(("balance", "reserved"), [(999, 0), (1_001, 0), (1_000, 1)])
def test_books_that_are_wrong(balance: int, reserved: int) -> None:
    books = Books()
    books.enter("o1", "opening", 1_000)
    assert not books.judge("o1", balance_micros=balance, reserved_micros=reserved).is_right


def test_a_call_that_costs_something_else_than_it_was_quoted() -> None:
    with pytest.raises(BooksError, match="c1 of o1 was quoted 300 micros, but debited 301"):
        Books().settle("o1", "c1", quoted_micros=300, debited_micros=301, missing_micros=0)
