"""Profiles, the climb, the talk of people, and what their spending asks for: all that needs no gateway."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median

import pytest

from loadtest.load.answers import MOST_FAULTS, Answers
from loadtest.load.histogram import Histogram
from loadtest.load.offices import OVER_THRESHOLD_MICROS, REFILL_MICROS, Offices, expected_balances, refills_due
from loadtest.users.plan import Plan
from loadtest.users.profiles import PROFILES, Climb, Kind, Profile
from loadtest.users.talk import Called, plan_call, plan_paid_call

LOADTEST = Path(__file__).parents[2] / "loadtest"
OPENING = REFILL_MICROS + OVER_THRESHOLD_MICROS


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_covers_the_whole_run(profile: Profile) -> None:
    times = [time for time, _ in profile.load]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (0.0, 1.0)
    assert all(0 < share <= 1 for _, share in profile.load)
    assert all(weight > 0 for weight in profile.mix.values())
    assert Kind.CEILING not in profile.mix


@pytest.mark.parametrize(
    ("time", "users"), [(0.0, 10), (0.1, 20), (0.2, 30), (0.3, 70), (0.5, 155), (0.6, 200), (0.8, 200), (1.5, 200)]
)
def test_the_morning_ramps_up(time: float, users: int) -> None:
    assert PROFILES["morning"].users_at(time, 200) == users


def test_there_is_always_somebody() -> None:
    assert PROFILES["morning"].users_at(0.0, 3) == 1


def climb(good_below: int, most: int = 1_000) -> Climb:
    found = Climb(5.0, 10, most)
    while found.found is None:
        found.judge(4.9 if found.users < good_below else 5.1)
        assert len(found.steps) < 100
    return found


@pytest.mark.parametrize("good_below", [11, 15, 300, 700])
def test_a_climb_ends_below_the_last_good_step(good_below: int) -> None:
    climbed = climb(good_below)
    good = max(users for users, p99 in climbed.steps if p99 < 5)
    assert climbed.found == round(0.9 * good)
    assert climbed.found < good_below
    assert [p99 for _, p99 in climbed.steps[-4:]] == [4.9, 5.1, 5.1, 5.1], "a step too high is tried three times"


def test_a_climb_ends_with_all_there_may_be() -> None:
    assert climb(10_000, most=100).found == 90


def test_a_climb_goes_on_after_a_disturbance() -> None:
    climbing = Climb(5.0, 10, 1_000)
    climbing.judge(4.0)
    users = climbing.users
    climbing.judge(50.0)
    climbing.judge(50.0)
    assert (climbing.users, climbing.found) == (users, None)
    climbing.judge(4.0)
    assert climbing.users > users


def test_a_climb_whose_first_step_is_too_high_begins_again_with_half() -> None:
    climbed = climb(7)
    assert [users for users, _ in climbed.steps] == [10, 10, 10, 5, 6, 8, 8, 8]
    assert climbed.found == round(0.9 * 6)


def test_a_climb_that_no_step_is_good_for_goes_on_with_less_than_the_first() -> None:
    climbed = climb(0)
    assert [users for users, _ in climbed.steps] == [10, 10, 10, 5, 5, 5, 2, 2, 2, 1, 1, 1]
    assert climbed.found == 9


def test_a_whole_run_that_does_not_keep_the_aim_gives_way() -> None:
    climbed = climb(300)
    assert climbed.found is not None
    users = []
    while climbed.give_way(6.0):
        assert climbed.steps[-1] == (climbed.steps[-1][0], 6.0)
        users.append(climbed.found)
    assert users[0] == int(0.85 * climb(300).users)
    assert all(later < earlier for earlier, later in pairwise(users))
    assert users[-1] == 1, "an eighth of the first step"


def test_people_talk_as_people_do() -> None:
    chance = Random(1)
    calls = [plan_call(chance) for _ in range(5_000)]
    talks = [call.talk_seconds for call in calls if call.talk_seconds]
    assert len(talks) / len(calls) == pytest.approx(0.75, abs=0.03)
    assert median(talks) == pytest.approx(85, rel=0.1)
    assert 140 < sum(talks) / len(talks) < 180
    assert max(talks) <= 3_600
    assert {call.called for call in calls} == set(Called)
    assert {call.called_number for call in calls if call.called is Called.EMERGENCY} == {"911"}
    assert plan_paid_call(chance).called is Called.ABROAD


@pytest.mark.parametrize(
    ("debited", "refills"),
    [
        (0, 0),
        (OVER_THRESHOLD_MICROS, 0),  # at the threshold is not below it
        (OVER_THRESHOLD_MICROS + 1, 1),
        (OVER_THRESHOLD_MICROS + REFILL_MICROS, 1),
        (OVER_THRESHOLD_MICROS + REFILL_MICROS + 1, 2),
    ],
)
def test_what_was_spent_says_how_many_refills_there_were(debited: int, refills: int) -> None:
    assert refills_due(OPENING, debited) == refills


def test_what_the_offices_must_have() -> None:
    offices = Offices.named("r", funded=1, unfunded=1, refilled=2)
    funded, unfunded, first, second = offices.all()
    debited = {funded: 7, first: OVER_THRESHOLD_MICROS + 1}
    opening = offices.opening_micros()
    assert expected_balances(offices, debited) == {
        funded: opening[funded] - 7,
        unfunded: 0,
        first: 2 * REFILL_MICROS - 1,
        second: OPENING,
    }


def test_answers_that_disagree_are_a_fault() -> None:
    answers = Answers()
    answers.call_ended("o", "+44", 60, 100, 20)
    answers.call_ended("o", "+44", 60, 120, 0)
    assert answers.fault_count == 0
    answers.call_ended("o", "+44", 60, 121, 0)
    assert answers.faults == ["60 s to +44 cost 120 micros, and then 121"]
    assert answers.debited == {"o": 341}
    for _ in range(2 * MOST_FAULTS):
        answers.fault("wrong")
    assert len(answers.faults) == MOST_FAULTS
    assert Answers.from_json(answers.to_json()) == answers


def test_a_histogram_is_exact_to_three_digits() -> None:
    histogram, other = Histogram(), Histogram()
    assert histogram.to_json()["p99_ms"] == 0
    for millisecond in range(1, 1_001):
        histogram.record(millisecond / 1000)
    other.record(-1)
    other.record(3_600)
    assert histogram.percentile_ms(50) == pytest.approx(500, rel=0.001)
    assert histogram.percentile_ms(99) == pytest.approx(990, rel=0.001)
    assert histogram.to_json()["max_ms"] == 1_000
    histogram.add(other)
    assert histogram.count == 1_002
    assert histogram.to_json()["max_ms"] == 600_000


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan(
        server="127.0.0.1:1",
        token="secret",
        run_id="r",
        offices=Offices.named("r", funded=2, unfunded=1),
        profile="steady",
        users=3,
        seconds=1.5,
        scale=60.0,
        aim_ms=5.0,
        step_seconds=10.0,
        seed=1,
        supervisor_pid=None,
        result=tmp_path / "result.json",
    )
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o600


def test_only_the_locust_process_imports_locust() -> None:
    """It patches the standard library of whoever imports it."""
    importers = {
        path.relative_to(LOADTEST).as_posix()
        for path in LOADTEST.rglob("*.py")
        if any(
            line.startswith(("from locust ", "import locust", "import gevent"))
            for line in path.read_text().splitlines()
        )
    }
    assert importers == {"users/locustfile.py", "users/population.py", "users/shape.py"}
    code = "import sys, loadtest.users.__main__; print(*{'gevent', 'locust'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
    assert not {"gevent", "locust"} & set(sys.modules), "its pytest plugin is off, and no test imports it"
