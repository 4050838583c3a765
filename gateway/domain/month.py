"""The calendar month of an office, in its own time zone: what usage is reported by."""

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Self

from gateway.domain.calendar import local_date, next_day_begins_ms, zone_of
from gateway.errors import InvalidArgument

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998  # The month after the last one must still be a date.
_NAME: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of an office's calendar, from its first instant to the first that is not in it, in Unix milliseconds."""

    date: date
    begins_at: int
    ends_at: int


@dataclass(frozen=True, slots=True)
class Month:
    """A month that has begun; each month begins at the instant at which the one before ends.

    Attributes:
        name: As YYYY-MM.
        time_zone: The IANA name of the office's.
        begins_at: Its first instant, in Unix milliseconds.
        ends_at: The first instant that is not in it any more.
    """

    name: str
    time_zone: str
    begins_at: int
    ends_at: int

    @classmethod
    def parse(cls, text: str, time_zone: str, *, now_ms: int) -> Self:
        """Read a month that is asked for; the present one is a month like any other, as far as it has come.

        Raises:
            InvalidArgument: It is no month, or has not begun in the office's time zone.
        """
        match = _NAME.fullmatch(text)
        if match is None or not _FIRST_YEAR <= int(match[1]) <= _LAST_YEAR:
            raise InvalidArgument("month", f"must be a month as YYYY-MM, such as 2026-11, from {_FIRST_YEAR}-01 on")
        year, month = int(match[1]), int(match[2])
        begins_at = _begins_at(year, month, time_zone)
        if begins_at > now_ms:
            present = datetime.fromtimestamp(now_ms // 1000, zone_of(time_zone)).strftime("%Y-%m")
            raise InvalidArgument("month", f"is still to come: the latest is {present}, the present one in {time_zone}")
        return cls(text, time_zone, begins_at, _begins_at(year + month // 12, month % 12 + 1, time_zone))

    def days(self, *, now_ms: int) -> tuple[Day, ...]:
        """Its days that have begun, at least the first; a date that the zone's clocks skipped is no day."""
        found: list[Day] = []
        begins_at = self.begins_at
        while begins_at < self.ends_at and (begins_at <= now_ms or not found):
            ends_at = next_day_begins_ms(begins_at, self.time_zone)
            found.append(Day(local_date(begins_at, self.time_zone), begins_at, ends_at))
            begins_at = ends_at
        return tuple(found)


def _begins_at(year: int, month: int, time_zone: str) -> int:
    # Where the clocks skip midnight, or show it twice, fold 0 is the first instant of the new date.
    return int(datetime(year, month, 1, tzinfo=zone_of(time_zone)).timestamp()) * 1000
