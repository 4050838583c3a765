"""What the demo shows: a line an event, in colour on a terminal, plain elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.text import Text

from gateway.cli.call_table import Column
from gateway.cli.call_view import CallView, shown_on
from gateway.cli.demo.books import Verdict
from gateway.cli.output import can_redraw, money

_WIDTHS: Final = (5, 7, 41, 30, 8, 8, 9)
_HEADINGS: Final = ("time", "office", "what happens", "the gateway's answer", "price", "balance", "available")
_ROOM: Final = 118
_RIGHT: Final = 4
"""From this column on amounts, which stand to the right."""

_STYLES: Final = {
    "GRANTED": "green",
    "RESTORED": "bold green",
    "CREDITED": "cyan",
    "TRIGGER": "magenta",
    "LOW": "yellow",
    "UNCONFIRMED": "yellow",
    "CONFIRMED": "green",
    "DENIED": "red",
    "REFUSED": "red",
    "CUT": "bold red",
}
"""Good news is green, money that came cyan, a request for it magenta, a warning yellow; red is an end."""


class Screen:
    """Prints to standard output."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)

    def title(self, text: str) -> None:
        """Print what comes next."""
        self._print(Text(f"\n{text}", style="bold"))

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line."""
        self._print(Text(text, style=style))

    def headings(self) -> None:
        """Print the names of the columns."""
        self._row(_HEADINGS, ["dim"] * len(_HEADINGS))

    def event(
        self,
        moment: str,
        office_id: str,
        what: str,
        answer: str,
        price: str,
        balance_micros: int,
        available_micros: int,
    ) -> None:
        """Print one event.

        Args:
            moment: When, as the act counts.
            office_id: Whose.
            what: What happens.
            answer: What the gateway says; its first word gives the colour.
            price: What it cost, or empty.
            balance_micros: Of the office, after it.
            available_micros: What live calls have not reserved of it, after it.
        """
        cells = (moment, office_id, what, answer, price, money(balance_micros), money(available_micros))
        styles = ["dim", "blue", "", style_of(answer), "", "bold", "dim"]
        self._row(cells, styles)

    @contextmanager
    def live_calls(self, shown: Sequence[Column]) -> Iterator[CallView | None]:
        """Show a table of live calls below what is printed until the block ends; None: it cannot be redrawn here."""
        if not can_redraw():
            yield None
            return
        with shown_on(self._console, shown, leaves_last=False) as view:
            yield view

    def lines(self, lines: Iterable[str], style: str = "") -> None:
        """Print lines a step to the right; what the widest terminal of the demo has no room for is cut off."""
        for line in lines:
            self._print(Text(f"  {line if len(line) <= _ROOM else line[: _ROOM - 1] + '…'}", style=style))

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Print what the check of the books found."""
        for each in verdicts:
            answer = "right to the micro" if each.is_right else "WRONG"
            self._print(
                Text(
                    f"  {each.office_id:8}  {each.operations:3} operations, must have "
                    f"{money(each.expected_micros):>10}, has {money(each.balance_micros):>10}, "
                    f"reserved {money(each.reserved_micros)}: "
                ).append(answer, style="green" if each.is_right else "bold red")
            )

    def _row(self, cells: Sequence[str], styles: Sequence[str]) -> None:
        line = Text()
        for column, (cell, width, style) in enumerate(zip(cells, _WIDTHS, styles, strict=True)):
            if column:
                line.append("  ")
            line.append(cell.rjust(width) if column >= _RIGHT else cell.ljust(width), style=style)
        line.rstrip()
        self._print(line)

    def _print(self, text: Text) -> None:
        # Never broken or cut at the edge of the window, nor at the 80 columns of a pipe.
        self._console.print(text, soft_wrap=True)


def style_of(answer: str) -> str:
    """The colour of an answer, by its first word; empty: the terminal's own."""
    return _STYLES.get(answer.partition(" ")[0].rstrip(","), "")
