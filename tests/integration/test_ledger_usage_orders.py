"""A month's list in each of its orders, held against sorting the records in Python; on both databases."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from gateway.domain.month import Month
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Category, Reason, UsageOrder
from gateway.errors import InvalidArgument
from gateway.ledger.models import UsageRow
from gateway.ledger.paging import PageRequest
from gateway.ledger.usage import Usage, UsageFilter
from gateway.ledger.usage_orders import page_query
from tests.support.ledger import Ledger, with_ledger
from tests.support.usage import call, free_call, message, record, refusal

DAY_MS = 86_400_000
NOW = 1_760_000_000_000
ALL = UsageFilter()
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]


async def every_page(of: Usage, size: int, month: Month, wanted: UsageFilter, order: UsageOrder) -> list[str]:
    ids, token = [], ""
    while True:
        page = await of.list(PageRequest(size, token), "o1", month, wanted, order)
        ids += [each.thing_id for each in page.items]
        token = page.next_page_token
        if not token:
            return ids
        assert len(page.items) == size


def random_rows(dice: random.Random, month: Month, count: int) -> list[dict[str, Any]]:
    """Of the month and a day on either side, with many that are equal in every order."""
    rows = []
    for number in range(count):
        at = dice.choice(
            (
                month.begins_at + dice.randrange(-DAY_MS, month.ends_at - month.begins_at + DAY_MS),
                month.begins_at + dice.randrange(-2, 3),
                month.ends_at + dice.randrange(-2, 3),
            )
        )
        row = dice.choice((call, free_call, message))(f"r{number}", at, user_id=f"user-{number % 3}")
        if row["cost_micros"]:
            row["cost_micros"] = dice.choice((0, 1, 2, 10**12, dice.randrange(10**6)))
        if row["duration_seconds"]:
            row["duration_seconds"] = dice.choice((1, 60, dice.randrange(86_400)))
        roll = dice.random()
        if roll < 0.1:
            row = refusal(row, Reason.SPEND_LIMIT)
        elif roll < 0.2:
            row["state"] = dice.choice((UsageState.OPEN, UsageState.LAPSED))
        rows.append(row)
    return rows


def in_order(rows: list[dict[str, Any]], order: UsageOrder) -> list[str]:
    """They were recorded in the order of the list."""
    numbered = list(enumerate(rows))
    if order is UsageOrder.OLDEST_FIRST:
        numbered.sort(key=lambda each: (each[1]["started_at"], each[0]))
    else:
        by = {
            UsageOrder.NEWEST_FIRST: "started_at",
            UsageOrder.COSTLIEST_FIRST: "cost_micros",
            UsageOrder.LONGEST_FIRST: "duration_seconds",
        }[order]
        numbered.sort(key=lambda each: (each[1][by], each[0]), reverse=True)
    return [row["thing_id"] for _, row in numbered]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_all_pages_show_each_record_once_in_its_order(ledger_url: str, zone: str) -> None:
    month = Month.parse("2025-03", zone, now_ms=NOW)
    rows = random_rows(random.Random(f"orders of {zone}"), month, 300)
    shown = [
        row
        for row in rows
        if month.begins_at <= row["started_at"] < month.ends_at and row["state"] is not UsageState.OPEN
    ]
    assert 100 < len(shown) < 280

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *rows, call("of another office", month.begins_at, office_id="o2"))
        for order in UsageOrder:
            expected = in_order(shown, order)
            for size in (1, 7, 1_000):
                assert await every_page(of, size, month, ALL, order) == expected
            wanted = UsageFilter(Category.MESSAGE, "user-1")
            fitting = [row for row in shown if (row["category"], row["user_id"]) == (wanted.category, wanted.user_id)]
            for size in (3, 1_000):
                assert await every_page(of, size, month, wanted, order) == in_order(fitting, order)

    with_ledger(ledger_url, scenario)


def test_a_token_of_another_order_is_refused(ledger_url: str) -> None:
    month = Month.parse("2025-03", "UTC", now_ms=NOW)

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *(call(f"c{n}", month.begins_at + n) for n in range(4)))
        for order in UsageOrder:
            token = (await of.list(PageRequest(2), "o1", month, ALL, order)).next_page_token
            for other in set(UsageOrder) - {order}:
                with pytest.raises(InvalidArgument) as caught:
                    await of.list(PageRequest(2, token), "o1", month, ALL, other)
                assert caught.value.field == "page_token"

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize("order", [UsageOrder.COSTLIEST_FIRST, UsageOrder.LONGEST_FIRST])
def test_pages_by_cost_and_duration_stand_still_while_records_come(ledger_url: str, order: UsageOrder) -> None:
    month = Month.parse("2025-03", "UTC", now_ms=NOW)

    def of_amount(amount: int, at: int) -> dict[str, Any]:
        return call(f"r{amount}", at, cost_micros=amount, duration_seconds=amount)

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *(of_amount(amount, month.begins_at) for amount in (0, 10, 20, 30, 40, 50)))
        first = await of.list(PageRequest(3), "o1", month, ALL, order)
        # Before the page, on it, and behind it.
        await record(ledger.database, *(of_amount(amount, month.begins_at + DAY_MS) for amount in (99, 45, 15)))
        rest = await of.list(PageRequest(10, first.next_page_token), "o1", month, ALL, order)
        ids = [each.thing_id for each in first.items + rest.items]
        assert ids == ["r50", "r40", "r30", "r20", "r15", "r10", "r0"]

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize(
    ("order", "index"),
    [
        (UsageOrder.COSTLIEST_FIRST, "ix_usage_record_by_cost"),
        (UsageOrder.LONGEST_FIRST, "ix_usage_record_by_duration"),
    ],
)
@pytest.mark.parametrize("after", [None, (1_000, 7)], ids=["first page", "behind a key"])
def test_sqlite_reads_whole_days_in_their_order(
    tmp_path: Path, order: UsageOrder, index: str, after: tuple[int, int] | None
) -> None:
    """It does so where it recognizes the index's condition and expression, and reads the whole month otherwise."""
    month = Month.parse("2025-03", "America/New_York", now_ms=NOW)

    async def scenario(ledger: Ledger) -> None:
        query, values = page_query((UsageRow.seq,), order, "o1", month, (), after, 100)
        literally = {"literal_binds": True}
        statement = query.params(**values).compile(dialect=sqlite.dialect(), compile_kwargs=literally)
        async with ledger.database.read() as session:
            plan = await session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))
            steps = [detail for *_, detail in plan]
        of_days = [step for step in steps if f"USING INDEX {index} (office_id=? AND <expr>=?" in step]
        assert len(of_days) == (30 if after is None else 60)
        of_hours = [step for step in steps if "ix_usage_record_report (office_id=? AND started_at>? AND" in step]
        assert len(of_hours) == 2

    with_ledger(tmp_path, scenario)
