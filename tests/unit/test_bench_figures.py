"""What the benchmark makes of its measurements: figures, aims, books, and tables for terminal and README."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.vocabulary import OfficeState, RefillState
from gateway.store.records import OfficeRecord, OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.v1.records_pb2 import OfficeProfile
from loadtest import readme
from loadtest.aims import judge
from loadtest.books import Books, fault_of
from loadtest.figures import Figure, Latency, percentile, rounded
from loadtest.processes import BenchError
from loadtest.readme import BEGIN, END, ReadmeError, replaced
from loadtest.store_cases import Workload, call_id_of
from loadtest.tables import Table, markdown, tables_of


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0], 51, 2.0),
        ([float(value) for value in range(1, 101)], 50, 50.0),
        ([float(value) for value in range(1, 101)], 99, 99.0),
        ([float(value) for value in range(1, 101)], 100, 100.0),
        ([float(value) for value in range(1, 1001)], 99, 990.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_nothing_measured_is_an_error() -> None:
    for make in (lambda: percentile([], 50), lambda: Figure.of([]), lambda: Latency.of([])):
        with pytest.raises(ValueError, match="at least one"):
            make()


def test_a_figure_is_a_median_with_its_spread() -> None:
    assert Figure.of([3.0, 1.0, 2.0]).to_json() == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert Figure.of([1.0, 2.0]).median == 1.5


def test_latencies_are_in_milliseconds() -> None:
    assert Latency.of([0.001, 0.002, 0.004]) == Latency(p50=2.0, p90=4.0, p99=4.0, p999=4.0, max=4.0)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (123456.0, 123500.0), (0.123456, 0.1235), (-7.891011, -7.891)]
)
def test_four_significant_digits(value: float, expected: float) -> None:
    assert rounded(value) == expected


def operation(name: str, case: str, ratio: float) -> dict[str, Any]:
    figure = {"median": 30_000.0, "low": 29_000.0, "high": 31_000.0}
    side = {"rate_per_second": figure, "cpu_micros": {"median": 33.0, "low": 32.0, "high": 34.0}}
    return {
        "operation": name,
        "case": case,
        "measured": side,
        "empty_script": side,
        "empty_function": side,
        "ratio_to_empty_script": {"median": ratio, "low": ratio, "high": ratio},
        "cpu_ratio_to_empty_script": ratio,
    }


def result(ratio: float = 0.2, *, quick: bool = False) -> dict[str, Any]:
    return {
        "taken_at": "2026-01-02T03:04:05Z",
        "commit": "abcdef0",
        "quick": quick,
        "machine": {
            "cpu": "A CPU",
            "cores": 2,
            "memory_bytes": 8 << 30,
            "system": "Linux 6",
            "python": "3.11.7",
            "packages": {"grpcio": "1.76.0"},
            "store": "valkey 9.1.2",
            "store_jemalloc": None,
            "store_file_system": "ext4",
            "load_average_before": 0.1,
            "load_average_after": 2.0,
        },
        "store_rates": {
            "rounds": 7,
            "commands_a_round": 4_000,
            "operations": [
                operation("authorize_call", "fresh id, funded", ratio),
                operation("authorize_call", "repeated", 0.4),
            ],
        },
        "memory": {
            "live_calls": 20_000,
            "call_id_characters": 36,
            "bytes_per_live_call": 390.0,
            "of_that_due_entry": 118.0,
            "bytes_per_ended_call": 160.0,
            "bytes_per_outbox_entry": 210.0,
            "bytes_per_office": 360.0,
        },
    }


def test_an_aim_is_met_at_its_number_and_missed_by_so_many_percent_of_it() -> None:
    judged = {(aim["name"], aim["aim"]): aim for aim in judge(result(0.25))}
    raw = "authorize_call raw, against an empty script"
    assert judged[raw, ">= 0.25"]["met"]
    assert judged[raw, ">= 0.25"]["missed_by_percent"] == 0.0
    assert not judged[raw, ">= 0.35"]["met"]
    assert judged[raw, ">= 0.35"]["missed_by_percent"] == 28.57
    assert judged["bytes of a live call", "<= 400"]["met"]


def test_an_aim_without_its_measure_is_not_judged() -> None:
    assert judge({}) == []


def test_every_row_has_a_cell_for_each_column() -> None:
    tables = tables_of(result())
    assert [row[0] for row in tables[0].rows] == ["authorize_call, fresh id, funded", "authorize_call, repeated"]
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_markdown() -> None:
    table = Table("Title", ("what", "n"), (("a", "1"), ("bcdef", "23,000")), "A note.")
    assert markdown(table) == (
        "**Title**\n\n| what  |      n |\n| ----- | -----: |\n| a     |      1 |\n| bcdef | 23,000 |\n\nA note."
    )


def test_what_stands_between_the_markers_is_replaced() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replaced(text, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(once, "new") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_without_one_pair_of_markers_the_readme_stays(text: str) -> None:
    with pytest.raises(ReadmeError, match="needs one"):
        replaced(text, "new")


def test_the_readme_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, latest = tmp_path / "README.md", tmp_path / "latest.json"
    path.write_text(f"# Name\n{BEGIN}{END}\n")
    latest.write_text(json.dumps(result() | {"aims": judge(result())}))
    arguments = ["--readme", str(path), "--latest", str(latest)]
    assert readme.main([*arguments, "--check"]) == 1
    assert readme.main(arguments) == 0
    assert readme.main([*arguments, "--check"]) == 0
    text = path.read_text()
    assert "commit abcdef0" in text
    assert "missed by 20 %" in text
    assert "Operations of the store" not in text
    latest.write_text(json.dumps(result(quick=True)))
    assert readme.main(arguments) == 1
    assert "smoke run" in capsys.readouterr().err
    assert path.read_text() == text


def office(balance: int, reserved: int = 0, calls: int = 0) -> OfficeRecord:
    settings = OfficeSettingsRecord(1, OfficeState.ACTIVE, 0, 0, 0, 0, 0, 0, 1)
    counters = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return OfficeRecord(
        balance, reserved, calls, 0, 0, 1, 0, RefillState.ARMED, *counters, settings=settings, profile=OfficeProfile()
    )


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (office(5), None),
        (office(4), "a has 4 micros, and the answers say 5"),
        (office(5, reserved=1, calls=1), "a still holds 1 micros for 1 calls"),
        (office(5, calls=1), "a still holds 0 micros for 1 calls"),
        (None, "a is not in the store"),
    ],
)
def test_what_the_audit_finds(found: OfficeRecord | None, fault: str | None) -> None:
    assert fault_of("a", 5, found) == fault


def test_wrong_books_fail_and_say_which() -> None:
    books = Books()
    books.audit("good", {"a": 5}, {"a": office(5)})
    with pytest.raises(BenchError, match="bad: a has 4"):
        books.audit("bad", {"a": 5}, {"a": office(4)})
    assert books.offices == {"good": 1, "bad": 1}
    assert books.faults == ["bad: a has 4 micros, and the answers say 5"]


def test_every_script_is_measured() -> None:
    workload = Workload(offices=2, now_ms=1_700_000_000_000)
    measured = {step.operation for step in workload.round(0) if step.timed}
    assert measured | {"trim_outbox", "restore_office"} == set(load_library().functions)


def test_ids_are_fresh_and_as_long_as_a_uuid() -> None:
    ids = [call_id_of(kind, number, index) for kind in "ab" for number in range(3) for index in range(3)]
    assert len(set(ids)) == len(ids)
    assert {len(name) for name in ids} == {36}
