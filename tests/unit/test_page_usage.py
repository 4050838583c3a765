"""The menu of months: from the present one, by the calendar of the office, back to its first."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from gateway.page.desk import Desk
from gateway.page.usage import UsagePages
from gateway.v1 import credits_pb2 as pb
from tests.support.balances import ManualClock

NOTHING = cast("Any", None)
"""What a menu of months needs none of."""


def months(created: str, now: str, time_zone: str, shown: str) -> list[str]:
    clock = ManualClock(round(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000))
    office = pb.Office(time_zone=time_zone)
    office.created_at.FromDatetime(datetime.fromisoformat(created).replace(tzinfo=UTC))
    return UsagePages(Desk(NOTHING, NOTHING, NOTHING, clock, currency="USD"))._months(office, shown)


@pytest.mark.parametrize(
    ("created", "now", "time_zone", "shown", "expected"),
    [
        ("2026-11-26T12:00", "2026-11-26T12:00", "UTC", "2026-11", ["2026-11"]),
        ("2026-09-30T12:00", "2026-11-26T12:00", "UTC", "2026-10", ["2026-11", "2026-10", "2026-09"]),
        ("2025-12-31T12:00", "2026-01-01T00:00", "UTC", "2026-01", ["2026-01", "2025-12"]),
        ("2024-02-29T12:00", "2024-03-31T12:00", "UTC", "2024-03", ["2024-03", "2024-02"]),
        # It is December in Kathmandu by then, and October in New York was not over yet.
        ("2026-11-30T12:00", "2026-11-30T18:15", "Asia/Kathmandu", "2026-12", ["2026-12", "2026-11"]),
        ("2026-11-01T03:59", "2026-11-26T12:00", "America/New_York", "2026-11", ["2026-11", "2026-10"]),
        # Whatever is shown is in the menu, and nothing that is still to come.
        ("2026-11-26T12:00", "2026-11-26T12:00", "UTC", "2026-10", ["2026-11", "2026-10"]),
        ("2026-11-26T12:00", "2026-11-26T12:00", "UTC", "1970-01", ["2026-11", "1970-01"]),
        # The clock was set back since: the present month is there all the same.
        ("2026-12-01T12:00", "2026-11-26T12:00", "UTC", "2026-11", ["2026-11"]),
    ],
)
def test_the_months_of_an_office(created: str, now: str, time_zone: str, shown: str, expected: list[str]) -> None:
    assert months(created, now, time_zone, shown) == expected


def test_ten_years_are_a_hundred_and_twenty_months() -> None:
    found = months("2016-12-15T12:00", "2026-11-26T12:00", "UTC", "2026-11")
    assert len(found) == len(set(found)) == 120
    assert found == sorted(found, reverse=True)
