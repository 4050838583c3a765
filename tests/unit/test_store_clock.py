"""The store's clock as a gateway follows it: what a measurement says for certain, and no more."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.clock import AGREEING_MEASUREMENTS, JUMP_MS, StoreClock

MONOTONIC_SECONDS = 1_000.0
OFFSET_MS = 1_750_000_000_000.0


def measure(clock: StoreClock, there_ms: float, back_ms: float, offset_ms: float = OFFSET_MS) -> float:
    """Measure with a question and an answer that were so long on their way; how wrong the clock is then."""
    clock.record(offset_ms - back_ms, offset_ms + there_ms)
    return abs(clock.now_ms() - (MONOTONIC_SECONDS * 1000 + offset_ms))


def a_clock() -> StoreClock:
    return StoreClock(monotonic=lambda: MONOTONIC_SECONDS)


def test_the_first_measurement_counts_as_made_half_way() -> None:
    assert measure(a_clock(), 30, 30) <= 1
    assert 99 <= measure(a_clock(), 0, 200) <= 101


def test_a_slow_answer_does_not_move_a_clock_that_is_right() -> None:
    clock = a_clock()
    measure(clock, 0.1, 0.1)
    assert measure(clock, 0, 1_900) <= 1
    assert measure(clock, 5_000, 0) <= 1
    assert clock.is_sure


delays = st.floats(0, 3_000)


@given(st.lists(st.tuples(delays, delays), min_size=2, max_size=8))
def test_no_measurement_makes_the_clock_worse(measurements: Sequence[tuple[float, float]]) -> None:
    clock = a_clock()
    (there_ms, back_ms), *others = measurements
    wrong = measure(clock, there_ms, back_ms)
    for there_ms, back_ms in others:
        before, wrong = wrong, measure(clock, there_ms, back_ms)
        # A millisecond is what now_ms rounds by.
        assert wrong <= min(before, max(there_ms, back_ms)) + 1


def test_a_drift_is_followed() -> None:
    clock = a_clock()
    for number in range(100):
        assert measure(clock, 0.2, 0.2, OFFSET_MS + number) <= 1.3


def test_a_jump_has_nobody_tick_or_cut_until_three_measurements_agree() -> None:
    clock = a_clock()
    assert not clock.is_sure
    measure(clock, 1, 1)
    assert clock.is_sure
    for number in range(AGREEING_MEASUREMENTS):
        measure(clock, 1, 1, OFFSET_MS + JUMP_MS + 10)
        assert clock.is_sure == (number + 1 == AGREEING_MEASUREMENTS)
    measure(clock, 1, 1, OFFSET_MS + 20)
    assert clock.is_sure
