"""Charts as SVG: here is where each bar stands, the template draws it. Integers throughout, as the amounts are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 744
HEIGHT: Final = 180
"""Of the bars; the names of the days are beneath."""

LABELS_HEIGHT: Final = 24

SIZES: Final = {"chart_width": WIDTH, "chart_height": HEIGHT, "labels_height": LABELS_HEIGHT}
"""What the templates call them."""

_GAP: Final = 4
_LABELS: Final = 8
"""So many names at most beneath the bars, so that they do not run into one another."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a column chart: its place in units of the picture, what it is of, and whether its name is written."""

    x: int
    y: int
    width: int
    height: int
    name: str
    value: int
    has_label: bool

    @property
    def middle(self) -> int:
        """Where its name stands."""
        return self.x + self.width // 2


def columns(values: Sequence[tuple[str, int]]) -> tuple[Bar, ...]:
    """Bars side by side, the highest as high as the picture; what is below zero is drawn as nothing.

    Args:
        values: Name and value of each; at most some hundred.
    """
    if not values:
        return ()
    step = WIDTH // len(values)
    highest = max(1, *(value for _, value in values))
    every = -(-len(values) // _LABELS)
    bars = []
    for index, (name, value) in enumerate(values):
        # One unit at least, so that a day with a cent of cost is no day without.
        height = max(1, max(value, 0) * HEIGHT // highest) if value > 0 else 0
        width = max(1, step - _GAP)
        bars.append(Bar(index * step, HEIGHT - height, width, height, name, value, index % every == 0))
    return tuple(bars)


def shares(values: Sequence[int]) -> tuple[int, ...]:
    """How long the bars of a list are, in hundredths of the longest; one at least for what is above zero."""
    highest = max((1, *values))
    return tuple(max(1, value * 100 // highest) if value > 0 else 0 for value in values)
