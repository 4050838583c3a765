"""Where the bars of the charts stand: inside of the picture, in their order, and none that is of nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.page.charts import HEIGHT, WIDTH, columns, shares


def named(*values: int) -> list[tuple[str, int]]:
    return [(f"2026-11-{index:02d}", value) for index, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "heights"),
    [
        ((5,), [HEIGHT]),
        ((1, 2), [HEIGHT // 2, HEIGHT]),
        ((10**15, 10**15 // 4), [HEIGHT, HEIGHT // 4]),
        # One unit at least for what is above zero, and nothing for what is not.
        ((1_000_000, 1), [HEIGHT, 1]),
        ((1_000_000, 0), [HEIGHT, 0]),
        ((1_000_000, -1), [HEIGHT, 0]),
        ((1_000_000, -(10**15)), [HEIGHT, 0]),
        ((0,), [0]),
        ((0, 0, 0), [0, 0, 0]),
        ((-1, -2), [0, 0]),
        ((), []),
    ],
)
def test_the_highest_bar_is_as_high_as_the_picture(values: tuple[int, ...], heights: list[int]) -> None:
    bars = columns(named(*values))
    assert [bar.height for bar in bars] == heights
    assert all(bar.y + bar.height == HEIGHT for bar in bars)
    assert [(bar.name, bar.value) for bar in bars] == named(*values)


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=186))
def test_bars_stand_side_by_side_within_the_picture(values: list[int]) -> None:
    bars = columns(named(*values))
    assert bars[0].x == 0
    assert bars[-1].x + bars[-1].width <= WIDTH
    assert all(left.x + left.width <= right.x for left, right in itertools.pairwise(bars))
    assert all(0 <= bar.y <= HEIGHT and 0 <= bar.height <= HEIGHT for bar in bars)
    assert all(bar.x <= bar.middle <= bar.x + bar.width for bar in bars)


@pytest.mark.parametrize(
    ("count", "labels"), [(1, 1), (8, 8), (9, 5), (28, 7), (29, 8), (30, 8), (31, 8), (60, 8), (186, 8)]
)
def test_names_do_not_run_into_one_another(count: int, labels: int) -> None:
    bars = columns(named(*[1] * count))
    assert sum(bar.has_label for bar in bars) == labels <= 8
    assert bars[0].has_label


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), ()),
        ((7,), (100,)),
        ((200, 100, 50), (100, 50, 25)),
        ((1_000_000, 1), (100, 1)),
        ((1_000_000, 0), (100, 0)),
        ((1_000_000, -1), (100, 0)),
        ((0,), (0,)),
        ((0, 0), (0, 0)),
        ((-5, -1), (0, 0)),
    ],
)
def test_bars_of_a_list_are_hundredths_of_the_longest(values: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert shares(values) == expected
