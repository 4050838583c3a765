"""The CSV of the usage report: what a program reads back, and what a spreadsheet must not run."""

import csv
import io
from zoneinfo import ZoneInfo

import pytest

from gateway.api.credits.usage_csv import COLUMNS, UsageCsv, local_time, plain_text
from gateway.domain.deck import parse_deck
from gateway.domain.vocabulary import Reason
from gateway.ledger.usage import UsageRecord
from tests.support.back import DECK
from tests.support.usage import call, free_call, message, refusal

AT = 1_750_075_200_000  # 2025-06-16 12:00 UTC
ROWS = {(1, row.row_id): row for row in parse_deck(DECK, 1).rows()}


def record(values: dict[str, object]) -> UsageRecord:
    names = UsageRecord.__dataclass_fields__
    return UsageRecord(**({"seq": 1} | {name: values[name] for name in names if name != "seq"}))  # type: ignore[arg-type]


def cells(values: dict[str, object]) -> dict[str, str]:
    """The cells of a record's line, as a program reads them."""
    writer = UsageCsv("America/New_York", "USD")
    text = (writer.header() + writer.lines([record(values)], ROWS)).decode()
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert lines[0] == list(COLUMNS)
    assert len(lines) == 2
    return dict(zip(lines[0], lines[1], strict=True))


def test_a_call() -> None:
    assert cells(call("c-1", AT)) == {
        "id": "c-1",
        "kind": "CALL",
        "category": "INTERNATIONAL",
        "direction": "OUTBOUND",
        "license": "STANDARD",
        "started_at": "2025-06-16T08:00:00-04:00",
        "answered_at": "2025-06-16T08:00:05-04:00",
        "time_zone": "America/New_York",
        "user_id": "user-7",
        "department_id": "department-3",
        "calling_number": "'+12025550123",
        "called_number": "'+442071838750",
        "duration_seconds": "61",
        "billed_seconds": "61",
        "segments": "0",
        "cost": "0.44",
        "refunded": "0.00",
        "written_off": "0.00",
        "currency": "USD",
        "decision": "GRANTED",
        "reason": "FUNDED",
        "state": "ENDED",
        "deck_version": "1",
        "rate_line": "3",
        "rate_prefix": "44",
        "rate_description": "United Kingdom",
        "rate": "0.20 to connect, 0.12 per 60 s by 60 s",
    }


def test_a_message_that_was_refunded_and_a_call_that_was_refused() -> None:
    refunded = cells(message("m1", AT, cost_micros=0, refunded_micros=60_001))
    assert (refunded["kind"], refunded["direction"], refunded["license"], refunded["answered_at"]) == (
        "SMS",
        "",
        "",
        "",
    )
    assert (refunded["cost"], refunded["refunded"], refunded["segments"]) == ("0.00", "0.060001", "2")
    assert (refunded["rate_prefix"], refunded["rate"], refunded["state"]) == ("", "0.03 per segment", "")
    refused = cells(
        refusal(call("c1", AT, category=None, deck_version=0, rate_line=0, rate=b""), Reason.INVALID_NUMBER)
    )
    assert (refused["decision"], refused["reason"], refused["cost"]) == ("DENIED", "INVALID_NUMBER", "0.00")
    assert (refused["category"], refused["state"]) == ("", "")
    assert refused["deck_version"] == refused["rate_line"] == refused["rate"] == ""


def test_a_deck_that_is_gone_leaves_the_rate_of_the_call() -> None:
    found = cells(call("c1", AT, deck_version=9))
    assert (found["deck_version"], found["rate_line"]) == ("9", "3")
    assert (found["rate_prefix"], found["rate_description"]) == ("", "")
    assert found["rate"] == "0.20 to connect, 0.12 per 60 s by 60 s"
    assert cells(free_call("c1", AT, deck_version=9))["rate"] == ""


DANGEROUS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(\"http://x\",\"y\")", "=cmd|' /C calc'!A0",
    "+442071838750", "-", "'", "'=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM",
]  # fmt: skip


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_cell_can_be_a_formula_and_every_one_can_be_read_back(text: str) -> None:
    for name in ("user_id", "department_id", "calling_number", "called_number"):
        cell = cells(call("c1", AT, **{name: text}))[name]
        assert cell == f"'{text}"
        assert cell[1:] == text
    assert cells(call(text, AT))["id"] == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "user-7", "a=b", "a+b", 'a"b', "a,b", "a;b", " =1", "12025550123", "0", "é", "a'b"]
)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text
    assert cells(call("c1", AT, user_id=text))["user_id"] == text


def test_the_form_of_a_line() -> None:
    writer = UsageCsv("UTC", "EUR")
    text = writer.lines([record(call('a"b,c', AT, department_id="Zürich")), record(free_call("c2", AT))], {})
    assert not text.startswith(b"\xef\xbb\xbf")
    first, second, rest = text.decode().split("\r\n")
    assert first.startswith('"a""b,c",CALL,')
    assert ",Zürich," in first
    assert second.startswith("c2,CALL,LOCAL,")
    assert rest == ""
    assert writer.header() == (",".join(COLUMNS) + "\r\n").encode()
    assert writer.lines([], {}) == b""


@pytest.mark.parametrize(
    ("at", "zone", "text"),
    [
        (AT, "UTC", "2025-06-16T12:00:00+00:00"),
        (AT + 999, "Asia/Kolkata", "2025-06-16T17:30:00+05:30"),
        # The hour that comes twice, told apart by its offset.
        (1_762_061_400_000, "America/New_York", "2025-11-02T01:30:00-04:00"),
        (1_762_065_000_000, "America/New_York", "2025-11-02T01:30:00-05:00"),
    ],
)
def test_local_times_have_their_offset(at: int, zone: str, text: str) -> None:
    assert local_time(at, ZoneInfo(zone)) == text
