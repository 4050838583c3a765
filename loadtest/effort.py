"""How much of everything: the benchmark, and its smoke run, whose figures mean nothing."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Effort:
    """Sizes and rounds.

    Attributes:
        store_offices: Offices, and so commands of each operation in a round.
        store_rounds: Rounds of the raw rates.
        unary_offices: Offices that calls are placed for.
        unary_in_flight: Levels of concurrency.
        unary_rounds: Rounds of each level.
        unary_seconds: Of each round, for the gateway and again for the empty handler.
        live_calls: Calls whose memory is measured.
        dips: Refill triggers, on a quiet gateway and again under load.
        load_calls_per_second: That load.
        busy_per_second: Operations of a Session beside which the dips are made once more.
        session_in_flight: Levels of concurrency of a Session.
        session_rounds: Rounds of each level.
        session_seconds: Of each round, for the gateway and again for the empty stream.
        open_per_second: Operations of a Session by a schedule.
        open_fast_per_second: Those of the faster schedule.
        coalescing_seconds: How long these gather before they are sent.
        open_unary_per_second: Unary rpcs by a schedule.
        open_rounds: Rounds of each of them.
        open_seconds: Of each round, for the gateway and again for the empty stream.
        mix_rounds: Rounds of each mix of operations, unary and in a Session.
        mix_seconds: Of each round, for the gateway and again for the empty handler.
        independent_requests: Of h2load and again of our own client, of each kind and to each target.
        independent_rounds: Rounds of that.
        raw_requests: Of redis-benchmark, of each kind in a round; it sends a multiple of 128.
        raw_rounds: Rounds of that.
        due_calls: Live calls that the gateway ticks.
        due_rounds: How often each of them comes due.
        cut_calls: Calls that are cut.
        cut_seconds: Within so long.
        idle_sessions: Sessions whose memory is measured.
        journal_offices: Offices whose entries are journaled.
        journal_waves: How often each of them makes ten calls and messages.
        journal_rounds: How often all that is journaled into each database.
        beside_per_second: Operations of the Session that the journal runs beside: two a call.
        beside_rounds: Rounds of that.
        beside_seconds: Of each round, with the journal and again without.
    """

    store_offices: int
    store_rounds: int
    unary_offices: int
    unary_in_flight: tuple[int, ...]
    unary_rounds: int
    unary_seconds: float
    live_calls: int
    dips: int
    load_calls_per_second: int
    busy_per_second: int
    session_in_flight: tuple[int, ...]
    session_rounds: int
    session_seconds: float
    open_per_second: int
    open_fast_per_second: int
    coalescing_seconds: float
    open_unary_per_second: int
    open_rounds: int
    open_seconds: float
    mix_rounds: int
    mix_seconds: float
    independent_requests: int
    independent_rounds: int
    raw_requests: int
    raw_rounds: int
    due_calls: int
    due_rounds: int
    cut_calls: int
    cut_seconds: int
    idle_sessions: int
    journal_offices: int
    journal_waves: int
    journal_rounds: int
    beside_per_second: int
    beside_rounds: int
    beside_seconds: float


FULL: Final = Effort(
    store_offices=4_000,
    store_rounds=7,
    unary_offices=1_000,
    unary_in_flight=(1, 8, 64),
    unary_rounds=7,
    unary_seconds=1.5,
    live_calls=20_000,
    dips=300,
    load_calls_per_second=100,
    busy_per_second=2_000,
    session_in_flight=(1, 8, 64, 512),
    session_rounds=5,
    session_seconds=0.8,
    open_per_second=2_000,
    open_fast_per_second=10_000,
    coalescing_seconds=0.001,
    open_unary_per_second=500,
    open_rounds=5,
    open_seconds=2.0,
    mix_rounds=3,
    mix_seconds=1.0,
    independent_requests=3_000,
    independent_rounds=3,
    raw_requests=25_600,
    raw_rounds=3,
    due_calls=100_000,
    due_rounds=3,
    cut_calls=200,
    cut_seconds=10,
    idle_sessions=10_000,
    journal_offices=1_000,
    journal_waves=13,
    journal_rounds=3,
    beside_per_second=2_000,
    beside_rounds=5,
    beside_seconds=4.0,
)
QUICK: Final = Effort(
    store_offices=200,
    store_rounds=1,
    unary_offices=20,
    unary_in_flight=(1, 8),
    unary_rounds=1,
    unary_seconds=0.2,
    live_calls=1_000,
    dips=10,
    load_calls_per_second=20,
    busy_per_second=100,
    session_in_flight=(1, 64),
    session_rounds=1,
    session_seconds=0.2,
    open_per_second=500,
    open_fast_per_second=1_000,
    coalescing_seconds=0.001,
    open_unary_per_second=100,
    open_rounds=1,
    open_seconds=0.4,
    mix_rounds=1,
    mix_seconds=0.2,
    independent_requests=300,
    independent_rounds=1,
    raw_requests=2_048,
    raw_rounds=1,
    due_calls=2_000,
    due_rounds=1,
    cut_calls=5,
    cut_seconds=2,
    idle_sessions=200,
    journal_offices=20,
    journal_waves=6,
    journal_rounds=1,
    beside_per_second=500,
    beside_rounds=1,
    beside_seconds=1.0,
)
