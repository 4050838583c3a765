"""From the CSV of a deck to its rows, checked whole.

A deck comes from a spreadsheet or another billing system and may hold 200,000 prefixes, so reading is quick (cells
that repeat are read once), goes on after a fault, and pauses often enough for an event loop.
"""

import csv
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from operator import itemgetter
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from gateway.domain.deck.cells import (
    BILLING_COLUMNS,
    COLUMNS,
    SCOPE_COLUMNS,
    Billing,
    Cells,
    Report,
    read_billing,
    read_description,
    read_message_rate,
    read_prefix,
    read_scope,
)
from gateway.domain.deck.errors import ErrorList
from gateway.domain.deck.rows import AnyRow, DeckService, MessageRateRow, RateRow, RowScope
from gateway.domain.money import shorten
from gateway.domain.rate import DEFAULT_TICK_SECONDS, MessageRate, Rate, RateError

MAX_LINES: Final = 1_000_000
MAX_LINE_LENGTH: Final = 2_000
SLICE: Final = 1_000
"""How many lines or rows are handled between two pauses."""

T = TypeVar("T")

_SCOPE_TEXTS: Final = itemgetter(*SCOPE_COLUMNS)
_BILLING_TEXTS: Final = itemgetter(*BILLING_COLUMNS)
_COLUMN_OF_FIELD: Final = {"slots": "from_second", "connect_fee_micros": "connect_fee"}


class _Entry(NamedTuple, Generic[T]):
    """A line that was understood, kept until the other slots of its rate are found."""

    line: int
    billing: T
    description: str


@dataclass(slots=True)
class _Group(Generic[T]):
    """The lines of one key. Spoiled: one of them was not understood, so nothing can be said about the rest."""

    entries: list[_Entry[T]] = field(default_factory=list)
    is_spoiled: bool = False


_Groups: TypeAlias = dict[RowScope, dict[str, _Group[T]]]


def read_csv(data: bytes | str) -> Generator[int, None, list[AnyRow]]:
    """Read a deck, yielding about every 1,000 lines.

    Understood are UTF-8 with or without a byte order mark, LF or CRLF, and quoted cells (not across lines). The first
    line names the columns, in any order. Blank lines are skipped.

    Returns:
        The rows, in no particular order.

    Raises:
        DeckError: With every fault of the file by its line; if the header is not understood, with its faults alone.
    """
    return (yield from _Reader().read(data))


class _Reader:
    def __init__(self) -> None:
        self._errors = ErrorList()
        self._calls: _Groups[Billing] = {}
        self._messages: _Groups[MessageRate] = {}
        # What was read before, by the texts it was read from. Only what is valid, so that each fault is reported.
        self._scopes: dict[tuple[str, ...], RowScope] = {}
        self._billings: dict[tuple[str, ...], Billing] = {}
        self._rates: dict[tuple[Billing, ...], Rate] = {}

    def read(self, data: bytes | str) -> Generator[int, None, list[AnyRow]]:
        header, *lines = self._lines(data)
        columns = self._header(header)
        for number, line in enumerate(lines, start=2):
            if number % SLICE == 0:
                yield number
            if line and not line.isspace():
                self._read_line(number, line, columns)
        if not (self._errors.count or self._calls or self._messages):
            self._errors.add(1, "", "there is no rate after the header")
        rows: list[AnyRow] = []
        all_rows: Iterator[AnyRow] = chain[AnyRow](self._call_rows(), self._message_rows())
        for row in all_rows:
            rows.append(row)
            if len(rows) % SLICE == 0:
                yield row.row_id
        self._errors.raise_if_any()
        return rows

    def _lines(self, data: bytes | str) -> list[str]:
        if isinstance(data, bytes):
            try:
                data = data.decode()
            except UnicodeDecodeError as error:
                line = error.object.count(b"\n", 0, error.start) + 1
                self._errors.add(line, "", f"byte {error.object[error.start]:#04x} is not UTF-8; save it as UTF-8")
                self._errors.raise_if_any()
                raise
        # Not splitlines(), which also splits at characters that may stand in a description.
        lines = data.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if len(lines) > MAX_LINES:
            self._errors.add(MAX_LINES + 1, "", f"the file has {len(lines):,} lines, at most {MAX_LINES:,} are read")
            self._errors.raise_if_any()
        return lines

    def _header(self, line: str) -> tuple[str, ...]:
        columns = tuple(cell.strip().lower() for cell in self._split(1, line) or ())
        for position, column in enumerate(columns):
            if column not in COLUMNS:
                self._errors.add(1, "", f"{shorten(column)} is not a column of a deck")
            elif column in columns[:position]:
                self._errors.add(1, column, "stands twice in the header")
        missing = [column for column in COLUMNS if column not in columns]
        if missing:
            self._errors.add(1, "", f"the header lacks {', '.join(missing)}")
        self._errors.raise_if_any()
        return columns

    def _split(self, number: int, line: str) -> list[str] | None:
        if len(line) > MAX_LINE_LENGTH:
            self._errors.add(number, "", f"has {len(line):,} characters, at most {MAX_LINE_LENGTH:,} are read")
            return None
        if '"' not in line:
            return line.split(",")
        # Line by line, so that a quote left open spoils its own line and not the rest of the file.
        try:
            return next(csv.reader([line], strict=True))
        except csv.Error as error:
            self._errors.add(number, "", f"the quotes do not match ({error})")
            return None

    def _read_line(self, number: int, line: str, columns: tuple[str, ...]) -> None:
        texts = self._split(number, line)
        if texts is None:
            return
        if len(texts) != len(columns):
            self._errors.add(number, "", f"has {len(texts)} cells, the header has {len(columns)}")
            return
        cells = dict(zip(columns, map(str.strip, texts), strict=True))

        def report(column: str, message: str) -> None:
            self._errors.add(number, column, message)

        scope = _remembered(self._scopes, _SCOPE_TEXTS, read_scope, cells, report)
        prefix = read_prefix(cells["prefix"], report)
        description = read_description(cells["description"], report)
        if cells["service"].upper() in (DeckService.SMS, DeckService.MMS):
            _collect(self._messages, number, scope, prefix, read_message_rate(cells, report), description)
        else:
            billing = _remembered(self._billings, _BILLING_TEXTS, read_billing, cells, report)
            _collect(self._calls, number, scope, prefix, billing, description)

    def _call_rows(self) -> Iterator[RateRow]:
        for scope, prefix, entries in _complete(self._calls):
            entries.sort(key=lambda entry: entry.billing.slot.from_second)
            rate = self._rate(entries)
            if rate is not None:
                yield RateRow(min(entry.line for entry in entries), scope, prefix, rate, _description(entries))

    def _message_rows(self) -> Iterator[MessageRateRow]:
        for scope, prefix, entries in _complete(self._messages):
            first, *others = entries
            for entry in others:
                self._errors.add(entry.line, "", f"is for the same messages as line {first.line}")
            yield MessageRateRow(first.line, scope, prefix, first.billing, first.description)

    def _rate(self, entries: list[_Entry[Billing]]) -> Rate | None:
        key = tuple(entry.billing for entry in entries)
        if key in self._rates:
            return self._rates[key]
        if not self._slots_agree(entries):
            return None
        first = entries[0].billing
        try:
            rate = Rate(
                first.connect_fee_micros or 0,
                tuple(entry.billing.slot for entry in entries),
                first.tick_seconds or DEFAULT_TICK_SECONDS,
            )
        except RateError as error:
            line = entries[-1 if error.slot is None else error.slot].line
            self._errors.add(line, _COLUMN_OF_FIELD.get(error.field, error.field), error.message)
            return None
        self._rates[key] = rate
        return rate

    def _slots_agree(self, entries: list[_Entry[Billing]]) -> bool:
        """Report slots that begin together, or that contradict the first one about what holds for the whole rate."""
        before = self._errors.count
        first = entries[0]
        for previous, entry in pairwise(entries):
            if entry.billing.slot.from_second == previous.billing.slot.from_second:
                lines = sorted((previous.line, entry.line))
                self._errors.add(lines[1], "", f"is for the same calls and second as line {lines[0]}")
            for column, value, expected in (
                ("connect_fee", entry.billing.connect_fee_micros, first.billing.connect_fee_micros),
                ("tick_seconds", entry.billing.tick_seconds, first.billing.tick_seconds),
            ):
                if value not in (None, expected):
                    self._errors.add(entry.line, column, f"differs from line {first.line}, the first slot of the rate")
        return self._errors.count == before


def _remembered(
    memory: dict[tuple[str, ...], T],
    texts_of: Callable[[Cells], tuple[str, ...]],
    read: Callable[[Cells, Report], T | None],
    cells: Cells,
    report: Report,
) -> T | None:
    key = texts_of(cells)
    value = memory.get(key)
    if value is None:
        value = read(cells, report)
        if value is not None:
            memory[key] = value
    return value


def _collect(
    groups: _Groups[T],
    line: int,
    scope: RowScope | None,
    prefix: str | None,
    billing: T | None,
    description: str | None,
) -> None:
    """Put a line to the others of its key; without a key it belongs nowhere and has been reported."""
    if scope is None or prefix is None:
        return
    group = groups.setdefault(scope, {}).setdefault(prefix, _Group())
    if billing is None or description is None:
        group.is_spoiled = True
    else:
        group.entries.append(_Entry(line, billing, description))


def _complete(groups: _Groups[T]) -> Iterator[tuple[RowScope, str, list[_Entry[T]]]]:
    for scope, table in groups.items():
        for prefix, group in table.items():
            if not group.is_spoiled:
                yield scope, prefix, group.entries


def _description(entries: list[_Entry[T]]) -> str:
    return next((entry.description for entry in entries if entry.description), "")
