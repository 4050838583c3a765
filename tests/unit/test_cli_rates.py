"""`tollgate rates` where no gateway is asked: the packaged deck, decks in files, and their errors."""

from pathlib import Path

import pytest

from gateway.cli.errors import EXIT_FAILED, EXIT_USAGE
from tests.support.commands import run_command

HEADER = (
    "tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,"
    "connect_fee,tick_seconds,description\n"
)
DECK = HEADER + (
    ",VOICE,OUTBOUND,,US,44,,0,0.12,60,6,0.20,60,United Kingdom\n"
    "gold,VOICE,OUTBOUND,,US,44,,0,0.06,60,1,,60,United Kingdom for gold\n"
    ",SMS,OUTBOUND,,US,,,,0.03,,,,,SMS\n"
)


@pytest.fixture
def deck(tmp_path: Path) -> str:
    path = tmp_path / "deck.csv"
    path.write_text(DECK)
    return str(path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+12125550142"], ["category   local", "free"]),
        (["+12125550142", "--license", "sales", "--duration", "61"], ["category   local", "0.04 for 61 s"]),
        (["+18005550199"], ["category   toll free", "free"]),
        (["+18885550100", "--direction", "inbound"], ["category   toll free", "0.02 for 60 s"]),
        (["+442079460958"], ["category   international", "prefix 44"]),
        (["+18765550123"], ["of JM", "category   international"]),
        (["+12125550142", "--service", "sms", "--segments", "2"], ["0.017 for 2 segments"]),
        (["911"], ["911 is an emergency number"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_the_packaged_deck(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "rates", "lookup", "--country", "US", *words)
    assert outcome.code == 0, outcome.err
    assert [text for text in expected if text not in outcome.out] == []


def test_which_row_and_why(deck: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("rates", "lookup", "--deck", deck, "--country", "us", "--duration", "62", "+442079460958")
    plain = run_command(capsys, *words)
    assert "row 2 (United Kingdom): VOICE matched by prefix 44, origin US, direction OUTBOUND" in plain.out
    # A fee of 0.20, and 66 of 60 seconds at 0.12.
    assert plain.value("price") == "0.332 for 62 s"
    assert plain.value("a") == "minute   0.12"
    gold = run_command(capsys, *words, "--tariff", "gold")
    assert "tariff gold" in gold.out
    assert gold.value("price") == "0.062 for 62 s"


def test_what_no_row_prices(deck: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("rates", "lookup", "--deck", deck, "--country", "US")
    assert "NO_RATE" in run_command(capsys, *words, "+4930231250").out
    assert "NO_RATE" in run_command(capsys, *words, "+442079460958", "--service", "mms").out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["+442079460958"], EXIT_USAGE, "give either --country"),
        (["+442079460958", "--country", "US", "--office", "o1"], EXIT_USAGE, "give either --country"),
        (["+442079460958", "--country", "XX"], EXIT_USAGE, "XX is no ISO 3166 country code"),
        (["12", "--country", "US"], EXIT_FAILED, "12 is no valid number in US"),
        (["+442079460958", "--country", "US", "--server", "h:1"], EXIT_USAGE, "say which with --office"),
        (["+442079460958", "--office", "o1", "--tariff", "gold"], EXIT_USAGE, "an office has its own"),
        (["+442079460958", "--country", "US", "--service", "pager"], EXIT_USAGE, "Invalid value for '--service'"),
        (["+442079460958", "--country", "US", "--duration", "-1"], EXIT_USAGE, "Invalid value for '--duration'"),
    ],
)
def test_what_makes_no_sense(words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "rates", "lookup", *words)
    assert outcome.code == code
    assert text in outcome.err


def test_a_dry_run_asks_nobody(deck: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "rates", "import", deck, "--dry-run")
    assert outcome.code == 0
    assert "3 rates, no errors; nothing was imported" in outcome.out


def test_every_error_of_a_deck_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + ",VOICE,,,US,44,,0,x,60,6,,,\n,VOICE,,,US,44,,0,1,60,7.5,,,\n")
    outcome = run_command(capsys, "rates", "import", str(path))
    assert outcome.code == EXIT_USAGE
    first, *lines = outcome.err.splitlines()
    assert first == f"error: {path} has 2 errors; nothing of it is used"
    assert lines[0].startswith("line 2, price")
    assert lines[1].startswith("line 3, increment_seconds")
