"""What a run leaves behind: tables on the terminal, and a JSON file for everything else."""

import json
from pathlib import Path
from typing import Any, Final

import rich.table
from rich.console import Console
from rich.markup import escape

from loadtest.tables import Result, Table, describe, left_out, tables_of

RESULTS: Final = Path(__file__).parent / "results"
LATEST: Final = "latest.json"


def show(result: Result, console: Console) -> None:
    """Print all tables."""
    for line in describe(result):
        console.print(escape(line))
    for table in tables_of(result):
        console.print()
        console.print(as_rich(table))
        if table.note:
            console.print(escape(table.note), style="dim")
    for line in left_out(result):
        console.print(escape(line), style="yellow")
    books = result["books"]
    console.print()
    console.print(f"Books audited: {sum(books['offices'].values()):,} offices, nothing missing and nothing held.")


def keep(result: dict[str, Any], directory: Path, prefix: str = "") -> Path:
    """Write the result under its time and commit; returns where.

    Args:
        result: Of a run.
        directory: Where; it is made.
        prefix: Of its name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stamp = result["taken_at"].replace("-", "").replace(":", "")
    path = directory / f"{prefix}{stamp}-{result['commit']}.json"
    path.write_text(_as_text(result))
    return path


def write(result: dict[str, Any], directory: Path, prefix: str = "", *, latest: dict[str, Any] | None = None) -> Path:
    """Keep the result, and again as the latest, or what is the latest with it; returns the first."""
    path = keep(result, directory, prefix)
    (directory / f"{prefix}{LATEST}").write_text(_as_text(latest or result))
    return path


def _as_text(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2) + "\n"


def as_rich(table: Table) -> rich.table.Table:
    """A table as it is printed."""
    drawn = rich.table.Table(title=table.title, title_justify="left", title_style="bold")
    for index, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in table.rows:
        style = "red" if row[-1].startswith("missed") else None
        drawn.add_row(*map(escape, row), style=style)
    return drawn
