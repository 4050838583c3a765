"""The usage records, read: by month, summed up, in pages and in batches; on both databases."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.month import Month
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Reason, UsageOrder
from gateway.errors import InvalidArgument
from gateway.ledger import usage
from gateway.ledger.paging import PageRequest
from gateway.ledger.usage import Usage, UsageFilter, UsageTotal
from tests.support.ledger import Ledger, with_ledger
from tests.support.usage import call, free_call, message, record, record_unrecorded, refusal

JUNE = Month.parse("2025-06", "America/New_York", now_ms=1_760_000_000_000)
JULY = Month.parse("2025-07", "America/New_York", now_ms=1_760_000_000_000)
AT = JUNE.begins_at
ALL = UsageFilter()


def totals(found: tuple[UsageTotal, ...]) -> dict[Category | None, tuple[int, int, int]]:
    return {each.category: (each.count, each.cost_micros, each.blocked) for each in found}


NOTHING = dict.fromkeys(Category, (0, 0, 0))


async def every_page(of: Usage, size: int, wanted: UsageFilter = ALL, month: Month = JUNE) -> list[str]:
    ids, token = [], ""
    while True:
        page = await of.list(PageRequest(size, token), "o1", month, wanted)
        ids += [each.thing_id for each in page.items]
        token = page.next_page_token
        if not token:
            return ids
        assert len(page.items) == size


def test_a_month_is_summed_up_by_category(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        assert totals(await of.summary("o1", JUNE)) == NOTHING
        await record(
            ledger.database,
            call("i1", AT),
            call("i2", AT + 1, cost_micros=1, written_off_micros=5),
            call("unanswered", AT + 1, answered_at=0, duration_seconds=0, billed_seconds=0, cost_micros=0),
            call("fax", AT + 2, category=Category.FAX, cost_micros=7),
            call("toll-free", AT + 3, category=Category.TOLL_FREE, cost_micros=20_000),
            free_call("local", AT + 4),
            free_call("911", AT + 4, category=Category.EMERGENCY, reason=Reason.EMERGENCY),
            message("m1", AT + 5),
            message("refunded", AT + 5, cost_micros=0, refunded_micros=60_000),
            refusal(message("m2", AT + 6), Reason.INSUFFICIENT_FUNDS),
            refusal(call("i3", AT + 7), Reason.PRICE_LIMIT),
            refusal(call("nonsense", AT + 7, category=None), Reason.INVALID_NUMBER),
            call("lapsed", AT + 8, state=UsageState.LAPSED, cost_micros=100),
            call("goes on", AT + 9, state=UsageState.OPEN, cost_micros=1_000_000),
            call("of another office", AT, office_id="o2"),
        )
        assert totals(await of.summary("o1", JUNE)) == NOTHING | {
            Category.INTERNATIONAL: (4, 440_101, 1),
            Category.FAX: (1, 7, 0),
            Category.TOLL_FREE: (1, 20_000, 0),
            Category.LOCAL: (1, 0, 0),
            Category.EMERGENCY: (1, 0, 0),
            Category.MESSAGE: (2, 60_000, 1),
            None: (0, 0, 1),
        }
        assert totals(await of.summary("o3", JUNE)) == NOTHING

    with_ledger(ledger_url, scenario)


def test_what_was_only_counted_is_blocked_too(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, message("m1", AT), refusal(message("m2", AT), Reason.SPEND_LIMIT))
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, AT, 1_000)
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, JUNE.ends_at - 1, 30)
        await record_unrecorded(ledger.database, UsageKind.CALL, AT + 5, 7)
        await record_unrecorded(ledger.database, UsageKind.CALL, AT - 1, 100)
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, JUNE.ends_at, 100)
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, AT, 100, office_id="o2")
        found = totals(await of.summary("o1", JUNE))
        assert found == NOTHING | {Category.MESSAGE: (1, 60_000, 1_031), None: (0, 0, 7)}

    with_ledger(ledger_url, scenario)


def test_messages_that_were_blocked_lately_are_counted(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        assert await of.blocked_messages("o1", AT) == 0
        await record(
            ledger.database,
            message("sent", AT),
            refusal(message("before", AT - 1), Reason.INSUFFICIENT_FUNDS),
            refusal(message("first", AT), Reason.INSUFFICIENT_FUNDS),
            refusal(message("later", AT + 9), Reason.INSUFFICIENT_FUNDS),
            refusal(message("for another reason", AT + 1), Reason.SPEND_LIMIT),
            refusal(call("a call", AT + 1), Reason.INSUFFICIENT_FUNDS),
            refusal(message("of another office", AT, office_id="o2"), Reason.INSUFFICIENT_FUNDS),
        )
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, AT - 1, 1_000)
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, AT, 100)
        await record_unrecorded(ledger.database, UsageKind.MESSAGE, AT + 5, 30)
        await record_unrecorded(ledger.database, UsageKind.CALL, AT + 5, 7)
        assert await of.blocked_messages("o1", AT) == 132
        assert await of.blocked_messages("o1", AT + 1) == 31
        assert await of.blocked_messages("o1", AT + 10) == 0
        assert await of.blocked_messages("o1", 0) == 1_133
        assert await of.blocked_messages("o2", AT) == 1

    with_ledger(ledger_url, scenario)


def test_a_record_is_of_the_month_in_which_it_started(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        for name, at in (("before", AT - 1), ("first", AT), ("last", JUNE.ends_at - 1), ("after", JUNE.ends_at)):
            await record(ledger.database, call(name, at))
        assert await every_page(of, 10) == ["last", "first"]
        assert await every_page(of, 10, month=JULY) == ["after"]
        assert totals(await of.summary("o1", JUNE))[Category.INTERNATIONAL] == (2, 880_000, 0)
        exported = [each.thing_id async for batch in of.batches("o1", JUNE) for each in batch]
        assert exported == ["first", "last"]

    with_ledger(ledger_url, scenario)


FILTERS = [
    UsageFilter(),
    UsageFilter(Category.MESSAGE),
    UsageFilter(user_id="user-1"),
    UsageFilter(department_id="dept-2"),
    UsageFilter(Category.LOCAL, "user-0", "dept-0"),
    UsageFilter(Category.FAX),
    UsageFilter(user_id="nobody"),
    UsageFilter(user_id="' OR 1=1 --"),
]


def test_pages_of_any_size_show_each_record_that_fits_once(ledger_url: str) -> None:
    # Many share an instant: their order is that of their numbers.
    rows = [
        (message if number % 3 else free_call)(
            f"r{number}", AT + number // 7 * 1000, user_id=f"user-{number % 4}", department_id=f"dept-{number % 6}"
        )
        for number in range(100)
    ]

    def fits(row: dict[str, Any], wanted: UsageFilter) -> bool:
        return (
            wanted.category in (None, row["category"])
            and wanted.user_id in ("", row["user_id"])
            and wanted.department_id in ("", row["department_id"])
        )

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *rows)
        for wanted in FILTERS:
            expected = [row["thing_id"] for row in reversed(rows) if fits(row, wanted)]
            for size in (1, 7, 33, 1000):
                assert await every_page(of, size, wanted) == expected

    with_ledger(ledger_url, scenario)


def test_pages_stand_still_while_records_come(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *(call(f"c{n}", AT + n * 10) for n in range(6)))
        first = await of.list(PageRequest(3), "o1", JUNE)
        # A newer one, one in between that ended late, and one at the edge of the page.
        await record(ledger.database, call("new", AT + 99), call("late", AT + 45), call("edge", AT + 30))
        rest = await of.list(PageRequest(10, first.next_page_token), "o1", JUNE)
        assert [each.thing_id for each in first.items + rest.items] == ["c5", "c4", "c3", "c2", "c1", "c0"]

    with_ledger(ledger_url, scenario)


def test_a_token_of_another_query_is_refused(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, *(call(f"c{n}", AT + n) for n in range(4)))
        token = (await of.list(PageRequest(2), "o1", JUNE)).next_page_token
        assert token
        others: list[tuple[str, Month, UsageFilter]] = [
            ("o2", JUNE, UsageFilter()),
            ("o1", JULY, UsageFilter()),
            ("o1", Month.parse("2025-06", "UTC", now_ms=JULY.begins_at), UsageFilter()),
            *(("o1", JUNE, wanted) for wanted in FILTERS[1:]),
        ]
        for office_id, month, wanted in others:
            with pytest.raises(InvalidArgument) as caught:
                await of.list(PageRequest(2, token), office_id, month, wanted)
            assert caught.value.field == "page_token"
        for nonsense in ("x", token[:-4], "", token * 2, "W10="):
            if nonsense:
                with pytest.raises(InvalidArgument):
                    await of.list(PageRequest(2, nonsense), "o1", JUNE)

    with_ledger(ledger_url, scenario)


def test_a_forged_key_reaches_no_other_month(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        await record(ledger.database, call("june", AT), call("july", JULY.begins_at))
        for order, key, wanted in itertools.product(
            UsageOrder,
            ((2**63 - 1, 2**63 - 1), (JULY.ends_at, 0), (-(2**63) + 1, 0)),
            (ALL, UsageFilter(Category.INTERNATIONAL)),
        ):
            asked = ("usage", "o1", JUNE.name, JUNE.time_zone, wanted, order)
            forged = PageRequest(1).page([0, 1], lambda _, key=key: key, *asked).next_page_token  # type: ignore[misc]
            page = await of.list(PageRequest(10, forged), "o1", JUNE, wanted, order)
            assert [each.thing_id for each in page.items] in (["june"], [])

    with_ledger(ledger_url, scenario)


def test_an_export_reads_everything_once_in_order_and_holds_nothing(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "EXPORT_BATCH", 10)

    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        rows = [call(f"c{n}", AT + n // 25) for n in range(100)]
        random.Random(7).shuffle(rows)
        await record(ledger.database, *rows, call("open", AT, state=UsageState.OPEN))
        seen: list[tuple[int, int]] = []
        async for batch in of.batches("o1", JUNE):
            assert len(batch) == 10
            seen += [(each.started_at, each.seq) for each in batch]
            # A writer gets its turn at once, whatever the reader does: no transaction is open.
            async with asyncio.timeout(10):
                await record(ledger.database, call(f"late-{len(seen)}", AT - 1))
        assert len(seen) == 100
        assert seen == sorted(set(seen))
        assert [len(batch) async for batch in of.batches("o2", JUNE)] == []

    with_ledger(ledger_url, scenario)


def test_the_summary_is_what_a_recount_of_the_records_says(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        dice = random.Random(20260115)
        of = Usage(ledger.database)
        rows = []
        for number in range(1_500):
            makes: list[Callable[..., dict[str, Any]]] = [call, free_call, message]
            row = dice.choice(makes)(
                f"r{number}", AT + dice.randrange(JUNE.ends_at - AT), category=dice.choice(list(Category))
            )
            if row["reason"] is Reason.FUNDED:
                row["cost_micros"] = dice.randrange(10**12)
            rows.append(refusal(row, Reason.TOO_MANY_CALLS) if dice.random() < 0.1 else row)
        await record(ledger.database, *rows)
        counts: Counter[Category] = Counter()
        costs: Counter[Category] = Counter()
        blocked: Counter[Category] = Counter()
        async for batch in of.batches("o1", JUNE):
            for each in batch:
                assert each.category is not None
                (blocked if each.is_refused else counts)[each.category] += 1
                costs[each.category] += each.cost_micros
        assert totals(await of.summary("o1", JUNE)) == {
            each: (counts[each], costs[each], blocked[each]) for each in Category
        }
        assert sum(counts.values()) + sum(blocked.values()) == 1_500

    with_ledger(ledger_url, scenario)


def test_the_latest_record_of_an_id_is_found(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        of = Usage(ledger.database)
        assert await of.find("o1", "c1") is None
        await record(ledger.database, refusal(call("c1", AT), Reason.INSUFFICIENT_FUNDS))
        found = await of.find("o1", "c1")
        assert found is not None
        assert (found.is_refused, found.reason, found.call_rate is None) == (True, Reason.INSUFFICIENT_FUNDS, False)
        await record(ledger.database, call("c1", AT + 5_000), call("c1", AT + 9_000, state=UsageState.OPEN))
        found = await of.find("o1", "c1")
        assert found is not None
        assert (found.started_at, found.state, found.is_refused) == (AT + 9_000, UsageState.OPEN, False)
        assert await of.find("o2", "c1") is None

    with_ledger(ledger_url, scenario)
