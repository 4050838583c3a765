"""The command line itself: names, help, flags, amounts and what is said when something is wrong."""

import re
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from gateway.cli.amounts import read_amount
from gateway.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNAVAILABLE, EXIT_USAGE
from gateway.settings import Settings
from tests.support.commands import run_command
from tests.support.servers import free_port

PROMISED = [
    ["serve"],
    ["demo"],
    ["rates", "import"],
    ["rates", "lookup"],
    ["credits", "balance"],
    ["credits", "add"],
    ["credits", "adjust"],
    ["credits", "transactions"],
    ["usage", "summary"],
    ["usage", "list"],
    ["usage", "export"],
    ["token", "create"],
    ["token", "list"],
    ["token", "revoke"],
    ["token", "link"],
    ["company", "create"],
    ["office", "create"],
    ["office", "list"],
    ["office", "suspend"],
    ["office", "resume"],
    ["calls", "list"],
    ["calls", "cut"],
    ["call"],
    ["message"],
    ["explain"],
    ["refills", "watch"],
    ["notices", "to"],
    ["notices", "list"],
    ["notices", "remove"],
    ["health"],
]


@pytest.fixture(autouse=True)
def _no_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands find neither variables nor a gateway of the person who runs the tests."""
    for name in ("LISTEN", "ADMIN_LISTEN", "TOKEN", "OPERATOR_TOKEN", "DATA_DIR"):
        monkeypatch.delenv(f"TOLLGATE_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.mark.parametrize("words", PROMISED, ids=" ".join)
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, *words, "--help")
    assert outcome.code == 0
    assert f"Usage: tollgate {' '.join(words)}" in outcome.out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_command(capsys, "--help").out
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", out, re.MULTILINE)] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"tollgate (\d+\.\d+\.\d+|of a source tree)\n", run_command(capsys, "--version").out)


def test_ctrl_c_while_a_command_is_loaded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.build_app", interrupted)
    outcome = run_command(capsys, "demo")
    assert (outcome.code, outcome.out, outcome.err) == (EXIT_INTERRUPTED, "", "")


def test_serve_has_a_flag_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_command(capsys, "serve", "--help").out
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in out, name
        assert f"TOLLGATE_{name.upper()}" in re.sub(r"\s+", "", out), name


def test_serve_says_what_is_wrong_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "serve", "--listen", "nowhere", "--max-in-flight", "0")
    assert outcome.code == EXIT_FAILED
    assert "TOLLGATE_LISTEN (--listen): 'nowhere' has no port" in outcome.err
    assert "TOLLGATE_MAX_IN_FLIGHT (--max-in-flight)" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "micros"),
    [("50.00", 50_000_000), ("-12.5", -12_500_000), ("0.000001", 1), ("+3", 3_000_000), ("1000000000", 10**15)],
)
def test_amounts_are_exact(text: str, micros: int) -> None:
    assert read_amount(text) == micros


@pytest.mark.parametrize("text", ["", "5,00", "1e3", "0.0000001", ".5", "5.", "$5", "nan", "1000000000.01", "\uff11"])
def test_what_is_no_amount(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "credits", "adjust", "o1", text, "--reason", "x")
    assert outcome.code == EXIT_USAGE
    assert "Invalid value for 'AMOUNT'" in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ["credits", "balance", "o1"],
        ["credits", "adjust", "o1", "-5.00", "--reason", "x"],
        ["office", "list"],
        ["token", "create", "--role", "operator"],
        ["calls", "list", "o1"],
        ["explain", "c1", "--office", "o1"],
        ["usage", "export", "o1", "2026-01"],
        ["refills", "watch"],
    ],
    ids=" ".join,
)
def test_nothing_answers_at_the_admin_address(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    outcome = run_command(capsys, *words, "--admin-server", address, "--token", "t")
    assert outcome.code == EXIT_UNAVAILABLE
    assert f"nothing answers at {address}" in outcome.err
    assert "`tollgate serve`" in outcome.err
    assert "--admin-server or TOLLGATE_ADMIN_LISTEN" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    "words",
    [["call", "o1", "+442079460958"], ["message", "o1", "+442079460958"], ["rates", "lookup", "--office", "o1", "911"]],
    ids=" ".join,
)
def test_nothing_answers_at_the_switches_address(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    outcome = run_command(capsys, *words, "--server", address, "--token", "t")
    assert outcome.code == EXIT_UNAVAILABLE
    assert f"nothing answers at {address}" in outcome.err
    assert "--server or TOLLGATE_LISTEN" in outcome.err


def test_a_lost_answer_leaves_the_key_to_repeat_with(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    words = ("credits", "adjust", "o1", "5.00", "--reason", "x", "--admin-server", address)
    made = run_command(capsys, *words)
    assert re.search(r"repeat it with --idempotency-key cli-[0-9a-f]{32}:", made.err)
    given = run_command(capsys, *words, "--idempotency-key", "mine")
    assert "repeat it with --idempotency-key mine:" in given.err


def test_health_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(
        capsys,
        "health",
        "--server",
        f"127.0.0.1:{free_port()}",
        "--admin-server",
        f"127.0.0.1:{free_port()}",
        "--timeout",
        "0.5",
    )
    assert outcome.code == EXIT_UNAVAILABLE
    assert outcome.out.count("no answer") == 2


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--server", "nowhere"], "--server: 'nowhere' has no port"),
        (["--admin-server", "http://x:1"], "--admin-server: 'http://x:1' is a URL"),
    ],
)
def test_an_address_that_is_none(words: list[str], cure: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "credits", "balance", "o1", *words)
    assert outcome.code == EXIT_USAGE
    assert cure in outcome.err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outcome = run_command(capsys, "rates", "import", str(tmp_path / "no.csv"), "--dry-run")
    assert outcome.code == EXIT_FAILED
    assert outcome.err == f"error: No such file or directory: {tmp_path / 'no.csv'}\n"


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "credit", "balance", "o1")
    assert outcome.code == EXIT_USAGE
    assert "credits" in outcome.err
