"""The page of benchmarks, and what the long run reads and works out without a gateway."""

import json
import random
from collections import Counter
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.deck import parse_deck
from gateway.domain.numbers import identify
from gateway.store.scripts import load_library
from gateway.v1 import authorization_pb2 as pb
from loadtest import page
from loadtest.independent import QUOTE, framed, read_h2load
from loadtest.lives import MIXES, Books, Life
from loadtest.pipeline import Command
from loadtest.processes import BenchError
from loadtest.programs import missing
from loadtest.redis_benchmark import library_with_constants, read_csv
from loadtest.report import LATEST, RESULTS
from loadtest.session_load import growth_per_second
from loadtest.sweeps import room
from loadtest.sweeps.__main__ import SWEEPS, renewed
from loadtest.sweeps.deck import SAMPLES, deck_csv, unseen_numbers
from loadtest.sweeps.plots import plots_of
from loadtest.tables import left_out, tables_of


def test_the_page_is_what_the_program_makes_of_the_committed_results() -> None:
    assert page.main(["--check"]) == 0


def test_every_table_of_the_committed_results_has_cells_for_its_columns() -> None:
    for name in (LATEST, page.SWEEPS_LATEST):
        for table in tables_of(json.loads((RESULTS / name).read_text())):
            assert table.rows
            assert all(len(row) == len(table.columns) for row in table.rows), table.title


def test_a_page_that_shows_other_figures_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "benchmarks.md"
    other.write_text(page.PAGE.read_text().replace("# Benchmarks", "# Bench"))
    assert page.main(["--check", "--page", str(other)]) == 1
    assert "shows other figures" in capsys.readouterr().err
    assert page.main(["--page", str(other)]) == 0
    assert other.read_text() == page.PAGE.read_text()


def test_without_figures_there_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(["--results", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no figures in ")
    assert not (tmp_path / "page.md").exists()


def test_a_sweep_that_was_taken_again_takes_its_place_and_says_so(tmp_path: Path) -> None:
    whole = json.loads((RESULTS / page.SWEEPS_LATEST).read_text())
    whole.pop("renewed", None)
    (tmp_path / page.SWEEPS_LATEST).write_text(json.dumps(whole))
    again = {
        **{name: whole[name] for name in ("schema", "machine", "quick", "seconds", "aims")},
        "taken_at": "2030-01-02T03:04:05Z",
        "commit": "abc1234",
        "deck": whole["deck"],
        "journal": {"failed": True, "skipped": "could not be taken: no disk"},
        "books": {"audited": True, "offices": {"deck": 5}, "faults": []},
    }
    result = renewed(tmp_path, again)
    assert {name: result[name] for name in SWEEPS} == {name: whole[name] for name in SWEEPS}
    assert list(result["renewed"]) == ["deck"], "what could not be taken leaves the one before in its place"
    assert result["books"]["offices"] == whole["books"]["offices"] | {"deck": 5}
    bench, _, users, soak = page.read_all(RESULTS)
    text = page.render(bench, result, users, soak)
    assert "Taken again since, by themselves: `deck`. 2030-01-02T03:04:05Z, commit abc1234. " in text
    assert renewed(tmp_path / "nowhere", again) == again


def test_what_was_not_measured_is_said() -> None:
    result: dict[str, Any] = {
        "independent": {"skipped": "h2load is not installed (Debian: nghttp2-client)"},
        "offices": {"points": [], "left_out": [{"size": 1_000_000, "why": "not taken: needs 9 GiB"}]},
        "in_flight": {"failed": True, "skipped": "could not be taken: the machine is too slow"},
        "commit": "abc",
    }
    assert left_out(result) == [
        "independent: h2load is not installed (Debian: nghttp2-client).",
        "in_flight: could not be taken: the machine is too slow.",
        "offices, 1,000,000: not taken: needs 9 GiB.",
    ]
    assert tables_of(result) == []
    assert plots_of(result) == []


def test_a_missing_program_is_skipped_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert missing("h2load") == {"skipped": "h2load is not installed (Debian: nghttp2-client)"}


H2LOAD = """\
finished in 1.50s, 2000.50 req/s, 80.00KB/s
requests: 3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 120.00KB (122880) total, 9.00KB (9216) headers (space savings 96.00%), 41.02KB (42000) data
"""


def test_what_h2load_says() -> None:
    assert read_h2load(H2LOAD, 3_000, 14) == 2_000.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        H2LOAD.replace("42000", "41986"),
        H2LOAD.replace("3000 2xx", "2999 2xx"),
        H2LOAD.replace("0 5xx", "1 5xx"),
        H2LOAD.replace("finished", "gave up"),
    ],
)
def test_an_answer_that_h2load_did_not_get_is_a_failure(text: str) -> None:
    with pytest.raises(BenchError, match="h2load"):
        read_h2load(text, 3_000, 14)


def test_a_frame_is_a_flag_a_length_and_the_message() -> None:
    frame = framed(QUOTE)
    assert frame[:1] == b"\0"
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 5
    assert pb.QuoteCallRequest.FromString(frame[5:]) == QUOTE


def test_what_redis_benchmark_says() -> None:
    head = '"test","rps","avg_latency_ms"\n'
    assert read_csv(f'WARNING: no config\n{head}"FCALL x","29940.12","3.1"\n') == 29_940.12
    for text in ("", head, "Error from server: ERR no such function"):
        with pytest.raises(BenchError, match="redis-benchmark said"):
            read_csv(text)


def test_the_library_with_constants_is_the_gateways_own() -> None:
    keys = [b"k%d" % number for number in range(5)]
    command: Command = ("FCALL", b"name", 5, *keys, 7, "office", "id", b"\0\xff")
    source = library_with_constants(command)
    assert load_library().source.partition("\n")[2].replace("redis.register_function", "register") in source
    assert "{ '\\055', '\\111\\102\\102\\105\\099\\101', string.sub(keys[3], -36), '\\000\\255' }" in source


@pytest.mark.parametrize(
    ("backlog", "growth"),
    [
        ([], None),
        ([(0.1 * number, 5) for number in range(9)], None),
        ([(0.1 * number, 5) for number in range(20)], 0.0),
        ([(0.1 * number, 100 * number) for number in range(20)], 1_000.0),
        ([(0.1 * number, 5 if number != 2 else 5_000) for number in range(20)], 0.0),
    ],
)
def test_growth_of_a_backlog(backlog: list[tuple[float, int]], growth: float | None) -> None:
    assert growth_per_second(backlog) == (None if growth is None else pytest.approx(growth))


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.why_not(1, 1) is None
    monkeypatch.setattr(room, "available_bytes", lambda: 2**30)
    assert room.why_not(2**31, 1) == "not taken: needs about 2.0 GiB of memory, and 1.0 GiB are free"
    assert "of disk" in str(room.why_not(1, 2**60))
    assert room.memory_needed(1_000_000, 1_000_000) < 4 * 2**30


def test_a_deck_has_as_many_prefixes_as_asked_for() -> None:
    deck = parse_deck(deck_csv(500), 1)
    assert len(deck) == 501
    assert len({row.prefix for row in deck.rows()}) == 501


def test_numbers_are_seen_once_and_exist() -> None:
    numbers = list(islice(unseen_numbers(), 2_000))
    assert len(set(numbers)) == len(numbers)
    assert all(identify(number, "US") is not None for number in numbers)
    assert {head for head in SAMPLES if any(number.startswith(head) for number in numbers)} == set(SAMPLES)


@pytest.mark.parametrize("mix", MIXES)
def test_a_life_goes_through_its_mix_with_fresh_ids(mix: str) -> None:
    books, kinds = Books(), Counter[str]()
    life = Life(MIXES[mix], cycle(["a", "b"]), (f"id-{number}" for number in count()), 1, books)
    ids = set()
    for _ in range(10 * len(MIXES[mix])):
        request = life.next()
        kinds[life.kind] += 1
        if life.kind in {"authorize_call", "authorize_message"}:
            ids.add(getattr(request, "call_id", None) or request.message_id)
        answers = {
            "authorize_call": pb.AuthorizeCallResponse(reason=pb.FUNDED),
            "end_call": pb.EndCallResponse(debited_micros=5),
            "authorize_message": pb.AuthorizeMessageResponse(reason=pb.FUNDED, debited_micros=3),
        }
        life.take(answers.get(life.kind))
    assert life.is_over
    assert kinds == Counter(MIXES[mix] * 10)
    assert len(ids) == kinds["authorize_call"] + kinds["authorize_message"]
    assert sum(books.debited.values()) == 5 * kinds["end_call"] + 3 * kinds["authorize_message"]


def test_a_denied_life_is_a_failure() -> None:
    life = Life(("authorize_message",), cycle(["a"]), iter(["id"]), random.randrange(9), Books())
    life.next()
    with pytest.raises(BenchError, match="INSUFFICIENT_FUNDS"):
        life.take(pb.AuthorizeMessageResponse(reason=pb.INSUFFICIENT_FUNDS))
