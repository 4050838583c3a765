"""`tollgate demo` as a process: the story is told, the books are right, nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.gateway_process import clean_environment
from tests.support.servers import wait_until

COMMAND = [sys.executable, "-m", "gateway.cli", "demo"]
DEMO_SECONDS = 120

CUT_LIMIT_MS = 1_000
"""The contract: the command comes within a second after the end of the granted time."""

CLOCK_ERROR_MS = 50
"""The gateway knows the store's clock, by which it cuts, to half a round trip, which a busy machine makes long."""


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
    check_live_act(text[text.index("Live, in real time") :])
    assert text.count("right to the micro") == 4
    assert "WRONG" not in text


def check_live_act(text: str) -> None:
    """The gateway ticked, cut one call on time, and let the other one go on once its refill had come."""
    cut = re.search(r"^.* corner .*: its 10 s are over +CUT (-?\d+) ms after their end", text, re.MULTILINE)
    assert cut is not None, text
    assert -CLOCK_ERROR_MS <= int(cut[1]) <= CUT_LIMIT_MS
    assert re.search(r" corner .*: cut after \d+ s +10 s billed", text)
    scenes = (
        r"studio .*GRANTED FUNDED, 3 s",
        r"studio .*refill of 50.00 is asked for +TRIGGER studio/\d+",
        r"studio .*: warn the caller +LOW, 14 s are the last",
        r"studio .*card charged, \d\.\d s before the cut +CREDITED, refill armed +-50\.00",
        r"studio .*: goes on +RESTORED, 17 s granted",
        r"studio .*: hangs up after \d\d s +\d\d s billed",
    )
    places = [match and match.start() for match in (re.search(scene, text) for scene in scenes)]
    assert None not in places, f"{places}:\n{text}"
    assert places == sorted(places, key=lambda place: place or 0), text
    check_ticks(text)


def check_ticks(text: str) -> None:
    """Each call was ticked more than once, and what it had cost only grew."""
    costs = dict[tuple[str, str], list[Decimal]]()
    for office, number, cost in re.findall(
        r"^ *[\d.]+s  (\w+) +call to (\+\d+): tick after \d+ s +\d+ s granted +(\d+\.\d+) ", text, re.MULTILINE
    ):
        costs.setdefault((office, number), []).append(Decimal(cost))
    assert {office for office, _ in costs} == {"corner", "studio", "sunrise"}
    assert len(costs) == 4
    for of, each in costs.items():
        assert len(each) > 1, of
        assert each == sorted(set(each)), of


def test_the_demo_checks_its_books_and_stays_up_for_its_three_commands(tmp_path: Path) -> None:
    # A store of the operator's must not be touched, so its settings are not even read.
    foreign = {"TOLLGATE_REDIS_URL": "redis://127.0.0.1:1/0", "TOLLGATE_LISTEN": "nonsense"}
    variables = environment(tmp_path)
    with subprocess.Popen(
        [*COMMAND, "--speed", "1000"],
        env=variables | foreign,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        try:
            assert demo.stdout is not None
            lines = []
            for line in demo.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            check_story("".join(lines))
            assert "\x1b" not in "".join(lines), "colours belong on a terminal"
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


@pytest.mark.slow
def test_the_demo_again_on_the_same_directory(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    command = [*COMMAND, "--exit", "--data-dir", str(tmp_path / "data")]
    for _ in range(2):
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEMO_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        check_story(done.stdout)
    assert (tmp_path / "data/tollgate.db").exists()
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "speed", "scene"),
    [
        (signal.SIGINT, "1", "GRANTED"),
        (signal.SIGTERM, "1", "GRANTED"),
        (signal.SIGINT, "1000", "Live, in real time"),
        (signal.SIGINT, "1000", "studio   call to"),
        (signal.SIGTERM, "1000", "TRIGGER studio"),
    ],
)
def test_the_demo_is_stopped_in_the_middle(tmp_path: Path, number: signal.Signals, speed: str, scene: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "--speed", speed],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if scene in line:
                break
        demo.send_signal(number)
        out, err = demo.communicate(timeout=30)
    assert demo.returncode == 130, out + err
    assert "stopped: the gateway and its store have ended" in out
    assert err == ""
    assert processes_in(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
