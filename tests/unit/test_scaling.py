"""The plan and the simulation of it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.store.keys import SHARDS
from loadtest.report import LATEST, RESULTS
from loadtest.scaling import __main__ as command
from loadtest.scaling.costs import Costs, CostsError, read_costs
from loadtest.scaling.demand import NAMED, Demand
from loadtest.scaling.failover import simulate_failover
from loadtest.scaling.measure import FILE, resp_bytes
from loadtest.scaling.offices import heaviest_share, power_sum, primary_shares, shard_shares, spread_of
from loadtest.scaling.page import PAGE, PageError, put_in
from loadtest.scaling.plan import GIB, make_plan, primaries_for
from loadtest.scaling.queueing import mean_wait_ms, p99_wait_ms
from loadtest.scaling.simulation import Settings, play
from loadtest.scaling.slots import SLOTS, cut_by_shards, even_cut, ranges, shards_of, slot_of, tag_of
from loadtest.scaling.traffic import Job, jobs_of, utilisation
from loadtest.scaling.waiting import simulate_waits
from loadtest.scaling.wire import session_bytes

SMALL = Demand(calls=1_000_000, offices=20_000, zipf=0.5)
QUICK = Settings(decisions=20_000)


@pytest.fixture(scope="module")
def costs() -> Costs:
    return read_costs(RESULTS / LATEST, RESULTS / FILE, 64)


def poisson(busy: float, micros: float = 100) -> list[Job]:
    return [Job("authorize_call", busy * 1e6 / micros, micros, is_decision=True)]


def md1_within(wait: float, busy: float) -> float:
    """The chance to wait at most so many service times in M/D/1 (Erlang, 1909)."""
    total = 0.0
    for served in range(math.floor(wait) + 1):
        power = busy * (served - wait)
        total += power**served / math.factorial(served) * math.exp(-power)
    return (1 - busy) * total


def test_a_demand_is_littles_law() -> None:
    demand = Demand(calls=12_000, hold_seconds=180, ring_seconds=12, answered_share=0.6)
    assert demand.attempts_per_second == pytest.approx(100)
    assert demand.talking_calls == pytest.approx(60 * 180)
    assert demand.ticks_per_second == pytest.approx(180)
    assert demand.listed_per_second == pytest.approx(400)
    assert demand.entries_per_second == pytest.approx(280)


def test_the_smallest_demand_has_a_plan(costs: Costs) -> None:
    plan = make_plan(Demand(calls=1, offices=1), costs)
    assert (plan.primaries, plan.fronts, plan.fits, plan.heaviest) == (1, 1, True, 1.0)


def test_units(costs: Costs) -> None:
    """A demand of round numbers, reckoned by hand."""
    demand = Demand(calls=6_000, hold_seconds=60, ring_seconds=0, answered_share=1, offices=1, lists_per_minute=0)
    plan, each = make_plan(demand, costs), costs.operations
    micros = (each[name].store_micros for name in ("authorize_call", "answer_call", "end_call", "tick_by_gateway"))
    assert plan.store_cores == pytest.approx((100 * sum(micros) + 200 * costs.journal_read_micros) / 1e6)
    assert plan.memory.live_calls == 6_000 * costs.call_bytes
    assert plan.memory.call_stubs == pytest.approx(100 * 3_600 * costs.call_stub_bytes)
    assert plan.sql_records == pytest.approx(100)
    assert plan.network.to_replicas == pytest.approx(
        800 * sum(each[name].replicated for name in ("authorize_call", "answer_call", "end_call", "tick_by_gateway"))
    )
    assert plan.store_bytes == pytest.approx(2 * 1.5 * plan.memory.total)


@pytest.mark.parametrize("name", ["store_cores", "front_cores", "fronts", "primaries", "store_bytes", "journal_share"])
def test_more_calls_never_need_less(costs: Costs, name: str) -> None:
    found = [getattr(make_plan(replace(SMALL, calls=calls), costs), name) for calls in (1, 10**4, 10**5, 10**6, 10**7)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_a_plan_keeps_its_utilisation_or_says_that_it_cannot(costs: Costs) -> None:
    for calls in (10_000, 300_000, 1_000_000, 3_000_000, 100_000_000):
        plan = make_plan(replace(SMALL, calls=calls), costs)
        assert 1 <= plan.primaries <= SHARDS
        assert plan.fits == (plan.busiest <= SMALL.utilisation + 0.01)


def test_scarce_memory_makes_primaries(costs: Costs) -> None:
    plan = make_plan(replace(SMALL, calls=100_000, primary_gib=1), costs)
    assert plan.primaries > make_plan(replace(SMALL, calls=100_000), costs).primaries
    assert plan.primary_bytes <= GIB


def test_the_first_limit_is_the_nearest(costs: Costs) -> None:
    plan = make_plan(NAMED["country"], costs)
    assert plan.first_limit.calls == min(limit.calls for limit in plan.limits)
    at_it = make_plan(replace(NAMED["country"], calls=int(plan.first_limit.calls), messages_per_second=0), costs)
    assert next(limit for limit in at_it.limits if limit.name == plan.first_limit.name).calls >= plan.first_limit.calls


def test_more_room_needs_fewer_primaries() -> None:
    spread = spread_of(10_000, 0.5)
    assert primaries_for(spread, 1.0) == 1
    assert primaries_for(spread, 0.001) is None
    assert (primaries_for(spread, 0.1) or 0) > (primaries_for(spread, 0.3) or 0)


def test_shares_of_offices_are_all_of_it() -> None:
    assert power_sum(20_000, 0.7) == pytest.approx(math.fsum(rank**-0.7 for rank in range(1, 20_001)), rel=1e-6)
    assert power_sum(20_000, 1) == pytest.approx(math.fsum(1 / rank for rank in range(1, 20_001)), rel=1e-6)
    assert math.fsum(shard_shares(3_000, 0.7, 0.3)) == pytest.approx(1)
    assert max(shard_shares(3_000, 0.7, 0.3)) > 0.3
    assert spread_of(1, 0.7) == (1.0, 0.0)


@pytest.mark.parametrize(("offices", "zipf"), [(2_000, 0.7), (20_000, 0), (20_000, 0.7), (100_000, 0.9)])
@pytest.mark.parametrize("primaries", [2, 3, 8, 64])
def test_offices_lie_no_worse_than_planned(offices: int, zipf: float, primaries: int) -> None:
    placed = cut_by_shards(primaries)
    shares = primary_shares(shard_shares(offices, zipf), placed, primaries)
    assert max(shares) <= heaviest_share(spread_of(offices, zipf), max(shards_of(placed, primaries)))


def test_slots_are_those_of_a_cluster() -> None:
    assert tag_of(17) == b"17"
    # As CLUSTER KEYSLOT says of "0" and "1".
    assert [slot_of(shard) for shard in (0, 1)] == [13_907, 9_842]
    assert len({slot_of(shard) for shard in range(SHARDS)}) == SHARDS


def test_equal_slots_are_even_on_two_and_four_primaries_only() -> None:
    even = [n for n in range(2, SHARDS + 1) if len(set(shards_of(even_cut(n), n))) == 1]
    assert even == [2, 4]
    assert shards_of(even_cut(SHARDS), SHARDS).count(0) == 30


@pytest.mark.parametrize("primaries", [1, 2, 3, 8, 13, 64])
def test_slots_by_shards(primaries: int) -> None:
    counts = shards_of(cut_by_shards(primaries), primaries)
    assert max(counts) - min(counts) <= 1
    cut = ranges(primaries)
    assert [slot for first, last in cut for slot in range(first, last + 1)] == list(range(SLOTS))
    for shard, primary in enumerate(cut_by_shards(primaries)):
        assert cut[primary][0] <= slot_of(shard) <= cut[primary][1]


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_waits_are_those_of_theory(busy: float) -> None:
    found = simulate_waits(poisson(busy), 200_000, seed=1)
    assert found.mean_ms == pytest.approx(mean_wait_ms(poisson(busy)), rel=0.05)
    assert md1_within(found.p99_ms / 0.1, busy) == pytest.approx(0.99, abs=0.002)
    assert found.p99_ms <= p99_wait_ms(poisson(busy)) * 1.05


def test_no_time_is_left_for_more_work_than_there_is_time() -> None:
    assert p99_wait_ms(poisson(1.0)) == math.inf
    assert mean_wait_ms(poisson(2.0)) == math.inf
    with pytest.raises(ValueError, match="nothing"):
        simulate_waits([], 10, 1)


@pytest.mark.parametrize("calls", [200_000, 1_000_000, 4_000_000])
@pytest.mark.parametrize("target", [0.4, 0.6])
def test_what_was_planned_holds_when_it_is_played(costs: Costs, calls: int, target: float) -> None:
    plan = make_plan(replace(SMALL, calls=calls, utilisation=target), costs)
    played = play(plan, costs, QUICK, fails=False)
    assert plan.fits
    assert played.waits is not None
    assert played.busiest <= target
    assert played.waits.p99_ms <= plan.p99_wait_ms


def test_half_of_what_was_planned_does_not_hold(costs: Costs) -> None:
    plan = make_plan(replace(SMALL, calls=1_000_000), costs)
    half = play(plan, costs, QUICK, primaries=plan.primaries // 2, fails=False)
    assert half.busiest > SMALL.utilisation
    assert half.waits is None or half.waits.p99_ms > plan.p99_wait_ms


def test_a_hot_office_is_bound_by_one_primary(costs: Costs) -> None:
    plan = make_plan(replace(SMALL, calls=1_000_000), costs)
    cold, hot = (play(plan, costs, QUICK, hot_share=share, fails=False) for share in (0, 0.3))
    assert hot.skew > cold.skew
    more = play(plan, costs, QUICK, primaries=64, hot_share=0.3, fails=False)
    assert more.busiest > 0.3 * plan.store_cores


def test_the_same_seed_gives_the_same(costs: Costs) -> None:
    plan = make_plan(replace(SMALL, calls=50_000), costs)
    first, again = (play(plan, costs, Settings(seed=7, decisions=2_000)) for _ in range(2))
    assert first == again
    assert first != play(plan, costs, Settings(seed=8, decisions=2_000))


def test_a_failover_is_recovered_from(costs: Costs) -> None:
    jobs = jobs_of(replace(SMALL, calls=50_000), costs, 1.0, SHARDS, 2)
    found = simulate_failover(jobs, costs, shards=SHARDS, away_seconds=2, patience_seconds=10, seed=1)
    assert utilisation(jobs) < 0.3
    assert found.failed == 0
    assert 0 < found.delayed < found.decisions
    assert found.recovered_seconds is not None
    assert found.recovered_seconds < 5


def test_impatient_switches_give_up(costs: Costs) -> None:
    jobs = jobs_of(replace(SMALL, calls=20_000), costs, 1.0, SHARDS, 1)
    found = simulate_failover(jobs, costs, shards=SHARDS, away_seconds=4, patience_seconds=1, seed=1)
    per_second = sum(job.per_second for job in jobs if job.is_decision)
    assert found.failed == pytest.approx(3 * per_second, rel=0.2)


def test_bytes_on_the_wire() -> None:
    assert resp_bytes([1, b"ab", None, [-5]]) == len(b"*4\r\n:1\r\n$2\r\nab\r\n$-1\r\n*1\r\n:-5\r\n")
    assert session_bytes()["authorize_call"][0] > session_bytes()["end_call"][0] > 36


def test_costs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CostsError, match="make bench"):
        read_costs(tmp_path / "none.json", RESULTS / FILE, 64)
    figures = json.loads((RESULTS / LATEST).read_text())
    path = tmp_path / "latest.json"
    path.write_text(json.dumps(figures | {"quick": True}))
    with pytest.raises(CostsError, match="smoke run"):
        read_costs(path, RESULTS / FILE, 64)
    # What the long run took lies beside.
    beside = f"sweeps-{LATEST}"
    (tmp_path / beside).write_text((RESULTS / beside).read_text())
    del figures["due"]
    path.write_text(json.dumps(figures))
    with pytest.raises(CostsError, match="due"):
        read_costs(path, RESULTS / FILE, 64)


def test_fewer_operations_in_flight_are_dearer(costs: Costs) -> None:
    few = read_costs(RESULTS / LATEST, RESULTS / FILE, 9)
    assert few.in_flight == 8
    assert few.operations["end_call"].front_micros > costs.operations["end_call"].front_micros
    assert few.operations["end_call"].store_micros > costs.operations["end_call"].store_micros


@pytest.mark.parametrize("text", ["", "{b}", "{e}", "{e}{b}", "{b}{b}{e}"])
def test_a_page_without_its_markers_stays(text: str) -> None:
    page = text.format(b="<!-- scaling:needs:begin -->", e="<!-- scaling:needs:end -->")
    with pytest.raises(PageError, match="needs one"):
        put_in(page, {"needs": ["x"]})


def test_the_page_shows_the_measured_figures() -> None:
    """python -m loadtest.scaling puts them there."""
    assert command.main(["--check"]) == 0, "run python -m loadtest.scaling"
    assert PAGE.read_text().count("| ") > 100


def test_a_page_with_other_figures_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    assert command.main(["--check", "--page", str(tmp_path / "none.md"), "--latest", "none.json"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--calls", "0"], "--calls"),
        (["--calls", "many"], "--calls"),
        (["--calls", "1.5"], "--calls"),
        (["--answered-share", "1.1"], "--answered-share"),
        (["--utilisation", "1"], "--utilisation"),
        (["--hold-seconds", "nan"], "--hold-seconds"),
        (["--hold-seconds", "inf"], "--hold-seconds"),
        (["--calls", "10", "--away-seconds", "-1"], "--away-seconds"),
        (["--decisions", "1"], "--decisions"),
        (["--hot-share", "2"], "--hot-share"),
        (["--slots", "65"], "--slots"),
        (["--check", "--calls", "10"], "--check"),
        (["--cals", "10"], "--cals"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(arguments: list[str], flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert flag in error


def test_a_demand_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    before = PAGE.read_text()
    assert command.main(["--calls", "500000", "--offices", "5000", "--away-seconds", "1", "--decisions", "2000"]) == 0
    shown = capsys.readouterr().out
    assert "500,000" in shown
    assert "Limits of this demand" in shown
    assert PAGE.read_text() == before


def test_slots_for_so_many_primaries(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--slots", "3"]) == 0
    assert capsys.readouterr().out.count("\n") == 7
