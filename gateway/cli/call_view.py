"""Live calls on a terminal: one table that is redrawn in place, while lines may be printed above it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.call_table import Column
from gateway.v1 import credits_pb2 as pb

_FRAME_LINES = 5
"""Lines of a table beside those of its calls, the prompt's included."""


class CallView:
    """A table on a terminal; `shown_on` makes one."""

    def __init__(self, live: Live, shown: Sequence[Column]) -> None:
        self._live = live
        self._shown = shown

    def update(self, calls: Sequence[pb.Call], caption: str = "") -> None:
        """Redraw it.

        Args:
            calls: A row each; those for which the window has no room are counted.
            caption: Stands below it.
        """
        room = max(1, self._live.console.height - _FRAME_LINES)
        if len(calls) > room:
            caption = f"and {len(calls) - room} more   {caption}".rstrip()
        self._live.update(call_table(calls[:room], self._shown, caption), refresh=True)


@contextmanager
def shown_on(console: Console, shown: Sequence[Column], *, leaves_last: bool) -> Iterator[CallView]:
    """Show a table on a terminal until the block ends, however it ends.

    Args:
        console: Prints go above the table as long as they go through this.
        shown: The columns.
        leaves_last: Whether the table stays at the end, or vanishes.
    """
    # Drawn when there is something new, and not by a thread a few times a second.
    with Live(console=console, auto_refresh=False, transient=not leaves_last) as live:
        yield CallView(live, shown)


def call_table(calls: Sequence[pb.Call], shown: Sequence[Column], caption: str) -> Table:
    """The table, as rich draws it."""
    table = Table(
        box=SIMPLE_HEAD,
        header_style="dim",
        caption=caption or None,
        caption_style="dim",
        caption_justify="left",
        pad_edge=False,
    )
    for each in shown:
        table.add_column(each.heading, justify="right" if each.is_number else "left", no_wrap=True)
    for call in calls:
        # As text, since what stands in brackets in an id is no mark-up.
        table.add_row(*(Text(each.cell(call), style=each.style(call)) for each in shown))
    return table
