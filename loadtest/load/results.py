"""What a load leaves behind: tables, a line about the books, a JSON file where one is asked for, and the exit code."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from loadtest.load.audit import Findings
from loadtest.report import as_rich, keep
from loadtest.tables import Table
from loadtest.taken import Taken


def add_result_option(parser: argparse.ArgumentParser) -> None:
    """The option that says where the JSON goes."""
    parser.add_argument("--results", type=Path, metavar="DIR", help="where the JSON goes (default: nowhere)")


def conclude(
    kind: str,
    taken: Taken,
    result: Mapping[str, Any],
    tables: Sequence[Table],
    findings: Findings,
    directory: Path | None,
    console: Console,
) -> int:
    """Show and keep a result, and say what the audit found; returns the exit code.

    The name of the JSON file begins with its kind.

    A result whose books are wrong is kept, too: it says what is wrong with them.
    """
    whole = {
        **taken.head(),
        "took_seconds": taken.seconds(),
        **result,
        "books": findings.to_json(),
    }
    for table in tables:
        console.print()
        console.print(as_rich(table))
        if table.note:
            console.print(escape(table.note), style="dim")
    console.print()
    _say_books(findings, console)
    if directory is not None:
        console.print(f"Written to {keep(whole, directory, f'{kind}-')}", soft_wrap=True)
    return 1 if findings.faults else 0


def _say_books(findings: Findings, console: Console) -> None:
    if findings.faults:
        console.print("The books are wrong:", style="bold red")
        for fault in findings.shown_faults():
            console.print(escape(fault), soft_wrap=True)
        return
    console.print(
        f"Books audited: {findings.offices} offices have what the answers say and hold nothing, "
        f"{findings.refills} refills, {findings.quotes} prices as quoted; tollgate audit: {escape(findings.ledger)}.",
        soft_wrap=True,
    )
