"""The book kept beside the month: what the offices were told and what it must have cost them, in plain Python.

It knows prices (`Rate`, and nothing else of the gateway), time zones, and the answers that switches and owners got. It
never looks into the store or the ledger.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

CALLS_A_MINUTE, MESSAGES_A_SECOND = 60_000, 1_000
RECORDED_REFUSALS: Final = 100
"""Of an office's calls in a minute, and of its messages in a second; beyond that they are counted."""


@dataclass
class Entry:
    """A call or message as its office should find it in its report."""

    id: str
    kind: str
    category: str
    direction: str
    license: str
    calling: str
    called: str
    user: str
    department: str
    started_at: int
    reason: str = ""
    answered_at: int = 0
    duration: int = 0
    billed: int = 0
    segments: int = 0
    cost_micros: int = 0
    refunded_micros: int = 0
    written_off_micros: int = 0
    state: str = ""

    @property
    def is_refused(self) -> bool:
        return self.reason not in ("EMERGENCY", "FREE", "FUNDED")


@dataclass
class Line:
    """A line of the summary."""

    count: int = 0
    cost_micros: int = 0
    blocked: int = 0


@dataclass
class _Refusals:
    """Refusals of one kind: which window of time is counted, and what waits to be told of."""

    window: int = -1
    recorded: int = 0
    waiting: int = 0


@dataclass
class Account:
    """An office's part of the book; amounts in micros."""

    office_id: str
    time_zone: str
    entries: dict[str, Entry] = field(default_factory=dict)
    bought: int = 0
    adjusted: int = 0
    given_back_late: int = 0
    is_suspended_at_times: bool = False
    unrecorded: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _refusals: dict[str, _Refusals] = field(default_factory=lambda: defaultdict(_Refusals))

    def enter(self, entry: Entry) -> None:
        """Note what was let through; it takes the place of a refusal of the same id."""
        self.entries[entry.id] = entry

    def refuse(self, entry: Entry) -> None:
        """Note a refusal: recorded, or, where too many come at once, counted with the next that is recorded."""
        is_call = entry.kind in ("CALL", "FAX")
        refusals = self._refusals["calls" if is_call else "messages"]
        window = entry.started_at // (CALLS_A_MINUTE if is_call else MESSAGES_A_SECOND)
        if refusals.window != window:
            refusals.window, refusals.recorded = window, 0
        if refusals.recorded == RECORDED_REFUSALS:
            refusals.waiting += 1
            return
        refusals.recorded += 1
        if refusals.waiting:
            month = month_of(entry.started_at, self.time_zone)
            self.unrecorded[month, "" if is_call else "MESSAGE"] += refusals.waiting
            refusals.waiting = 0
        self.entries[entry.id] = entry

    @property
    def spent(self) -> int:
        """What calls and messages have taken of the balance, less what came back to it at once."""
        return sum(entry.cost_micros for entry in self.entries.values()) + self.given_back_late

    def month(self, month: str) -> dict[str, Entry]:
        """What began in a month of the office's, by id."""
        return {
            name: entry for name, entry in self.entries.items() if month_of(entry.started_at, self.time_zone) == month
        }

    def summary(self, month: str) -> dict[str, Line]:
        """The month by category; "" for calls of which it is not known."""
        lines = added_up(self.month(month).values())
        for (of, category), count in self.unrecorded.items():
            if of == month:
                lines[category].blocked += count
        return lines


def added_up(entries: Iterable[Entry]) -> dict[str, Line]:
    """Entries counted and summed by category."""
    lines: dict[str, Line] = defaultdict(Line)
    for entry in entries:
        line = lines[entry.category]
        if entry.is_refused:
            line.blocked += 1
        else:
            line.count += 1
            line.cost_micros += entry.cost_micros
    return lines


def month_of(at_ms: int, time_zone: str) -> str:
    """The month on the wall of the office."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(time_zone)).strftime("%Y-%m")


def day_of(at_ms: int, time_zone: str) -> str:
    """The day on the wall of the office."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d")


def told_apart(lines: Mapping[str, Line]) -> dict[str, Line]:
    """The lines in which there is anything."""
    return {category: line for category, line in lines.items() if line != Line()}
