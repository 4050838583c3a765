"""Puts a run's table into docs/operating/faults.md: `python -m loadtest.chaos.page RESULT.json`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadtest.chaos.faults import FAULTS
from loadtest.chaos.report import table_of
from loadtest.chaos.stores.form import Form
from loadtest.machine import ROOT
from loadtest.section import write_section
from loadtest.table import markdown

PAGE: Final = ROOT / "docs/operating/faults.md"


def render(result: Mapping[str, Any], file_name: str) -> str:
    """The section's faults, and the figures in words and a table."""
    return "\n".join([*_kinds(), "", *_taken(result, file_name), "", markdown(table_of(result)), "", *_books(result)])


def _kinds() -> Iterator[str]:
    yield "| fault | stores | what happens |"
    yield "| --- | --- | --- |"
    for name, kind in FAULTS.items():
        stores = "any" if len(kind.forms) == len(Form) else ", ".join(kind.forms)
        yield f"| {name} | {stores} | {kind.about} |"


def _taken(result: Mapping[str, Any], file_name: str) -> Iterator[str]:
    machine = result["machine"]
    yield (
        f"{result['taken_at']}, commit {result['commit']}: seed {result['seed']}, {result['seconds']:.0f} s of load on "
        f"{machine['cores']} cores of {machine['cpu']}, shared by callers, gateway and store; load average "
        f"{machine['load_average_before']} before the run and {machine['load_average_after']} at its end. Of "
        f"{len(result['planned'])} planned faults {len(result['timeline'])} were tried: on a busy machine the gateway "
        f"takes long to start again. ([Figures](../../loadtest/results/{file_name}))"
    )


def _books(result: Mapping[str, Any]) -> Iterator[str]:
    books, rows = result["books"], result["faults"].values()
    lost, doubled = (sum(row[what] for row in rows) for what in ("lost", "doubled"))
    lost_word = "lost, as stated below" if lost else "lost"
    helped = sum(row[what]["granted"] for row in rows for what in ("emergencies", "emergencies_directly"))
    yield (
        f"{books['operations']:,} operations of {books['offices']} offices were held against ledger and store: {lost} "
        f"{lost_word}, {doubled} doubled. {helped:,} emergency calls were asked for, and all of them granted. "
        f"{books['settled_seconds']:.0f} s after the load nothing was on its way any longer."
    )


if __name__ == "__main__":
    write_section(PAGE, render)
