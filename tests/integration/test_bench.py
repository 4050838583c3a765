"""The benchmark's smoke run: it goes through, audits its books, and leaves what the README is made of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.store.scripts import load_library
from loadtest.bench import MEASURES
from loadtest.effort import QUICK
from loadtest.lives import MIXES
from loadtest.mixes import TRANSPORTS
from loadtest.programs import H2LOAD, REDIS_BENCHMARK
from tests.support.servers import server_binary

ROOT = Path(__file__).parents[2]
OUTSIDE = {"independent": H2LOAD, "redis_benchmark": REDIS_BENCHMARK}
"""Measures that need a program which is not ours."""


def figures(result: Any) -> list[dict[str, float]]:
    """Every figure in a result, however deep."""
    if isinstance(result, dict):
        found = [result] if result.keys() == {"median", "low", "high"} else []
        return found + [figure for value in result.values() for figure in figures(value)]
    return [figure for value in result for figure in figures(value)] if isinstance(result, list) else []


@pytest.mark.slow
def test_smoke_run(tmp_path: Path) -> None:
    server_binary("valkey")
    ended = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Books audited" in ended.stdout
    result = json.loads((tmp_path / "latest.json").read_text())
    [kept] = [path for path in tmp_path.iterdir() if path.name != "latest.json"]
    assert kept.name.endswith(f"-{result['commit']}.json")
    assert json.loads(kept.read_text()) == result
    assert result["quick"]
    assert result["machine"]["cores"] >= 1
    assert result["books"]["audited"]
    assert result["books"]["faults"] == []
    skipped = {name for name in MEASURES if "skipped" in result[name]}
    assert skipped == {name for name, program in OUTSIDE.items() if shutil.which(program) is None}
    assert set(result["books"]["offices"]) == set(MEASURES) - skipped
    assert all(result["books"]["offices"].values())
    # All that ever runs while there are calls; an office is restored while there are none.
    timed = set(load_library().functions) - {"restore_office"}
    assert {row["operation"] for row in result["store_rates"]["operations"]} == timed
    for level in result["unary"]["levels"]:
        assert level["gateway"]["both"]["p50_ms"]["median"] <= level["gateway"]["both"]["max_ms"]["median"]
        assert set(level["gateway"]["cpu_micros_per_rpc"]) == {"front", "store", "generator"}
    assert result["memory"]["bytes_per_live_call"] > 0
    assert result["trigger_delay"]["load_calls"] > 0
    for level in result["session"]["levels"]:
        assert set(level["gateway"]["cpu_micros_per_operation"]) == {"front", "store", "generator"}
        assert level["raw_per_second"]["median"] > 0
    assert result["session"]["open_loop"]["gateway"]["lag"]["p50_ms"]["median"] >= 0
    assert result["due"]["calls"] == QUICK.due_calls
    assert result["due"]["ticks_per_second"]["median"] > 0
    # The clocks are the same, but the store's is read in whole milliseconds.
    assert result["cut_lateness"]["lateness_ms"]["min"] >= -5
    assert result["idle_sessions"]["sessions"] == QUICK.idle_sessions
    assert result["idle_sessions"]["bytes_per_session"] > 0
    assert result["trigger_delay"]["busy_elsewhere_ms"]["max"] >= result["trigger_delay"]["busy_elsewhere_ms"]["min"]
    for measure in ("session", "unary"):
        assert result[measure]["open_loop"]["p99_ratio"]["median"] > 0
    assert {(mix["transport"], mix["mix"]) for mix in result["mixes"]["mixes"]} == {
        (transport, mix) for transport in TRANSPORTS for mix in MIXES
    }
    for mix in result["mixes"]["mixes"]:
        assert set(mix["gateway"]["latency"]) == set(MIXES[mix["mix"]])
    judged = {(aim["name"], aim["aim"]) for aim in result["aims"]}
    assert len(judged) == len(result["aims"]) > 10
    assert figures(result)
    assert all(figure["low"] <= figure["median"] <= figure["high"] for figure in figures(result))


@pytest.mark.parametrize("arguments", [["--only", "nonsense"], ["--nonsense"]])
def test_a_wrong_option_is_said(arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "usage:" in ended.stderr
