"""What gRPC's core is told: that this version of it understands it, and that the processes of a gateway are told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.grpc_environment import GRPC_ENVIRONMENT
from tests.support.child_processes import children_of
from tests.support.gateway_process import running_gateway

UNKNOWN = "Unknown experiment"


def what_grpc_says(experiments: str) -> str:
    environment = os.environ | {"GRPC_EXPERIMENTS": experiments}
    return subprocess.run(
        [sys.executable, "-c", "import grpc"], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stderr


def test_this_grpc_knows_what_it_is_told() -> None:
    """One that no longer does goes its own way, says so at each start, and costs what it did before."""
    experiments = GRPC_ENVIRONMENT["GRPC_EXPERIMENTS"]
    assert UNKNOWN in what_grpc_says(f"{experiments},-no_such_thing")
    assert UNKNOWN not in what_grpc_says(experiments)


@pytest.mark.parametrize("program", ["gateway.kamailio", "gateway.sms", "loadtest"])
def test_other_programs_say_it_before_grpc_is_imported(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    for name in GRPC_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    looks = f"import os, sys, {program}; print('grpc' in sys.modules, os.environ['GRPC_EXPERIMENTS'])"
    told = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.split() == ["False", GRPC_ENVIRONMENT["GRPC_EXPERIMENTS"]]


@pytest.mark.parametrize("theirs", [None, "-event_engine_client"])
def test_processes_of_a_gateway_are_told_unless_somebody_knows_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str | None
) -> None:
    for name in GRPC_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    given = {} if theirs is None else {"GRPC_EXPERIMENTS": theirs}
    with running_gateway(tmp_path, **given) as gateway:
        expected = {f"{name}={value}" for name, value in (GRPC_ENVIRONMENT | given).items()}
        # Another child is the store.
        told = [
            expected <= set(Path(f"/proc/{child}/environ").read_text().split("\0"))
            for child in children_of(gateway.process.pid)
            if "gateway.process" in Path(f"/proc/{child}/cmdline").read_text()
        ]
        assert told == [True] * 3
        assert UNKNOWN not in gateway.log.read_text()
