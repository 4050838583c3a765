"""How amounts, instants and numbers are written for people: exactly, and never by failing on what came in."""

from datetime import UTC, datetime
from enum import IntEnum

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.domain.vocabulary import CallState, Category, FinalReason, Reason, RefillState, Role
from gateway.page import formats
from gateway.page.formats import clock_time, duration, instant, iso, money, month_name, moved, number, stopped, utc
from gateway.page.office import Notice
from gateway.page.rendering import render_part
from gateway.v1 import credits_pb2 as pb


def at(text: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return stamp


@pytest.mark.parametrize(
    ("micros", "currency", "text"),
    [
        (50_000_000, "USD", "$50.00"),
        (0, "USD", "$0.00"),
        (12_500, "USD", "$0.0125"),
        (1, "USD", "$0.000001"),
        (-5_000_000, "USD", "-$5.00"),
        (-1, "USD", "-$0.000001"),
        (1_234_567_890_000, "USD", "$1,234,567.89"),
        # 2^53 and more: a float would round.
        (9_007_199_254_740_993, "USD", "$9,007,199,254.740993"),
        (50_000_000, "EUR", "\u20ac50.00"),
        (50_000_000, "JPY", "\u00a550"),
        (500_000, "JPY", "\u00a50.5"),
        (50_000_000, "KWD", "KWD50.000"),
        (50_000_000, "XXX", "\u00a450.00"),
        (50_000_000, "QQQ", "QQQ50.00"),
    ],
)
def test_an_amount_is_written_exactly(micros: int, currency: str, text: str) -> None:
    assert money(micros, currency) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [(1, "+$0.000001"), (5_000_000, "+$5.00"), (0, "$0.00"), (-1, "-$0.000001"), (-5_000_000, "-$5.00")],
)
def test_what_moved_has_its_sign(micros: int, text: str) -> None:
    assert moved(micros, "USD") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (42, "0:42"),
        (60, "1:00"),
        (725, "12:05"),
        (3_599, "59:59"),
        (3_600, "1:00:00"),
        (86_400, "24:00:00"),
    ],
)
def test_a_time_of_talk_is_written_as_on_a_phone(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("+442079460958", "+44 20 7946 0958"),
        ("+12125550142", "+1 212-555-0142"),
        ("", ""),
        ("911", "911"),
        ("anonymous", "anonymous"),
        ("+", "+"),
        ("+x", "+x"),
        ("+0", "+0"),
        ("+999999999999999999999999", "+999999999999999999999999"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("+<script>alert(1)</script>", "+<script>alert(1)</script>"),
        ("+\u0664\u0664", "+\u0664\u0664"),
        ("sip:ann@example.com", "sip:ann@example.com"),
    ],
)
def test_what_is_no_number_stays_as_it_came(text: str, written: str) -> None:
    assert number(text) == written


@pytest.mark.parametrize(
    ("moment", "time_zone", "day", "time"),
    [
        ("2026-11-26T19:03:07", "America/New_York", "26 Nov 2026, 14:03", "14:03:07"),
        ("2026-11-26T19:03:07", "Asia/Kathmandu", "27 Nov 2026, 00:48", "00:48:07"),
        ("2026-11-26T19:03:07", "UTC", "26 Nov 2026, 19:03", "19:03:07"),
        # The hour that New York has twice, and the one that it has not.
        ("2026-11-01T05:30:00", "America/New_York", "1 Nov 2026, 01:30", "01:30:00"),
        ("2026-11-01T06:30:00", "America/New_York", "1 Nov 2026, 01:30", "01:30:00"),
        ("2026-03-08T07:00:00", "America/New_York", "8 Mar 2026, 03:00", "03:00:00"),
    ],
)
def test_a_moment_is_in_the_time_of_the_office(moment: str, time_zone: str, day: str, time: str) -> None:
    assert instant(at(moment), time_zone) == day
    assert clock_time(at(moment), time_zone) == time


def test_a_moment_for_programs_and_operators_is_utc() -> None:
    assert iso(at("2026-11-26T19:03:07.900")) == "2026-11-26T19:03:07Z"
    assert utc(1_795_719_787_999) == "2026-11-26 19:03:07 UTC"
    assert utc(0) == "1970-01-01 00:00:00 UTC"


@pytest.mark.parametrize(("month", "name"), [("2026-11", "November 2026"), ("1970-01", "January 1970")])
def test_a_month_has_its_name(month: str, name: str) -> None:
    assert month_name(month) == name


@pytest.mark.parametrize("month", ["", "2026", "2026-13", "2026-00", "11-2026", "2026-11-01", "November", "2026/11"])
def test_what_is_no_month_has_none(month: str) -> None:
    with pytest.raises(ValueError, match=r"time data|unconverted data"):
        month_name(month)


@pytest.mark.parametrize(
    ("words", "vocabulary", "zero"),
    [
        (formats.CATEGORIES, Category, True),
        (formats.REASONS, Reason, True),
        (formats.CALL_STATES, CallState, True),
        (formats.FINAL_REASONS, FinalReason, True),
        (formats.REFILL_STATES, RefillState, True),
        (formats.ROLES, Role, False),
    ],
)
def test_every_value_of_the_contract_has_words(words: dict[int, str], vocabulary: type[IntEnum], zero: bool) -> None:
    assert set(words) == {int(each) for each in vocabulary} | ({0} if zero else set())
    assert all(words[each] for each in vocabulary)
    assert len(set(words.values())) == len(words)


@pytest.mark.parametrize(
    ("country", "text"),
    [
        ("GB", "to United Kingdom"),
        ("US", "to premium-rate numbers"),
        ("", "abroad and to premium-rate numbers"),
        ("001", "to satellites and other numbers of no country"),
        ("XX", "to XX"),
    ],
)
def test_what_a_fraud_guard_stops(country: str, text: str) -> None:
    assert stopped(country, "US") == text
    guard = pb.FraudGuard(country=country, ends_at=at("2026-11-27T03:15"))
    office = pb.Office(country="US", time_zone="America/New_York", fraud_guards=[guard])
    shown = " ".join(render_part("parts/notice.html", visit=None, office=office, notice=Notice("guarded")).split())
    assert f" New calls {text} are refused until 26 Nov 2026, 22:15. Free and emergency calls are not" in shown
