"""Usage records as CSV: RFC 4180 in UTF-8, for spreadsheets and programs alike (docs/how-to/read-usage.md).

No byte order mark: programs would take it for part of the first heading, and nearly every cell is ASCII anyway.

A text that a spreadsheet could take for a formula gets an apostrophe in front, which is how spreadsheets themselves
mark text. Telephone numbers begin with a plus and so are among them, which has its use: a spreadsheet would show a bare
number of twelve digits as 4.42E+11. A text that begins with an apostrophe gets another one, so that whoever removes one
from the front of a cell always has the text as it was.
"""

import csv
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from io import StringIO
from typing import Final
from zoneinfo import ZoneInfo

from gateway.api.credits.rate_rows import RowKey
from gateway.api.credits.usage_records import call_state
from gateway.domain.calendar import zone_of
from gateway.domain.deck import AnyRow
from gateway.domain.deck.rows import describe
from gateway.domain.money import format_amount
from gateway.domain.usage import UsageKind
from gateway.domain.vocabulary import Service
from gateway.ledger.usage import UsageRecord

# What begins a formula, the wide forms that some spreadsheets take for it, and white space that is skipped before it.
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")

COLUMNS: Final = (
    "id",
    "kind",
    "category",
    "direction",
    "license",
    "started_at",
    "answered_at",
    "time_zone",
    "user_id",
    "department_id",
    "calling_number",
    "called_number",
    "duration_seconds",
    "billed_seconds",
    "segments",
    "cost",
    "refunded",
    "written_off",
    "currency",
    "decision",
    "reason",
    "state",
    "deck_version",
    "rate_line",
    "rate_prefix",
    "rate_description",
    "rate",
)


class UsageCsv:
    """Writes the records of one office.

    Args:
        time_zone: The office's: its local times are in the file.
        currency: What costs are in.
    """

    def __init__(self, time_zone: str, currency: str) -> None:
        self._time_zone = time_zone
        self._zone = zone_of(time_zone)
        self._currency = currency

    def header(self) -> bytes:
        """The line of headings."""
        return _lines([COLUMNS])

    def lines(self, records: Iterable[UsageRecord], rows: Mapping[RowKey, AnyRow | None]) -> bytes:
        """A line for each record.

        Args:
            records: In the order of the lines.
            rows: The rows that priced them, as far as they are known.
        """
        return _lines(self._cells(record, rows.get((record.deck_version, record.rate_line))) for record in records)

    def _cells(self, record: UsageRecord, row: AnyRow | None) -> tuple[str | int, ...]:
        state = call_state(record)
        is_rated = bool(record.deck_version and record.rate_line)
        return (
            plain_text(record.thing_id),
            _kind(record),
            _name(record.category),
            _name(record.direction),
            _name(record.license),
            local_time(record.started_at, self._zone),
            local_time(record.answered_at, self._zone) if record.answered_at else "",
            self._time_zone,
            plain_text(record.user_id),
            plain_text(record.department_id),
            plain_text(record.calling_number),
            plain_text(record.called_number),
            record.duration_seconds,
            record.billed_seconds,
            record.segments,
            format_amount(record.cost_micros),
            format_amount(record.refunded_micros),
            format_amount(record.written_off_micros),
            self._currency,
            record.reason.decision.name,
            record.reason.name,
            _name(state),
            record.deck_version if is_rated else "",
            record.rate_line if is_rated else "",
            row.prefix if row is not None else "",
            plain_text(row.description) if row is not None else "",
            _rate(record, row),
        )


def plain_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula; an apostrophe at its beginning is to be removed."""
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def local_time(at_ms: int, zone: ZoneInfo) -> str:
    """An instant to the second in ISO 8601, as the clocks there show it, with their offset from UTC."""
    return datetime.fromtimestamp(at_ms // 1000, zone).isoformat()


def _kind(record: UsageRecord) -> str:
    if record.kind is UsageKind.MESSAGE:
        return _name(record.message_kind) or UsageKind.MESSAGE.name
    return Service.FAX.name if record.service is Service.FAX else UsageKind.CALL.name


def _rate(record: UsageRecord, row: AnyRow | None) -> str:
    rate = row.rate if row is not None else record.call_rate
    return describe(rate) if rate is not None else ""


def _name(value: IntEnum | None) -> str:
    return "" if value is None else value.name


def _lines(rows: Iterable[tuple[str | int, ...]]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
