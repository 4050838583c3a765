"""The pauses between restarts."""

from gateway.backoff import LONGEST_SECONDS, STEADY_SECONDS, Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_a_limit() -> None:
    backoff = Backoff(Clock())
    delays = [backoff.next_delay_seconds() for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_SECONDS, LONGEST_SECONDS]


def test_a_short_life_does_not_start_over() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    backoff.next_delay_seconds()
    backoff.started()
    clock.now += STEADY_SECONDS - 1
    assert backoff.next_delay_seconds() == 0.2


def test_a_long_life_does() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for _ in range(5):
        backoff.next_delay_seconds()
    backoff.started()
    clock.now += STEADY_SECONDS
    assert [backoff.next_delay_seconds(), backoff.next_delay_seconds()] == [0.1, 0.2]


def test_failed_starts_after_a_long_life_grow_again() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    backoff.started()
    clock.now += STEADY_SECONDS
    assert backoff.next_delay_seconds() == 0.1
    # It never came up: the long life counts once only.
    clock.now += STEADY_SECONDS
    assert backoff.next_delay_seconds() == 0.2
