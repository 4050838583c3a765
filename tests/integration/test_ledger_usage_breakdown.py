"""A month by day and by department, held against counting in Python; on both databases."""

import random
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.month import Month
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Category, Reason
from gateway.ledger.usage import Usage
from gateway.ledger.usage_breakdown import CategoryUsage, DayUsage, DepartmentUsage
from tests.support.ledger import Ledger, with_ledger
from tests.support.usage import call, free_call, message, record, refusal

HOUR_MS = 3_600_000
NOW = 1_760_000_000_000

MONTHS = [
    ("2025-06", "UTC", 30),
    ("2025-03", "America/New_York", 31),
    ("2024-11", "America/New_York", 30),
    ("2025-02", "Asia/Kathmandu", 28),
    ("2025-04", "Pacific/Auckland", 30),
    ("2024-09", "Pacific/Auckland", 30),
    ("2024-02", "Pacific/Chatham", 29),
    ("2025-10", "Australia/Lord_Howe", 9),
    # Its clocks skip midnight.
    ("2024-09", "America/Santiago", 30),
    # It had no 30 December.
    ("2011-12", "Pacific/Apia", 30),
]


def local_day(at_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()


def random_rows(dice: random.Random, month: Month, zone: str) -> list[dict[str, Any]]:
    """Some anywhere, and some on either side of what could be taken for an end of a day."""
    past = min(month.ends_at, NOW + 1)
    rows = []
    for number in range(1_200):
        at = dice.randrange(month.begins_at, past)
        if number % 2:
            at = min(max(at - at % (HOUR_MS // 4) - dice.randrange(2), month.begins_at), past - 1)
        row = dice.choice((call, free_call, message))(
            f"r{number}", at, category=dice.choice(list(Category)), department_id=dice.choice(("", "d1", "d2", "d3"))
        )
        if row["reason"] is Reason.FUNDED:
            row["cost_micros"] = dice.randrange(10**12)
        rows.append(refusal(row, Reason.TOO_MANY_CALLS) if dice.random() < 0.1 else row)
    outside = (call("before", month.begins_at - 1), call("after", month.ends_at))
    return [*rows, *outside, call("open", month.begins_at, state=UsageState.OPEN)]


@pytest.mark.parametrize(("name", "zone", "days"), MONTHS)
def test_the_parts_of_a_month_are_what_a_count_says(ledger_url: str, name: str, zone: str, days: int) -> None:
    month = Month.parse(name, zone, now_ms=NOW)
    rows = random_rows(random.Random(f"{name} {zone}"), month, zone)
    counts: Counter[tuple[date, Category]] = Counter()
    costs: Counter[tuple[date, Category]] = Counter()
    department_counts: Counter[str] = Counter()
    department_costs: Counter[str] = Counter()
    for row in rows:
        if row["thing_id"] in ("before", "after", "open") or row["reason"] is Reason.TOO_MANY_CALLS:
            continue
        key = (local_day(row["started_at"], zone), row["category"])
        counts[key] += 1
        costs[key] += row["cost_micros"]
        department_counts[row["department_id"]] += 1
        department_costs[row["department_id"]] += row["cost_micros"]

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *rows)
        found = await of.breakdown("o1", month, now_ms=NOW)
        assert len(found.days) == days
        assert {day.date for day in found.days} >= {day for day, _ in counts}
        assert [day.date for day in found.days] == sorted({day.date for day in found.days})
        for day in found.days:
            parts = [(day.date, category) for category in Category if (day.date, category) in counts]
            expected = tuple(CategoryUsage(part[1], counts[part], costs[part]) for part in parts)
            assert day.categories == expected
            assert (day.count, day.cost_micros) == (
                sum(counts[part] for part in parts),
                sum(costs[part] for part in parts),
            )
        assert found.departments == tuple(
            DepartmentUsage(department_id, department_counts[department_id], cost)
            for department_id, cost in department_costs.most_common()
        )
        summary = await of.summary("o1", month)
        cost = sum(total.cost_micros for total in summary)
        assert cost == sum(day.cost_micros for day in found.days) == sum(each.cost_micros for each in found.departments)
        count = sum(total.count for total in summary)
        assert count == sum(day.count for day in found.days) == sum(each.count for each in found.departments)

    with_ledger(ledger_url, scenario)


def test_a_month_with_nothing_has_its_days(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        month = Month.parse("2025-06", "America/New_York", now_ms=NOW)
        found = await Usage(ledger.database).breakdown("o1", month, now_ms=NOW)
        assert found.days == tuple(DayUsage(date(2025, 6, number), ()) for number in range(1, 31))
        assert found.departments == ()

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize(("departments", "shown", "rest"), [(50, 50, None), (51, 50, 1), (70, 50, 20)])
def test_the_departments_behind_the_fiftieth_are_one(
    ledger_url: str, departments: int, shown: int, rest: int | None
) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        month = Month.parse("2025-06", "UTC", now_ms=NOW)
        rows = [
            call(f"c{n}", month.begins_at + n, department_id=f"d{n}" if n else "", cost_micros=1_000 - n)
            for n in range(departments)
        ]
        random.Random(3).shuffle(rows)
        await record(ledger.database, *rows)
        found = (await of.breakdown("o1", month, now_ms=NOW)).departments
        expected = [DepartmentUsage(f"d{n}" if n else "", 1, 1_000 - n) for n in range(shown)]
        if rest is not None:
            expected.append(DepartmentUsage("", rest, sum(1_000 - n for n in range(shown, departments)), is_rest=True))
        assert list(found) == expected

    with_ledger(ledger_url, scenario)


def test_departments_of_the_same_cost_are_by_count_and_then_by_name(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        month = Month.parse("2025-06", "UTC", now_ms=NOW)
        named = [free_call(f"c{n}", month.begins_at, department_id=name) for n, name in enumerate("cabb")]
        await record(ledger.database, *named, call("paid", month.begins_at, department_id="z", cost_micros=1))
        found = (await Usage(ledger.database).breakdown("o1", month, now_ms=NOW)).departments
        assert [(each.department_id, each.count) for each in found] == [("z", 1), ("b", 2), ("a", 1), ("c", 1)]

    with_ledger(ledger_url, scenario)
