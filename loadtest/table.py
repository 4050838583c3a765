"""A table and its cells: one layout for the terminal and for pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.figures import PERCENTILES

HEADINGS: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max"}
"""Of the percentiles, in their order."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column is text, the others are numbers or short words.

    Attributes:
        title: What it shows.
        columns: Headings.
        rows: Cells, as many as there are columns.
        note: A sentence to read it by; empty: none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def markdown(table: Table) -> str:
    """A table as Markdown, with its title in bold above it."""
    widths = [max(len(row[column]) for row in (table.columns, *table.rows)) for column in range(len(table.columns))]
    rule = tuple("-" * widths[0] if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths))
    lines = [f"**{table.title}**", "", *(_markdown_row(row, widths) for row in (table.columns, rule, *table.rows))]
    return "\n".join([*lines, "", table.note] if table.note else lines)


def _markdown_row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join(cells)} |"


def percentiles_of(latency: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that were taken: results from before p99.9 have none."""
    return tuple(name for name in PERCENTILES if f"{name}_ms" in latency)


def headings(names: Sequence[str], unit: str = " ms") -> tuple[str, ...]:
    """The columns of some percentiles."""
    return tuple(f"{HEADINGS[name]}{unit}" for name in names)


def latency_cells(latency: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Medians over the rounds, and of max the slowest answer of all rounds."""
    return tuple(
        f"{latency['max_ms']['high']:.1f}" if name == "max" else f"{latency[f'{name}_ms']['median']:.2f}"
        for name in names
    )


def number(value: float) -> str:
    """Whole, with thousands."""
    return f"{value:,.0f}"


def spread(figure: Mapping[str, float]) -> str:
    """From the lowest to the highest round."""
    low, high = figure["low"], figure["high"]
    return f"{low:.2f}-{high:.2f}" if high < 100 else f"{low:,.0f}-{high:,.0f}"
