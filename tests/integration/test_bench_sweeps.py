"""The smoke run of the long benchmark: each sweep goes through, audits its books, and leaves tables and plots."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.page import read_all, render
from loadtest.postgres import find_postgres
from loadtest.report import RESULTS
from loadtest.sweeps.__main__ import SWEEPS
from loadtest.sweeps.effort import QUICK
from tests.support.servers import server_binary

ROOT = Path(__file__).parents[2]
PLOTS = {"in_flight": "in-flight", "offices": "offices", "live_calls": "live-calls", "deck": "deck"}
PNG = b"\x89PNG\r\n"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtest.sweeps", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check_in_flight(sweep: dict[str, Any]) -> None:
    for transport in ("unary", "session"):
        levels = sweep[transport]["levels"]
        assert [level["in_flight"] for level in levels] == sorted(level["in_flight"] for level in levels)
        assert all(level["gateway"]["rate_per_second"]["median"] > 0 for level in levels)
    assert all(level["ratio_to_raw"]["median"] > 0 for level in sweep["session"]["levels"])


def check_offices(sweep: dict[str, Any]) -> None:
    assert tuple(point["offices"] for point in sweep["points"]) == QUICK.offices
    check_points(sweep)


def check_live_calls(sweep: dict[str, Any]) -> None:
    assert tuple(point["live_calls"] for point in sweep["points"]) == QUICK.live_calls
    assert sweep["points"][-1]["bytes_per_live_call"] > 200
    check_points(sweep)


def check_points(sweep: dict[str, Any]) -> None:
    assert sweep["left_out"] == []
    for point in sweep["points"]:
        for yardstick in ("raw_per_second", "ratio_to_raw", "ratio_to_empty_stream", "p50_ratio"):
            assert point[yardstick]["median"] > 0


def check_compare_sizes(sweep: dict[str, Any]) -> None:
    assert [point["offices"] for point in sweep["points"]] == [QUICK.small, QUICK.large]
    assert sweep["p50_ratio"]["median"] > 0


def check_deck(sweep: dict[str, Any]) -> None:
    assert tuple(point["size"] for point in sweep["points"]) == QUICK.prefixes
    for point in sweep["points"]:
        assert 0 < point["classify_micros"]["median"] < point["library_classify_micros"]["median"]
        assert point["lookup_micros"]["median"] > 0


def check_beside_ticks(measure: dict[str, Any]) -> None:
    assert measure["ticks_per_second"]["median"] > 0
    assert measure["p99_ratio"]["median"] > 0


def check_journal(measure: dict[str, Any]) -> None:
    drain, effects = measure["drain"], measure["effect"]
    kinds = ["sqlite"] if find_postgres() is None else ["sqlite", "postgresql"]
    assert [each["database"] for each in drain["databases"]] == [each["database"] for each in effects] == kinds
    assert all(each["entries_per_second"]["median"] > 0 for each in drain["databases"])
    assert drain["databases"][0]["bytes_a_record"]["median"] > 0
    assert all(each["lag_ms"]["max"] > 0 for each in effects)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_smoke_run(sweep: str, tmp_path: Path) -> None:
    server_binary("valkey")
    ended = run("--quick", "--only", sweep, "--results", str(tmp_path), "--plots", str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Books audited" in ended.stdout
    result = json.loads((tmp_path / "sweeps-latest.json").read_text())
    assert result["quick"]
    assert result["books"]["faults"] == []
    assert sum(result["books"]["offices"].values()) > 0
    globals()[f"check_{sweep}"](result[sweep])
    plots = sorted(path.stem for path in tmp_path.glob("*.png"))
    assert plots == ([PLOTS[sweep]] if sweep in PLOTS else [])
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    page = render(result, result, *read_all(RESULTS)[2:])
    assert "mean nothing" in page
    assert all(f"](benchmarks/{plot}.png)" in page for plot in plots)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--only", "nonsense"], ["--nonsense"]])
def test_a_wrong_option_is_said(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("python -m loadtest.sweeps: error: ")
