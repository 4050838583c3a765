"""The chaos run: its plan comes from its seed, its arithmetic finds what is lost or doubled, and it runs."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.chaos.books import (
    QUIET,
    Books,
    Key,
    Kind,
    Occurrence,
    Tally,
    compare,
    tally,
    tally_unexplained,
    unexplained,
)
from loadtest.chaos.faults import FAULTS, may_overlap
from loadtest.chaos.means import Means
from loadtest.chaos.page import PAGE, render
from loadtest.chaos.plan import LEAD_SECONDS, make_plan, together
from loadtest.chaos.possible import possible
from loadtest.chaos.report import is_clean
from loadtest.chaos.stores.form import Form
from loadtest.machine import ROOT
from loadtest.processes import BenchError
from loadtest.report import RESULTS
from tests.support.servers import server_binary

LIMIT_SECONDS = 240
PRIMARY_KILL = Occurrence("primary killed", 100.0, 4.0, on_its_way_seconds=1.0, office_ids=frozenset({"office"}))
KILL = Occurrence("store killed", began_at=100.0, may_lose_seconds=2.0)


# The plan.


def test_the_same_seed_and_seconds_give_the_same_plan() -> None:
    assert make_plan(7, 300.0) == make_plan(7, 300.0)
    assert make_plan(7, 300.0) != make_plan(8, 300.0)


@pytest.mark.parametrize("seed", range(20))
def test_five_minutes_have_each_fault_and_two_at_a_time_at_most(seed: int) -> None:
    plan = make_plan(seed, 300.0)
    assert {planned.fault for stage in plan for planned in stage.faults} == set(FAULTS)
    assert sum(stage.seconds for stage in plan) == 300.0
    for stage in plan:
        assert all(stage.form in FAULTS[planned.fault].forms for planned in stage.faults)
        assert stage.faults[0].start_seconds >= LEAD_SECONDS
        assert max(planned.end_seconds for planned in stage.faults) <= stage.seconds - LEAD_SECONDS
        groups = together(stage.faults)
        assert [planned for group in groups for planned in group] == list(stage.faults)
        assert {len(group) for group in groups} <= {1, 2}
        assert all(may_overlap(*(FAULTS[each.fault] for each in group)) for group in groups if len(group) == 2)


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_has_a_primary_of_each_kind_killed(seed: int) -> None:
    tried = {planned.fault for stage in make_plan(seed, 60.0) for planned in stage.faults}
    assert {"primary killed", "primary of a Cluster killed"} <= tried


def test_some_faults_overlap() -> None:
    assert any(len(group) == 2 for stage in make_plan(1, 300.0) for group in together(stage.faults))


@pytest.mark.parametrize(
    ("names", "forms"),
    [
        (["retries", "store killed"], [Form.ONE]),
        (["retries"], [Form.ONE]),
        (["primary killed"], [Form.SENTINELS]),
        (["worker killed", "primary of a Cluster killed", "disk full"], [Form.ONE, Form.CLUSTER]),
    ],
)
def test_a_plan_may_be_of_some_faults_on_the_stores_that_they_need(names: list[str], forms: list[Form]) -> None:
    plan = make_plan(1, 60.0, names)
    assert [stage.form for stage in plan] == forms
    assert {planned.fault for stage in plan for planned in stage.faults} == set(names)
    assert sum(len(stage.faults) for stage in plan) > len(names)


def test_what_cannot_be_had_leaves_the_times_of_all_else() -> None:
    [stage] = make_plan(1, 60.0, ["retries", "disk full"])
    left = stage.without(["disk full"])
    assert left.faults == tuple(each for each in stage.faults if each.fault == "retries")
    assert left.seconds == stage.seconds


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_a_machine_has_not_is_left_out_and_an_error_where_all_is_to_be_there(
    monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("tests.support.false_clock._PLACES", Path("/nowhere"))
    plan, said = make_plan(1, 60.0, ["retries", "clock ahead"]), list[str]()
    if ci:
        with pytest.raises(BenchError, match=r"clock ahead is left out: .*apt-get install faketime"):
            possible(plan, said.append)
        return
    [stage] = possible(plan, said.append)
    assert {planned.fault for planned in stage.faults} == {"retries"}
    assert said == ["clock ahead is left out: faketime is not on this machine (apt-get install faketime)"]


@pytest.mark.parametrize("ci", ["", "true"])
def test_who_may_not_mount_a_disk_does_without_a_full_one(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("loadtest.chaos.means._IS_THERE", {Means.SMALL_DISK: lambda: False})
    said: list[str] = []
    [stage] = possible(make_plan(1, 60.0, ["retries", "disk full"]), said.append)
    assert {planned.fault for planned in stage.faults} == {"retries"}
    assert len(said) == 1
    assert said[0].startswith("disk full is left out: only root may mount")


def test_too_little_time_gives_no_faults() -> None:
    assert not any(stage.faults for stage in make_plan(1, 2 * LEAD_SECONDS))


# The arithmetic.


def books_of(answers: Mapping[Key, int], during: str = "store slow") -> Books:
    """Operations that were asked during a fault, and answered 10 s before the store was killed."""
    books = Books()
    books.goes_on(during, at=80.0)
    for key, micros in answers.items():
        books.acknowledge(books.ask(*key, at=85.0), micros, at=90.0)
    return books


CALL = Key(Kind.CALL, "office", "c1")
MESSAGE = Key(Kind.MESSAGE, "office", "m1")
REFUND = Key(Kind.REFUND, "office", "m1")
CREDIT = Key(Kind.CREDIT, "office", "k1")
ANSWERS = {CALL: 120_000, MESSAGE: 8_500, REFUND: 8_500, CREDIT: 50_000}
OPENING = {"office": 1_000_000}
BALANCE = 1_000_000 - 120_000 - 8_500 + 8_500 + 50_000


def tallied(books: Books, found: Mapping[Key, int]) -> dict[str, Tally]:
    return tally(compare(books.operations.values(), found, [KILL]))


def test_books_that_agree_have_nothing_lost_or_doubled() -> None:
    books = books_of(ANSWERS)
    assert tallied(books, ANSWERS) == {}
    assert unexplained(books.operations.values(), ANSWERS, OPENING, {"office": BALANCE}) == {}


@pytest.mark.parametrize("key", ANSWERS)
def test_an_operation_that_the_ledger_has_not_is_lost(key: Key) -> None:
    found = {other: micros for other, micros in ANSWERS.items() if other != key}
    assert tallied(books_of(ANSWERS), found) == {"store slow": Tally(lost=1, lost_micros=ANSWERS[key])}


@pytest.mark.parametrize("key", ANSWERS)
def test_an_operation_that_the_ledger_has_in_part_is_lost_in_part(key: Key) -> None:
    found = {**ANSWERS, key: ANSWERS[key] - 1}
    assert tallied(books_of(ANSWERS), found) == {"store slow": Tally(lost=1, lost_micros=1)}


@pytest.mark.parametrize("key", ANSWERS)
def test_an_operation_that_the_ledger_has_twice_is_doubled(key: Key) -> None:
    found = {**ANSWERS, key: 2 * ANSWERS[key]}
    assert tallied(books_of(ANSWERS), found) == {"store slow": Tally(doubled=1, doubled_micros=ANSWERS[key])}


def test_a_denial_that_was_debited_is_doubled() -> None:
    found = {MESSAGE: 8_500}
    assert tallied(books_of({MESSAGE: 0}), found) == {"store slow": Tally(doubled=1, doubled_micros=8_500)}


def test_a_repeat_that_is_no_replay_shows_that_the_first_was_lost_even_if_it_is_there_again() -> None:
    books = books_of(ANSWERS)
    books.acknowledge(books.operations[CALL], 120_000, at=95.0, replayed=False)
    assert tallied(books, ANSWERS) == {"store slow": Tally(lost=1, lost_micros=120_000)}


def test_a_repeat_that_finds_nothing_shows_that_the_first_was_lost() -> None:
    books = books_of(ANSWERS)
    books.not_found(books.operations[CALL], at=95.0)
    assert tallied(books, ANSWERS)["store slow"].lost == 1


def test_a_replay_changes_nothing() -> None:
    books = books_of(ANSWERS)
    books.acknowledge(books.operations[CALL], 120_000, at=95.0, replayed=True)
    assert tallied(books, ANSWERS) == {}
    assert not books.faults


def test_another_answer_to_a_repeat_is_a_fault() -> None:
    books = books_of(ANSWERS)
    books.acknowledge(books.operations[CALL], 60_000, at=95.0, replayed=True)
    assert books.faults == ["call c1 of office was answered 120000 micros, and then 60000"]


@pytest.mark.parametrize("micros", [0, 60_000])
def test_what_was_lost_may_be_settled_otherwise_and_counts_as_that(micros: int) -> None:
    books = books_of(ANSWERS)
    books.acknowledge(books.operations[CALL], micros, at=95.0, replayed=False)
    found = tallied(books, {**ANSWERS, CALL: micros})
    assert (found["store slow"].lost, found["store slow"].doubled) == (1, 0)
    assert not books.faults


@pytest.mark.parametrize(("answered_at", "is_near"), [(91.9, False), (92.0, True), (108.0, True), (108.1, False)])
def test_records_are_gone_through_on_both_sides_of_a_kill(answered_at: float, is_near: bool) -> None:
    assert PRIMARY_KILL.is_near("office", answered_at) == is_near
    assert not PRIMARY_KILL.is_near("another", 100.0)


@pytest.mark.parametrize(("answered_at", "is_stated"), [(97.9, False), (98.0, True), (100.0, True), (100.1, False)])
def test_what_a_kill_of_the_store_may_lose_was_acknowledged_just_before_it(answered_at: float, is_stated: bool) -> None:
    books = Books()
    books.acknowledge(books.ask(*CALL, at=90.0), 120_000, answered_at)
    found = tallied(books, {})
    assert found == {
        "store killed" if is_stated else QUIET: Tally(lost=1, lost_micros=120_000, lost_as_stated=int(is_stated))
    }


@pytest.mark.parametrize(
    ("office_id", "answered_at", "is_stated"),
    [
        ("office", 95.9, False),
        ("office", 96.0, True),
        ("office", 101.0, True),
        ("office", 101.1, False),
        ("another", 99.0, False),
    ],
)
def test_what_a_kill_of_a_primary_may_lose_was_acknowledged_by_it_just_before(
    office_id: str, answered_at: float, is_stated: bool
) -> None:
    books = Books()
    books.acknowledge(books.ask(Kind.CALL, office_id, "c1", at=90.0), 120_000, answered_at)
    [found] = compare(books.operations.values(), {}, [PRIMARY_KILL])
    assert found.is_lost
    assert found.is_stated == is_stated


@pytest.mark.parametrize(("granted_at", "is_stated"), [(95.0, False), (99.0, True)])
def test_a_call_that_was_granted_and_then_is_not_known_is_lost(granted_at: float, is_stated: bool) -> None:
    books = Books()
    operation = books.ask(*CALL, at=90.0)
    operation.granted_at, operation.vanished = granted_at, True
    books.not_found(operation, at=105.0)
    fault = "primary killed" if is_stated else QUIET
    assert tally(compare([operation], {}, [PRIMARY_KILL])) == {fault: Tally(lost=1, lost_as_stated=int(is_stated))}


def test_tallies_of_several_stages_add_up() -> None:
    assert Tally(1, 2, 3, 4, 5) + Tally(lost=10, doubled_micros=20) == Tally(11, 2, 3, 4, 25)


def test_a_kill_of_the_store_excuses_nothing_that_is_doubled() -> None:
    books = Books()
    books.acknowledge(books.ask(*CALL, at=90.0), 120_000, 99.0)
    assert tallied(books, {CALL: 240_000}) == {QUIET: Tally(doubled=1, doubled_micros=120_000)}


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "during"),
    [
        (1.0, 2.0, QUIET),
        (1.0, 11.0, "store stopped"),
        (11.0, 12.0, "store stopped"),
        (11.0, 31.0, "store stopped"),
        (21.0, 22.0, QUIET),
        (21.0, 45.0, "retries"),
    ],
)
def test_an_operation_counts_for_the_fault_that_it_met_first(asked_at: float, answered_at: float, during: str) -> None:
    books = Books()
    operation = books.ask(*CALL, at=asked_at)
    for at, fault in ((10.0, "store stopped"), (20.0, QUIET), (30.0, "retries"), (40.0, QUIET)):
        if at <= answered_at:
            books.goes_on(fault, at)
    books.acknowledge(operation, 120_000, answered_at)
    assert operation.during == during


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_balance_that_neither_answers_nor_ledger_explain_is_found(difference: int) -> None:
    operations = books_of(ANSWERS).operations.values()
    found = unexplained(operations, ANSWERS, OPENING, {"office": BALANCE + difference})
    assert found == {"office": difference}
    is_lost = difference > 0
    assert tally_unexplained(found) == Tally(
        lost=int(is_lost), lost_micros=int(is_lost), doubled=int(not is_lost), doubled_micros=int(not is_lost)
    )


@pytest.mark.parametrize(
    ("row", "faults", "expected"),
    [
        ({"lost": 0, "lost_as_stated": 0, "doubled": 0}, [], True),
        ({"lost": 1, "lost_as_stated": 1, "doubled": 0}, [], True),
        ({"lost": 2, "lost_as_stated": 1, "doubled": 0}, [], False),
        ({"lost": 0, "lost_as_stated": 0, "doubled": 1}, [], False),
        ({"lost": 0, "lost_as_stated": 0, "doubled": 0}, ["a call was never answered"], False),
    ],
)
def test_what_makes_a_run_fail(row: dict[str, int], faults: list[str], expected: bool) -> None:
    assert is_clean({"faults": {"store killed": row}, "books": {"faults": faults}}) == expected


# The page, and a run.


def test_the_page_shows_a_result_that_is_kept() -> None:
    page = PAGE.read_text()
    shown = [path for path in RESULTS.glob("chaos-*.json") if path.name in page]
    assert len(shown) == 1
    result = json.loads(shown[0].read_text())
    assert render(result, shown[0].name) in page
    assert is_clean(result)


@pytest.mark.slow
@pytest.mark.xdist_group("load")
def test_a_short_run_finds_nothing_lost_or_doubled(tmp_path: Path) -> None:
    server_binary("valkey")
    faults = ("store killed", "store cut after the send", "store partitioned", "retries")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.chaos", "--seconds", "12", "--seed", "3", "--results", str(tmp_path)),
            *(word for name in faults for word in ("--fault", name)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.iterdir()
    result: Any = json.loads(path.read_text())
    assert result["seed"] == 3
    [stage] = make_plan(3, 12.0, faults)
    assert [each["fault"] for each in result["planned"]] == [each.fault for each in stage.faults]
    assert result["timeline"]
    assert result["books"]["operations"] > 100
    assert all(row["emergencies"]["granted"] for row in result["faults"].values())
