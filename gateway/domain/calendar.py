"""Day and month of an office, in its own time zone: what "daily" means for spend limits, and which invoice pays."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from gateway.errors import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_MS = 86_400_000

# Names that mean another place on another machine, or no place at all.
_NOT_A_PLACE = frozenset({"localtime", "Factory"})

# time zone -> (first instant, instant past the last, day number): the stretch of one day in which the last answer
# holds. One entry a zone, so its size is bounded by the zones that exist.
_stretches: dict[str, tuple[int, int, int]] = {}


@cache
def time_zones() -> frozenset[str]:
    """The names that an office's time zone may have (the IANA database as this machine has it)."""
    return frozenset(available_timezones()) - _NOT_A_PLACE


def day_number(now_ms: int, time_zone: str) -> int:
    """The local calendar date as its proleptic Gregorian ordinal (`date.fromordinal` turns it back).

    Costs well under a microsecond, since the stretch of time that an answer holds for is kept: up to the next local
    midnight, or the next change of the clocks if that is sooner.

    Raises:
        InvalidArgument: There is no such time zone (an office is validated, so this is an office from elsewhere).
    """
    stretch = _stretches.get(time_zone)
    if stretch is None or not stretch[0] <= now_ms < stretch[1]:
        stretch = _stretches[time_zone] = _stretch(now_ms, time_zone)
    return stretch[2]


def day_begins_ms(now_ms: int, time_zone: str) -> int:
    """The first instant of the local calendar day; raises as `day_number`."""
    return _midnight_ms(day_number(now_ms, time_zone), time_zone)


def next_day_begins_ms(now_ms: int, time_zone: str) -> int:
    """The first instant of the local calendar day after this one; raises as `day_number`."""
    return _midnight_ms(day_number(now_ms, time_zone) + 1, time_zone)


def local_date(now_ms: int, time_zone: str) -> date:
    """The local calendar date; raises as `day_number`."""
    return date.fromordinal(day_number(now_ms, time_zone))


def month_of(now_ms: int, time_zone: str) -> str:
    """The local calendar month as YYYY-MM; raises as `day_number`."""
    return local_date(now_ms, time_zone).isoformat()[:7]


def _midnight_ms(day: int, time_zone: str) -> int:
    """Where clocks skip midnight, the day begins with the first instant behind it."""
    midnight = datetime.combine(date.fromordinal(day), time.min, tzinfo=zone_of(time_zone))
    return (midnight.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def _stretch(now_ms: int, time_zone: str) -> tuple[int, int, int]:
    zone = zone_of(time_zone)
    offset = _offset_ms(now_ms, zone)
    days, into_day = divmod(now_ms + offset, _DAY_MS)
    first, past = now_ms - into_day, now_ms - into_day + _DAY_MS
    if _offset_ms(first, zone) != offset:
        first = _edge(now_ms, first, offset, zone)
    if _offset_ms(past - 1, zone) != offset:
        past = _edge(now_ms, past - 1, offset, zone) + 1
    return first, past, _EPOCH_DAY + days


def _edge(inside: int, outside: int, offset: int, zone: ZoneInfo) -> int:
    """The last instant on the way from `inside` to `outside` at which the zone still has this offset."""
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if _offset_ms(middle, zone) == offset:
            inside = middle
        else:
            outside = middle
    return inside


def _offset_ms(at_ms: int, zone: ZoneInfo) -> int:
    offset = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101  ZoneInfo always has one; this is for the type checker.
    return offset // timedelta(milliseconds=1)


def zone_of(time_zone: str) -> ZoneInfo:
    """The rules of a time zone by its name.

    Raises:
        InvalidArgument: There is no such time zone.
    """
    if time_zone not in time_zones():
        raise InvalidArgument(
            "time_zone", f"{time_zone!r} is not in the IANA database; give a name such as 'America/New_York'."
        )
    return ZoneInfo(time_zone)
