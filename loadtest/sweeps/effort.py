"""The sizes and rounds of the sweeps, and of their smoke run, whose figures mean nothing."""

from dataclasses import dataclass, replace
from typing import Final

from loadtest.effort import FULL as BENCH_FULL
from loadtest.effort import QUICK as BENCH_QUICK
from loadtest.effort import Effort

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SweepEffort:
    """Sizes and rounds.

    Attributes:
        bench: Of what the sweeps take over from the benchmark, the journal among it.
        in_flight: That benchmark's effort for the sweep of operations in flight.
        offices: Sizes, with `calls_beside_offices` live calls at each.
        calls_beside_offices: Live calls, spread over the offices.
        live_calls: Sizes, of `offices_of_calls` offices each.
        offices_of_calls: Offices that the live calls are spread over.
        small: Offices, and live calls, of the small scene that the large one is held against.
        large: Of the large one.
        rounds: Of each point.
        seconds: Of each round, for the gateway and again for the empty stream.
        per_second: Operations of the schedule that latencies are taken at.
        warm_seconds: At most so long a closed loop before the first round, in which the front comes to know offices.
        raw_offices: Offices, and so calls in a round, of the raw rate.
        prefixes: Sizes of the deck.
        deck_numbers: Numbers looked up, and as many classified, in a round.
        library_numbers: Numbers classified in the library's own way in a round: it is slow.
        tick_calls: Live calls that are ticked by the front.
        tick_windows: Windows with ticks, and as many without.
        tick_window_seconds: Of each.
        ticks_per_second: In the windows with ticks.
        beside_per_second: Operations of the Session beside them.
    """

    bench: Effort
    in_flight: Effort
    offices: tuple[int, ...]
    calls_beside_offices: int
    live_calls: tuple[int, ...]
    offices_of_calls: int
    small: int
    large: int
    rounds: int
    seconds: float
    per_second: int
    warm_seconds: float
    raw_offices: int
    prefixes: tuple[int, ...]
    deck_numbers: int
    library_numbers: int
    tick_calls: int
    tick_windows: int
    tick_window_seconds: float
    ticks_per_second: int
    beside_per_second: int


FULL: Final = SweepEffort(
    bench=BENCH_FULL,
    in_flight=replace(
        BENCH_FULL,
        unary_in_flight=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        unary_rounds=3,
        unary_seconds=1.0,
        session_in_flight=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        session_rounds=3,
        open_rounds=0,
    ),
    offices=(1, 10, 100, 1_000, 10_000, 100_000, MILLION),
    calls_beside_offices=1_000,
    live_calls=(1_000, 10_000, 100_000, MILLION),
    offices_of_calls=1_000,
    small=1_000,
    large=MILLION,
    rounds=5,
    seconds=2.0,
    per_second=1_000,
    warm_seconds=20.0,
    raw_offices=2_000,
    prefixes=(100, 1_000, 10_000, 50_000, 100_000, 200_000),
    deck_numbers=20_000,
    library_numbers=1_000,
    tick_calls=100_000,
    tick_windows=9,
    tick_window_seconds=5.0,
    ticks_per_second=1_667,
    beside_per_second=2_000,
)
QUICK: Final = SweepEffort(
    bench=BENCH_QUICK,
    in_flight=replace(BENCH_QUICK, unary_in_flight=(1, 4, 16), session_in_flight=(1, 8, 64), open_rounds=0),
    offices=(1, 300),
    calls_beside_offices=60,
    live_calls=(100, 1_000),
    offices_of_calls=20,
    small=50,
    large=500,
    rounds=1,
    seconds=0.3,
    per_second=200,
    warm_seconds=0.2,
    raw_offices=100,
    prefixes=(100, 2_000),
    deck_numbers=500,
    library_numbers=50,
    tick_calls=400,
    tick_windows=2,
    tick_window_seconds=1.0,
    ticks_per_second=50,
    beside_per_second=200,
)
