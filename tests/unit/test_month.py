from datetime import UTC, datetime

import pytest

from gateway.domain.calendar import day_number, time_zones
from gateway.domain.month import Month
from gateway.errors import InvalidArgument


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = at("2026-11-26T15:00:00")


@pytest.mark.parametrize(
    ("text", "zone", "begins", "ends"),
    [
        ("2026-11", "UTC", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
        ("2025-12", "UTC", "2025-12-01T00:00:00", "2026-01-01T00:00:00"),
        ("2024-02", "UTC", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("2026-11", "America/New_York", "2026-11-01T04:00:00", "2026-12-01T05:00:00"),
        ("2026-03", "Europe/London", "2026-03-01T00:00:00", "2026-03-31T23:00:00"),
        ("2026-10", "Asia/Kolkata", "2026-09-30T18:30:00", "2026-10-31T18:30:00"),
        ("2026-10", "Pacific/Kiritimati", "2026-09-30T10:00:00", "2026-10-31T10:00:00"),
        ("1970-01", "UTC", "1970-01-01T00:00:00", "1970-02-01T00:00:00"),
        # The clocks of Amman went from midnight to 01:00 on this 1 April.
        ("2005-04", "Asia/Amman", "2005-03-31T22:00:00", "2005-04-30T21:00:00"),
    ],
)
def test_a_month_lasts_from_its_first_midnight_to_the_next(text: str, zone: str, begins: str, ends: str) -> None:
    month = Month.parse(text, zone, now_ms=NOW)
    assert (month.name, month.time_zone, month.begins_at, month.ends_at) == (text, zone, at(begins), at(ends))


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-1", "2026-13", "2026-00", "26-01", " 2026-01", "2026-01 ", "2026-01\n", "2026/01", "2026-01-01",
     "1969-12", "0000-01", "9999-12", "\uff12026-01", "-026-01", "2026-1a", "January", "2026-01\x00"],
)  # fmt: skip
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(InvalidArgument, match="YYYY-MM") as caught:
        Month.parse(text, "UTC", now_ms=NOW)
    assert caught.value.field == "month"


@pytest.mark.parametrize("text", ["2026-12", "2027-01", "9998-12"])
def test_a_month_to_come_is_refused_with_the_present_one(text: str) -> None:
    with pytest.raises(InvalidArgument, match="the latest is 2026-11") as caught:
        Month.parse(text, "America/New_York", now_ms=NOW)
    assert caught.value.field == "month"


def test_a_month_begins_where_the_office_is() -> None:
    eve = at("2026-11-30T12:00:00")
    assert Month.parse("2026-12", "Pacific/Kiritimati", now_ms=eve).name == "2026-12"
    for zone in ("UTC", "America/New_York"):
        with pytest.raises(InvalidArgument):
            Month.parse("2026-12", zone, now_ms=eve)
    begins = Month.parse("2026-11", "UTC", now_ms=NOW).begins_at
    assert Month.parse("2026-11", "UTC", now_ms=begins).begins_at == begins
    with pytest.raises(InvalidArgument):
        Month.parse("2026-11", "UTC", now_ms=begins - 1)


def test_a_zone_that_is_none_is_named() -> None:
    with pytest.raises(InvalidArgument, match="time_zone"):
        Month.parse("2026-01", "Mars/Olympus", now_ms=NOW)


@pytest.mark.parametrize("zone", sorted(time_zones() & {"America/Havana", "Asia/Beirut", "Africa/Cairo", "UTC"}))
def test_every_instant_is_in_one_month_and_that_of_its_date(zone: str) -> None:
    end = None
    for year in range(2000, 2027):
        for number in range(1, 12 if year == 2026 else 13):
            month = Month.parse(f"{year}-{number:02}", zone, now_ms=NOW)
            assert end in (None, month.begins_at)
            end = month.ends_at
            for instant in (month.begins_at, month.ends_at - 1):
                date = datetime.fromordinal(day_number(instant, zone))
                assert (date.year, date.month) == (year, number)


@pytest.mark.parametrize(
    ("text", "zone", "days", "hours"),
    [
        ("2025-03", "America/New_York", 31, {9: 23}),
        ("2025-11", "America/New_York", 30, {2: 25}),
        ("2025-02", "Asia/Kathmandu", 28, {}),
        ("2025-04", "Pacific/Auckland", 30, {6: 25}),
        ("2025-10", "Australia/Lord_Howe", 31, {5: 23.5}),
        # The clocks skip midnight: the day begins with 01:00.
        ("2024-09", "America/Santiago", 30, {8: 23}),
        # It went over the date line, and had no 30 December.
        ("2011-12", "Pacific/Apia", 30, {}),
    ],
)
def test_the_days_of_a_month_follow_each_other(text: str, zone: str, days: int, hours: dict[int, float]) -> None:
    month = Month.parse(text, zone, now_ms=NOW)
    found = month.days(now_ms=NOW)
    assert len(found) == days
    assert [found[0].begins_at, *(day.ends_at for day in found)] == [
        month.begins_at,
        *(day.begins_at for day in found[1:]),
        month.ends_at,
    ]
    for day in found:
        assert day.date.isoformat()[:7] == text
        assert (day.ends_at - day.begins_at) / 3_600_000 == hours.get(day.date.day, 24)
    assert len({day.date for day in found}) == days


def test_the_days_of_the_present_month_are_those_that_have_begun() -> None:
    month = Month.parse("2026-11", "Asia/Tokyo", now_ms=NOW)
    assert [day.date.day for day in month.days(now_ms=NOW)] == list(range(1, 28))
    tokyo_midnight = at("2026-11-26T15:00:00")
    assert len(month.days(now_ms=tokyo_midnight)) == 27
    assert len(month.days(now_ms=tokyo_midnight - 1)) == 26
    assert len(month.days(now_ms=month.begins_at)) == 1
