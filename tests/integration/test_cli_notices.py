"""`tollgate notices` on the database of a data directory."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.errors import EXIT_FAILED, EXIT_USAGE
from gateway.ledger.database import open_database
from tests.support.commands import run_command
from tests.support.ledger import ledger_of, with_office


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data directory of a gateway that has run."""
    for name in ("CONFIG", "DATA_DIR", "DATABASE_URL"):
        monkeypatch.delenv(f"TOLLGATE_{name}", raising=False)

    async def prepare() -> None:
        database = await open_database(f"sqlite:///{tmp_path / 'tollgate.db'}")
        try:
            await with_office(ledger_of(database))
        finally:
            await database.close()

    asyncio.run(prepare())
    return str(tmp_path)


def test_recipients_come_and_go(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    def notices(*words: str) -> list[str]:
        outcome = run_command(capsys, "notices", *words, "--data-dir", data_dir)
        assert (outcome.code, outcome.err) == (0, "")
        return outcome.out.splitlines()

    assert notices("to", "billing@example.com", "--company", "c1") == [
        "billing@example.com gets the notices of the company c1"
    ]
    notices("to", "desk@example.com", "--office", "o1")
    notices("to", "desk@example.com", "--office", "o1")
    assert notices("list") == [
        "COMPANY  OFFICE  ADDRESS",
        "c1       all     billing@example.com",
        "c1       o1      desk@example.com",
    ]
    assert notices("remove", "billing@example.com", "--company", "c1") == [
        "billing@example.com gets no more notices of the company c1"
    ]
    assert notices("list")[1:] == ["c1       o1      desk@example.com"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["to", "desk@example.com"], EXIT_USAGE, "either an office or a company"),
        (["to", "desk@example.com", "--office", "o1", "--company", "c1"], EXIT_USAGE, "either an office or a company"),
        (["to", "desk", "--office", "o1"], EXIT_USAGE, "e-mail address such as"),
        (["to", "desk@example.com", "--office", "o2"], EXIT_FAILED, "OFFICE_NOT_FOUND"),
        (["to", "desk@example.com", "--company", "c2"], EXIT_FAILED, "COMPANY_NOT_FOUND"),
        (["remove", "desk@example.com", "--office", "o1"], EXIT_FAILED, "NOTICE_RECIPIENT_NOT_FOUND"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    data_dir: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    outcome = run_command(capsys, "notices", *words, "--data-dir", data_dir)
    assert outcome.code == code
    assert says in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_no_database_is_made_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TOLLGATE_DATABASE_URL", raising=False)
    outcome = run_command(capsys, "notices", "list", "--data-dir", str(tmp_path / "elsewhere"))
    assert outcome.code == EXIT_FAILED
    assert "there is no database" in outcome.err
    assert list(tmp_path.iterdir()) == []
    outcome = run_command(capsys, "notices", "list", "--config", str(tmp_path / "missing.toml"))
    assert outcome.code == EXIT_FAILED
    assert "TOLLGATE_CONFIG" in outcome.err
