"""What the fraud guards count, in SQL: the same as the usage records, however the entries are cut into batches."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.domain.fraud_guard import HOUR_MS
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Direction
from gateway.ledger.database import open_database
from gateway.ledger.journal import CallBegun, CallEnded, CallMoved, Entry
from gateway.ledger.models import GuardHourRow, UsageRow
from tests.integration.test_ledger_journal import BEGUN, CALL, Outbox, moved
from tests.support.ledger import NOW, SQLITE_FILE, Ledger, ledger_of, sqlite_url, with_ledger, with_office
from tests.support.migrated import place_migrated

COUNTRIES = {"+442079460958": "GB", "+33142685300": "FR", "+19002345678": "US", "+12125550142": None}

Debit = tuple[int, int, int]
"""Which call, what it moves (micros, negative: given back), and how many minutes after the first."""

CALLS = st.lists(
    st.tuples(st.sampled_from(sorted(COUNTRIES)), st.sampled_from([Direction.OUTBOUND, Direction.INBOUND])),
    min_size=1,
    max_size=5,
)
DEBITS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-3, 9).map(lambda dollars: dollars * 1_000_000), st.integers(0, 150)),
    min_size=8,
    max_size=40,
)


def entries_of(outbox: Outbox, calls: list[tuple[str, Direction]], debits: list[Debit]) -> list[Entry]:
    """The entries of calls that move money; the cumulative debit never falls below zero."""
    debited: Counter[int] = Counter()
    begun: set[int] = set()
    entries = []
    for which, amount, minutes in debits:
        call = which % len(calls)
        change = max(amount, -debited[call])
        debited[call] += change
        number, direction = calls[call]
        first = None
        if call not in begun:
            begun.add(call)
            subject = {name: getattr(CALL, name) for name in CALL.__slots__}
            subject |= {"called_number": number, "direction": direction}
            first = CallBegun(type(CALL)(**subject), BEGUN.reason, BEGUN.rate, BEGUN.fingerprint, BEGUN.record)
        fact = moved(UsageState.OPEN, debited[call], 1, call_id=f"c{call}", begun=first)
        entries.append(outbox.entry(fact, -change, at=NOW + minutes * 60_000))
    return entries


async def counted(ledger: Ledger) -> tuple[Counter[str], Counter[str]]:
    """Calls and spend by country."""
    calls: Counter[str] = Counter()
    spend: Counter[str] = Counter()
    async with ledger.database.read() as session:
        for row in await session.scalars(select(GuardHourRow)):
            calls[row.country] += row.calls
            spend[row.country] += row.spend_micros
    return calls, +spend


async def recorded(ledger: Ledger) -> Counter[str]:
    """Spend by country, as the usage records have it."""
    spend: Counter[str] = Counter()
    async with ledger.database.read() as session:
        for row in await session.scalars(select(UsageRow).where(UsageRow.direction == Direction.OUTBOUND)):
            country = COUNTRIES[row.called_number]
            if country is not None:
                spend[country] += row.cost_micros
    return +spend


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=CALLS, debits=DEBITS, cut=st.integers(1, 9))
def test_the_guards_count_what_the_usage_records_say(
    calls: list[tuple[str, Direction]], debits: list[Debit], cut: int
) -> None:
    async def scenario(folder: Path) -> None:
        place_migrated(folder / SQLITE_FILE)
        database = await open_database(sqlite_url(folder))
        try:
            ledger, outbox = ledger_of(database), Outbox()
            await with_office(ledger)
            entries = entries_of(outbox, calls, debits)
            for start in range(0, len(entries), cut):
                await outbox.take(ledger, entries[start : start + cut])
            assert (await counted(ledger))[1] == await recorded(ledger)
        finally:
            await database.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@pytest.mark.parametrize("batches", [1, 2, 4], ids=["one batch", "two batches", "an entry a batch"])
def test_a_call_counts_once_and_each_debit_in_its_hour(ledger_url: str, batches: int) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        outbox, later = Outbox(), NOW + HOUR_MS
        end = CallEnded(70, 70, 0, "")
        lives: list[tuple[CallMoved, int, int]] = [
            (moved(UsageState.OPEN, 3_000_000, 10, begun=BEGUN), -3_000_000, NOW),
            (moved(UsageState.OPEN, 5_000_000, 60), -2_000_000, later),
            (moved(UsageState.LAPSED, 5_000_000, 60), 0, later),
            (moved(UsageState.CLOSED, 4_000_000, 70, ended=end), 1_000_000, later),
        ]
        entries = [outbox.entry(fact, amount, at=at) for fact, amount, at in lives]
        size = len(entries) // batches
        for start in range(0, len(entries), size):
            await outbox.take(ledger, entries[start : start + size])
        async with ledger.database.read() as session:
            rows = list(await session.scalars(select(GuardHourRow).order_by(GuardHourRow.hour)))
        hours = [(row.hour - NOW // HOUR_MS, row.country, row.calls, row.spend_micros) for row in rows]
        assert hours == [(0, "GB", 1, 3_000_000), (1, "GB", 0, 1_000_000)]
        # Whoever has read the same entries, and comes second, writes nothing.
        again = Outbox()
        await again.take(ledger, entries)
        assert (await counted(ledger))[1] == {"GB": 4_000_000}

    with_ledger(ledger_url, scenario)


def test_what_no_office_is_known_for_is_recorded_and_not_counted(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        await outbox.take(ledger, [outbox.entry(moved(UsageState.OPEN, 5, 1, begun=BEGUN), -5)])
        assert await counted(ledger) == (Counter(), Counter())

    with_ledger(ledger_url, scenario)
