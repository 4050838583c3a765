import random
import timeit
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.calendar import day_number, time_zones
from gateway.errors import InvalidArgument


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "zone", "day"),
    [
        ("1970-01-01T00:00:00+00:00", "UTC", "1970-01-01"),
        ("1969-12-31T23:59:59.999+00:00", "UTC", "1969-12-31"),
        ("2024-06-01T03:59:59.999+00:00", "America/New_York", "2024-05-31"),
        ("2024-06-01T04:00:00+00:00", "America/New_York", "2024-06-01"),
        # The clocks go forward on a day of 23 hours and back on one of 25.
        ("2024-03-11T03:59:59.999+00:00", "America/New_York", "2024-03-10"),
        ("2024-03-11T04:00:00+00:00", "America/New_York", "2024-03-11"),
        ("2024-11-04T04:59:59.999+00:00", "America/New_York", "2024-11-03"),
        ("2024-11-04T05:00:00+00:00", "America/New_York", "2024-11-04"),
        # There is no midnight: the clocks go from 24:00 to 01:00.
        ("2018-11-04T02:59:59.999+00:00", "America/Sao_Paulo", "2018-11-03"),
        ("2018-11-04T03:00:00+00:00", "America/Sao_Paulo", "2018-11-04"),
        # A whole day is left out.
        ("2011-12-30T09:59:59.999+00:00", "Pacific/Apia", "2011-12-29"),
        ("2011-12-30T10:00:00+00:00", "Pacific/Apia", "2011-12-31"),
        # One minute of a day comes before the last hour of the day before it.
        ("2010-11-07T02:30:30+00:00", "America/St_Johns", "2010-11-07"),
        ("2010-11-07T02:31:30+00:00", "America/St_Johns", "2010-11-06"),
        ("2024-05-01T18:15:00+00:00", "Asia/Kathmandu", "2024-05-02"),
    ],
)
def test_the_day_is_that_of_the_local_calendar(at: str, zone: str, day: str) -> None:
    assert day_number(ms(at), zone) == date.fromisoformat(day).toordinal()


def test_it_agrees_with_the_standard_library_at_any_instant_in_any_zone() -> None:
    rng = random.Random(7)
    zones = sorted(time_zones())
    for _ in range(5_000):
        zone = rng.choice(zones)
        at_ms = rng.randrange(ms("1980-01-01T00:00:00+00:00"), ms("2040-01-01T00:00:00+00:00"))
        for near in (at_ms, at_ms + rng.randrange(-90_000_000, 90_000_000)):
            expected = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=near)
            assert day_number(near, zone) == expected.astimezone(ZoneInfo(zone)).toordinal(), (near, zone)


def test_it_agrees_around_every_change_of_the_clocks() -> None:
    for zone in ("America/New_York", "America/St_Johns", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia"):
        for hour in range(24 * 365 * 3):
            at_ms = ms("2010-01-01T00:00:00+00:00") + hour * 3_600_000 + 90_000
            local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
            assert day_number(at_ms, zone) == local.toordinal(), (at_ms, zone)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "localtime", "Factory", "EST5", "US"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(InvalidArgument, match="time_zone"):
        day_number(0, zone)


def test_a_repeated_question_is_cheap() -> None:
    seconds = min(timeit.repeat(lambda: day_number(1_700_000_000_000, "America/New_York"), number=10_000, repeat=5))
    assert seconds / 10_000 < 5e-6  # About 0.15 us; the rest is for a busy machine.
