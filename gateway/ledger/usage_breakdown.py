"""A month's usage by day and by department: what was let through, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import CompoundSelect, Integer, Select, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.month import Day, Month
from gateway.domain.vocabulary import Category
from gateway.ledger.models import UsageRow
from gateway.ledger.usage_conditions import IS_LET_THROUGH, of_range

MAX_DEPARTMENTS: Final = 50
"""Departments that are shown by themselves: as many as one looks at, and the rest is one line."""


@dataclass(frozen=True, slots=True)
class CategoryUsage:
    """What was let through of a category, answered or not, refunded or not, and its cost in micros, less refunds."""

    category: Category | None
    count: int
    cost_micros: int


@dataclass(frozen=True, slots=True)
class DayUsage:
    """A day of the office's calendar, and the categories of which there was something."""

    date: date
    categories: tuple[CategoryUsage, ...]

    @property
    def count(self) -> int:
        """What was let through."""
        return sum(each.count for each in self.categories)

    @property
    def cost_micros(self) -> int:
        """Of that, less refunds."""
        return sum(each.cost_micros for each in self.categories)


@dataclass(frozen=True, slots=True)
class DepartmentUsage:
    """A department's part; an empty department_id is what named none.

    Attributes:
        is_rest: It is the sum of all that are not shown by themselves, and has no department_id.
    """

    department_id: str
    count: int
    cost_micros: int
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class UsageBreakdown:
    """A month in parts; the days add up to the same as the departments.

    Attributes:
        days: Each that has begun, also those with nothing, the first one first.
        departments: The largest cost first, and behind `MAX_DEPARTMENTS` of them the rest, if there is one.
    """

    days: tuple[DayUsage, ...]
    departments: tuple[DepartmentUsage, ...]


async def break_down(session: AsyncSession, office_id: str, month: Month, now_ms: int) -> UsageBreakdown:
    """Sum up what started on the days of a month that have begun.

    Args:
        session: One that sees one moment of the database, so that both sums are of the same records.
        office_id: Whose records.
        month: Of which month.
        now_ms: Says which days have begun.
    """
    days = month.days(now_ms=now_ms)
    by_day: list[list[CategoryUsage]] = [[] for _ in days]
    for number, category, count, cost in await session.execute(_by_day(office_id, days)):
        by_day[number].append(CategoryUsage(category, count, int(cost)))
    shown = tuple(
        DayUsage(day.date, tuple(sorted(parts, key=lambda part: part.category or 0)))
        for day, parts in zip(days, by_day, strict=True)
    )
    largest = [
        DepartmentUsage(department_id, count, int(cost))
        for department_id, count, cost in await session.execute(_by_department(office_id, days))
    ]
    if len(largest) > MAX_DEPARTMENTS:
        largest.pop()
        largest.append(
            DepartmentUsage(
                "",
                sum(day.count for day in shown) - sum(each.count for each in largest),
                sum(day.cost_micros for day in shown) - sum(each.cost_micros for each in largest),
                is_rest=True,
            )
        )
    return UsageBreakdown(shown, tuple(largest))


def _by_day(office_id: str, days: Sequence[Day]) -> CompoundSelect[Any]:
    """A sum for each day by the index: SQLite sorts what it groups, thirty small sorts faster than a large one."""
    return union_all(
        *(
            select(literal(number, Integer), UsageRow.category, func.count(), func.sum(UsageRow.cost_micros))
            .where(*of_range(office_id, day.begins_at, day.ends_at), IS_LET_THROUGH)
            .group_by(UsageRow.category)
            for number, day in enumerate(days)
        )
    )


def _by_department(office_id: str, days: Sequence[Day]) -> Select[str, int, int]:
    """The largest, and one more that tells whether there is a rest."""
    count, cost = func.count(), func.sum(UsageRow.cost_micros)
    return (
        select(UsageRow.department_id, count, cost)
        .where(*of_range(office_id, days[0].begins_at, days[-1].ends_at), IS_LET_THROUGH)
        .group_by(UsageRow.department_id)
        .order_by(cost.desc(), count.desc(), UsageRow.department_id)
        .limit(MAX_DEPARTMENTS + 1)
    )
