"""Token buckets against their definition, and how many of them are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.buckets import Buckets

BURST_SECONDS = 2.0


@given(st.integers(1, 50), st.lists(st.integers(0, 1_000), max_size=200))
def test_a_bucket_is_as_one_that_is_counted(rate: int, pauses_ms: list[int]) -> None:
    """Beside one that holds a number of tokens, in exact arithmetic: milliseconds, and thousandths of a token."""
    buckets = Buckets(BURST_SECONDS)
    now_ms, held, full = 0, 2_000 * rate, 2_000 * rate
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        held = min(full, held + pause_ms * rate)
        taken = held >= 1_000
        assert (buckets.wait("a", rate, now_ms / 1000) == 0) is taken
        wait = buckets.take("a", rate, now_ms / 1000)
        assert (wait == 0) is taken
        if taken:
            held -= 1_000
        else:
            assert abs(wait * rate * 1_000 - (1_000 - held)) < 0.01


def test_one_that_fills_slowly_holds_one() -> None:
    buckets = Buckets(BURST_SECONDS)
    assert buckets.take("a", 0.01, 5.0) == 0
    assert round(buckets.take("a", 0.01, 6.0)) == 99
    assert buckets.take("a", 0.01, 105.0) == 0


def test_those_that_are_full_are_forgotten_first_and_there_are_never_more() -> None:
    buckets = Buckets(BURST_SECONDS, max_kept=10)
    while buckets.take("greedy", 1, 0.0) == 0:
        pass
    for n in range(100):
        assert buckets.take(f"modest {n}", 1, n / 1_000) == 0
        assert len(buckets) <= 10
    assert buckets.take("greedy", 1, 0.1) > 0
