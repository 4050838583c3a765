"""`tollgate demo` as a process: the story is told, the books are right, nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.cli.demo.live_act import SPARE_SECONDS
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
    ):
        assert scene in text, f"{scene} is missing in:\n{text}"
    assert re.search(r"TRIGGER \d+\.\d ms (after|before) reply", text)
    assert text.count("race: ") == 2
    check_purchase(text[: text.index("One minute of their day")])
    check_refill_of_the_day(text)
    check_live_act(text[text.index("Live, in real time") :])
    check_report(text[text.index("corner pays by invoice") :])
    assert text.count("right to the micro") == 4
    assert "WRONG" not in text
    assert re.search(
        r"^  audit: ledger, outbox and store agree to the micro \(4 offices, \d+ usage records\)$", text, re.MULTILINE
    )
    # Before and after the story stand paths, which are as long as they are.
    story = text[text.index("Their admin buys") :].partition("The gateway stays up")[0]
    assert [line for line in story.splitlines() if len(line) > 120] == []


def check_purchase(text: str) -> None:
    """What is refused moves nothing; what is bought is there once, and as much as was bought."""
    rows = re.findall(r"^ *[\d.]+s  sunrise .*?(REFUSED \w+|CREDITED \w+).* (\d+\.\d+) +\d+\.\d+$", text, re.MULTILINE)
    balances = {answer: Decimal(balance) for answer, balance in rows}
    bought = balances["CREDITED by"] - balances["REFUSED AMOUNT_NOT_OFFERED"]
    assert bought == Decimal(20)
    assert balances["CREDITED once"] == balances["CREDITED by"]
    assert (
        balances.get("REFUSED CARD_UNCONFIRMED", balances["REFUSED AMOUNT_NOT_OFFERED"])
        == balances["REFUSED AMOUNT_NOT_OFFERED"]
    )


def check_links(text: str) -> None:
    """The operator and an admin can each sign in to the page."""
    links = re.findall(
        r"^  http://127\.0\.0\.1:\d+/sign-in/([\w-]{43})  as (the operator|an admin) ?", text, re.MULTILINE
    )
    assert [who for _, who in links] == ["the operator", "an admin"]
    assert len({secret for secret, _ in links}) == 2


def check_confirmation(text: str) -> None:
    """A card that is new cannot pay before the amount of its small charge was told."""
    scenes = (
        r"sunrise  adds a card: visa 4242 +UNCONFIRMED",
        r"sunrise  buys 20\.00 with it at once +REFUSED CARD_UNCONFIRMED",
        r"sunrise  types the charge's amount, [01]\.\d\d +CONFIRMED",
        r"sunrise  buys 20\.00 +CREDITED by visa 4242 +-20\.00 +20\.00 +20\.00",
    )
    check_order(text, scenes)


def check_refill_of_the_day(text: str) -> None:
    """The gateway itself has paid for the dip, once, and by the card of that office."""
    paid = re.findall(
        r"^00:\d\d  harbor +harbor/\d+: mastercard 4444 charged +CREDITED \d+\.\d s .* -50\.00 ", text, re.MULTILINE
    )
    assert len(paid) == 1, text


def check_report(text: str) -> None:
    """The invoice has the purchase; the table adds up, and has what was blocked; the CSV is that of the same office."""
    invoiced = re.search(r"corner +invoice of \d{4}-\d\d: corner/\d+, purchase +(\S+) of (\S+) in all", text)
    assert invoiced is not None, text
    assert Decimal(invoiced[1]) == 10
    assert Decimal(invoiced[2]) % 10 == 0
    rows = {
        name: [Decimal(cell) if cell != "-" else Decimal(0) for cell in cells.split()]
        for name, cells in re.findall(r"^  ([a-z-]+(?: or blocked)?) +((?:[\d.-]+ *){8})$", text, re.MULTILINE)
    }
    *categories, everything, blocked = rows.values()
    assert list(rows)[-2:] == ["all", "refused or blocked"]
    assert len(categories) == 6
    assert [sum(column) for column in zip(*categories, strict=True)] == everything
    assert all(cost > 0 for cost in everything[1::2])
    assert blocked[4] >= 2
    assert blocked[1::2] == [0, 0, 0, 0]
    assert re.search(r"^All 18 calls and messages have their record", text, re.MULTILINE)
    assert re.search(
        r"^  id,kind,category,direction.*\n(?:  (?:call|message)-\w+-\d+,.*Europe/London.*\n){3}", text, re.MULTILINE
    )


def check_live_act(text: str) -> None:
    """The gateway ticked, cut one call on time, and let the other one go on once its refill had come."""
    cut = re.search(r"^.* corner .*: its 10 s are over +CUT (-?\d+) ms after their end", text, re.MULTILINE)
    assert cut is not None, text
    assert -CLOCK_ERROR_MS <= int(cut[1]) <= CUT_LIMIT_MS
    assert re.search(r" corner .*: cut after \d+ s +10 s billed", text)
    warned = r"studio .*: warn the caller +LOW, 14 s are the last"
    asked = r"studio .*refill of 50.00 is asked for +TRIGGER studio/\d+"
    credited = r"studio .*visa \d{4} charged (\d+\.\d) s before the cut +CREDITED \d+\.\d s after the dip +-50\.00"
    # One tick makes both, the warning and the trigger: which comes first is no promise.
    for first in (warned, asked):
        scenes = (
            r"studio .*GRANTED FUNDED, 5 s",
            first,
            credited,
            r"studio .*: goes on +RESTORED, 19 s granted",
            r"studio .*: hangs up after \d\d s +\d\d s billed",
        )
        check_order(text, scenes)
    saved = re.search(credited, text)
    assert saved is not None
    assert float(saved[1]) >= SPARE_SECONDS
    check_ticks(text)


def check_order(text: str, scenes: Sequence[str]) -> None:
    """Each of these is there, the first one of its kind after that of the one before."""
    places = [match and match.start() for match in (re.search(scene, text) for scene in scenes)]
    assert None not in places, f"{places}:\n{text}"
    assert places == sorted(places, key=lambda place: place or 0), text


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


def test_the_demo_checks_its_books_and_stays_up_for_its_commands(tmp_path: Path) -> None:
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
            check_confirmation("".join(lines))
            check_links("".join(lines))
            assert "\x1b" not in "".join(lines), "colours belong on a terminal"
            shown = [line.strip() for line in lines if line.startswith("  ") and "gateway.cli" in line]
            assert len(shown) == 6, "".join(lines)
            outputs = []
            for command in shown:
                done = subprocess.run(
                    command, shell=True, env=variables, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr
                outputs.append(done.stdout)
            call, balance, transactions, usage, explained, audit = outputs
            assert "75 s billed" in call
            assert re.search(r"^reserved +0\.0[1-9]", balance, re.MULTILINE)
            assert re.search(r" harbor/\d+ +refill +50\.00 +automatic refill harbor/1$", transactions, re.MULTILINE)
            assert re.search(r"^message +0 +0\.00 +1$", usage, re.MULTILINE)
            assert re.search(r"^state +answered", explained, re.MULTILINE)
            assert audit.endswith("ledger, outbox and store agree\n")
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
        (signal.SIGINT, "1000", "admin buys"),
        (signal.SIGINT, "1000", "Live, in real time"),
        (signal.SIGINT, "1000", "studio   call to"),
        (signal.SIGTERM, "1000", "TRIGGER studio"),
    ],
)
@pytest.mark.slow
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
