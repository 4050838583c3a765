"""The orders of a month's list: pages behind the key of the last record, which is what it is ordered by, and its seq.

By time, either way, a page is a stretch of the report's index. By cost or by duration it cannot be: an index by amount
has all months mixed, and knows no office's calendar. So there are indexes by office, day of UTC and amount. A page is
merged of the first records of each whole day of the month, and of what is sorted out of the hours before and behind
these. Where records are filtered as well, the first of a day could all be in vain: then whatever fits of the month is
sorted. What is sorted is read from the report's index, which has all that this needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Subquery,
    bindparam,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from gateway.domain.month import Month
from gateway.domain.vocabulary import UsageOrder
from gateway.ledger.models import DAY_MS, UsageRow, day_of_start
from gateway.ledger.usage_conditions import IS_OVER, of_range

Columns = tuple[InstrumentedAttribute[Any], ...]
Conditions = Sequence[ColumnElement[bool]]
Key = tuple[int, int]
"""What a record is ordered by, and its seq."""

_ORDERED_BY: Final[dict[UsageOrder, InstrumentedAttribute[int]]] = {
    UsageOrder.NEWEST_FIRST: UsageRow.started_at,
    UsageOrder.OLDEST_FIRST: UsageRow.started_at,
    UsageOrder.COSTLIEST_FIRST: UsageRow.cost_micros,
    UsageOrder.LONGEST_FIRST: UsageRow.duration_seconds,
}

_OFFICE: Final = bindparam("of_office", type_=String)
_LIMIT: Final = bindparam("at_most", type_=Integer)
# A key comes from outside, and may be larger than the column holds.
_BEHIND_AMOUNT: Final = bindparam("behind_amount", type_=BigInteger)
_BEHIND_SEQ: Final = bindparam("behind_seq", type_=BigInteger)


def ordered_by(order: UsageOrder) -> str:
    """The column whose value is the first part of a key."""
    return _ORDERED_BY[order].key


def page_query(
    columns: Columns,
    order: UsageOrder,
    office_id: str,
    month: Month,
    wanted: Conditions,
    after: Key | None,
    limit: int,
) -> tuple[Select[Any], Mapping[str, Any]]:
    """What reads the first records of a month in this order, or those behind a key; with the values to run it with.

    Args:
        columns: What is read of each.
        order: What is first.
        office_id: Whose records.
        month: Of which month; whatever a key says, it does not lead out of it.
        wanted: Further conditions; none is all.
        after: The key of the last record that was read.
        limit: How many at most.
    """
    amount = _ORDERED_BY[order]
    if amount is UsageRow.started_at:
        is_newest_first = order is UsageOrder.NEWEST_FIRST
        return _by_time(columns, office_id, month, wanted, after, is_newest_first).limit(limit), {}
    values: dict[str, Any] = {"at_most": limit}
    if after is not None:
        values |= {"behind_amount": after[0], "behind_seq": after[1]}
    if wanted:
        fitting = (*of_range(office_id, month.begins_at, month.ends_at), *wanted)
        return _whole(columns, _sorted(amount, fitting, is_behind=after is not None)), values
    first_day, end_day = -(-month.begins_at // DAY_MS), month.ends_at // DAY_MS
    values |= {
        "of_office": office_id,
        "begins_at": month.begins_at,
        "first_day": first_day,
        "first_day_at": first_day * DAY_MS,
        "end_day_at": end_day * DAY_MS,
        "ends_at": month.ends_at,
    }
    return _by_day(columns, order, end_day - first_day, is_behind=after is not None), values


def _by_time(
    columns: Columns, office_id: str, month: Month, wanted: Conditions, after: Key | None, is_newest_first: bool
) -> Select[Any]:
    at, seq = UsageRow.started_at, UsageRow.seq
    begins_at, ends_at = month.begins_at, month.ends_at
    query = select(*columns).where(*wanted)
    query = query.order_by(at.desc(), seq.desc()) if is_newest_first else query.order_by(at, seq)
    if after is not None and is_newest_first:
        ends_at = min(after[0] + 1, ends_at)
        query = query.where(or_(at < after[0], seq < after[1]))
    elif after is not None:
        begins_at = max(after[0], begins_at)
        query = query.where(or_(at > after[0], seq > after[1]))
    return query.where(*of_range(office_id, begins_at, ends_at))


@cache
def _by_day(columns: Columns, order: UsageOrder, days: int, *, is_behind: bool) -> Select[Any]:
    """By the number of a month's whole days. Kept, since it takes twice as long to make than to run."""
    amount = _ORDERED_BY[order]

    def parts() -> Iterator[Subquery]:
        for first, end in (("begins_at", "first_day_at"), ("end_day_at", "ends_at")):
            hours = of_range(_OFFICE, bindparam(first, type_=BigInteger), bindparam(end, type_=BigInteger))
            yield _sorted(amount, hours, is_behind=is_behind)
        for number in range(days):
            day = bindparam("first_day", type_=BigInteger) + number
            of_day = (UsageRow.office_id == _OFFICE, day_of_start() == day, IS_OVER)
            if is_behind:
                # Two, since SQLite seeks by one bound: it would try each of the many that cost nothing.
                yield _largest(amount, (*of_day, amount == _BEHIND_AMOUNT, UsageRow.seq < _BEHIND_SEQ))
                yield _largest(amount, (*of_day, amount < _BEHIND_AMOUNT))
            else:
                yield _largest(amount, of_day)

    of_all = union_all(*(select(part) for part in parts())).subquery()
    first_of_all = select(of_all).order_by(of_all.c.amount.desc(), of_all.c.seq.desc()).limit(_LIMIT)
    return _whole(columns, first_of_all.subquery())


def _sorted(amount: InstrumentedAttribute[int], conditions: Conditions, *, is_behind: bool) -> Subquery:
    if is_behind:
        return _largest(amount, (*conditions, tuple_(amount, UsageRow.seq) < tuple_(_BEHIND_AMOUNT, _BEHIND_SEQ)))
    return _largest(amount, conditions)


def _largest(amount: InstrumentedAttribute[int], conditions: Conditions) -> Subquery:
    query = select(amount.label("amount"), UsageRow.seq).where(*conditions)
    return query.order_by(amount.desc(), UsageRow.seq.desc()).limit(_LIMIT).subquery()


def _whole(columns: Columns, chosen: Subquery) -> Select[Any]:
    """The records of those that were chosen; so of no others anything is read but what the indexes have."""
    query = select(*columns).join(chosen, chosen.c.seq == UsageRow.seq)
    return query.order_by(chosen.c.amount.desc(), chosen.c.seq.desc())
