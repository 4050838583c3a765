"""The journal's measure: what aims and tables make of its figures, and how its processes are told what to do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.database import open_database
from gateway.ledger.offices import Offices
from loadtest import outbox_mix
from loadtest.aims import judge
from loadtest.ledgers import CURRENCY, SqliteLedgers
from loadtest.outbox_mix import ENTRIES_A_WAVE, RECORDS_A_WAVE
from loadtest.tables import tables_of


def figure(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


def database(name: str, rate: float) -> dict[str, Any]:
    return {
        "database": name,
        "entries_per_second": figure(rate),
        "journal_cpu_micros": figure(60.0),
        "sql_cpu_micros": figure(20.0),
        "summary_ms": figure(1.5),
        "bytes_a_record": figure(430.0) if name == "sqlite" else None,
    }


def effect(name: str, p50: float, p99: float) -> dict[str, Any]:
    latency = {"p50_ms": figure(1.0), "p99_ms": figure(2.0)}
    return {
        "database": name,
        "calls_per_second": 1_000.0,
        "rounds": 5,
        "seconds_a_round": 4.0,
        "with_journal": latency,
        "without_journal": latency,
        "p50_ratio": figure(p50),
        "p99_ratio": figure(p99),
        "lag_ms": {"p50": 700.0, "max": 1_900.0},
    }


def measured(*names: str) -> dict[str, Any]:
    """As the measure has it where only these databases are."""
    rates = {"sqlite": 9_000.0, "postgresql": 4_000.0}
    return {
        "drain": {
            "rounds": 3,
            "offices": 1_000,
            "entries": 156_000,
            "entries_a_record": 1.2,
            "records_a_summary": 130,
            "databases": [database(name, rates[name]) for name in names],
        },
        "effect": [effect(name, 1.05 if name == "sqlite" else 1.2, 1.4) for name in names],
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("sqlite",), [(9_000.0, True), (9.0, True), (1.05, True), (1.4, True)]),
        (("sqlite", "postgresql"), [(4_000.0, False), (4.0, True), (1.2, False), (1.4, True)]),
    ],
)
def test_the_aims_are_judged_by_the_worse_database(names: tuple[str, ...], expected: list[tuple[float, bool]]) -> None:
    judged = judge({"journal": measured(*names)})
    assert [(aim["measured"], aim["met"]) for aim in judged] == expected


@pytest.mark.parametrize("names", [("sqlite",), ("sqlite", "postgresql")])
def test_each_database_has_a_row(names: tuple[str, ...]) -> None:
    drained, beside = tables_of({"journal": measured(*names)})
    for table in (drained, beside):
        assert [row[0] for row in table.rows] == list(names)
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert drained.rows[0][5] == "430"


def test_a_wave_is_what_the_measure_says_of_it() -> None:
    # Ten calls and messages, of which two have an entry for their tick besides.
    assert (RECORDS_A_WAVE, ENTRIES_A_WAVE) == (10, 12)
    # The end of a ticked call must not be read together with its tick: the journal would make one row of both.
    assert outbox_mix.ENDED_WAVES_LATER * ENTRIES_A_WAVE * 1_000 / 64 > 500


def test_every_round_begins_with_the_same_offices(tmp_path: Path) -> None:
    names = ["o-1", "o-2", "o-3"]

    async def offices_of(url: str) -> list[str]:
        opened = await open_database(url)
        try:
            repository = Offices(opened, CURRENCY)
            return [found.settings.office_id for name in names if (found := await repository.find(name)) is not None]
        finally:
            await opened.close()

    async def main() -> None:
        ledgers = SqliteLedgers(tmp_path)
        await ledgers.prepare(names, now_ms=1_700_000_000_000)
        for round_of in ("a", "b"):
            assert await offices_of(ledgers.copy(round_of)) == names
            ledgers.drop(round_of)
        assert not ledgers.path("a").exists()

    asyncio.run(main())
