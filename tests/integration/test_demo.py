"""`tollgate demo` as a process: the story is told, the books are right, nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway_process import clean_environment
from tests.support.servers import wait_until

COMMAND = [sys.executable, "-m", "gateway.cli", "demo"]
DEMO_SECONDS = 90


def environment(home: Path) -> dict[str, str]:
    """A home of the test's own, and a place for temporary files that shows what is left."""
    (home / "tmp").mkdir()
    return clean_environment(XDG_DATA_HOME=str(home / "share"), TMPDIR=str(home / "tmp"), PYTHONUNBUFFERED="1")


def processes_in(directory: Path) -> list[int]:
    """The processes that have this directory in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                content = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in content:
                found.append(int(entry.name))
    return found


def check_story(text: str) -> None:
    """Every scene is there, and every balance is right."""
    for scene in (
        "call to +12125550142, local",
        "international",
        "toll-free",
        "GRANTED EMERGENCY",
        "fax to",
        "GRANTED FUNDED, replayed",
        "REFUSED ALREADY_EXISTS",
        "carrier refuses it",
        "race: ",
        "DENIED INSUFFICIENT_FUNDS",
        ": blocked",
        "tick after 50 s",
        "nobody answers",
        "CREDITED, refill armed",
    ):
        assert scene in text, f"{scene} is missing in:\n{text}"
    assert re.search(r"TRIGGER \d+\.\d ms (after|before) the reply", text)
    assert text.count("race: ") == 2
    assert text.count("right to the micro") == 3
    assert "WRONG" not in text


def test_the_demo_checks_its_books_and_leaves_nothing(tmp_path: Path) -> None:
    # A store of the operator's must not be touched, so its settings are not even read.
    variables = environment(tmp_path) | {"TOLLGATE_REDIS_URL": "redis://127.0.0.1:1/0", "TOLLGATE_LISTEN": "nonsense"}
    done = subprocess.run(
        [*COMMAND, "--exit"], env=variables, capture_output=True, text=True, timeout=DEMO_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_story(done.stdout)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout, "colours belong on a terminal"
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "share").exists() or list((tmp_path / "share").iterdir()) == []
    assert processes_in(tmp_path) == []


def test_the_demo_again_on_the_same_directory(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    command = [*COMMAND, "--exit", "--data-dir", str(tmp_path / "data")]
    for _ in range(2):
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEMO_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        check_story(done.stdout)
    assert (tmp_path / "data/tollgate.db").exists()
    assert processes_in(tmp_path) == []


def test_the_demo_stays_up_for_its_three_commands(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    with subprocess.Popen(
        [*COMMAND, "--speed", "1000"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            assert demo.stdout is not None
            lines = []
            for line in demo.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            shown = [line.strip() for line in lines if line.startswith("  ") and "gateway.cli" in line]
            assert len(shown) == 3, "".join(lines)
            outputs = []
            for command in shown:
                done = subprocess.run(
                    command, shell=True, env=variables, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr
                outputs.append(done.stdout)
            assert "75 s billed" in outputs[0]
            assert re.search(r"^reserved +0\.0[1-9]", outputs[1], re.MULTILINE)
            assert re.search(r"^state +answered", outputs[2], re.MULTILINE)
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(timeout=30) == 0
    assert wait_until(lambda: processes_in(tmp_path) == [])
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "share/tollgate").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_is_stopped_in_the_middle(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--speed", "1"], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "GRANTED" in line:
                break
        demo.send_signal(number)
        out, err = demo.communicate(timeout=30)
    assert demo.returncode == 130, out + err
    assert "stopped: the gateway and its store have ended" in out
    assert err == ""
    assert processes_in(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
