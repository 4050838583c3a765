"""What must hold at the end of the month: the invariants of the money, and that three ways of counting agree.

The three are the book, the summary, and a recount of the CSV by a program that is given nothing else.
"""

import csv
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from gateway.auditing import audit
from gateway.domain.vocabulary import Category
from gateway.ledger.models import OfficeBookRow
from gateway.payments.sandbox import FILE_NAME
from gateway.store.keys import SHARDS, outbox_key
from gateway.v1 import credits_pb2 as pb
from tests.simulation.month.book import Entry, Line, added_up, day_of, told_apart
from tests.simulation.month.owners import Office
from tests.simulation.month.plot import AFTER, BEFORE, MONTH, Month
from tests.simulation.month.switch import STORM
from tests.support.back import BackUnderTest, bearer

REFILLS_A_DAY = 5


@dataclass(frozen=True)
class Totals:
    """What there was, for who wants to know whether the month was one."""

    records: int
    refused: int
    refills: int
    purchases: int
    taken_from_cards: int


async def check(month: Month) -> Totals:
    """Hold the whole month against everything that it must be."""
    back = month.gateways.backs[1]
    await _nothing_is_left(back)
    charges = _charged(back)
    totals, credited = Counter[str](), 0
    for office in month.offices:
        transactions = await _transactions(back, office)
        await _check_money(back, office, transactions, charges.get(office.office_id, {}))
        credited += sum(each.amount_micros for each in transactions if _is_paid_by_card(office, each))
        totals["refills"] += sum(each.kind == "refill" for each in transactions)
        totals["purchases"] += sum(each.kind == "purchase" for each in transactions)
        await _check_usage(back, office, totals)
    taken = sum(sum(of_office.values()) for of_office in charges.values())
    assert taken == credited
    report = await audit(back.back.database, back.back.connection)
    assert report.is_clean, [str(each) for each in report.differences]
    return Totals(totals["records"], totals["refused"], totals["refills"], totals["purchases"], taken)


async def _nothing_is_left(back: BackUnderTest) -> None:
    for shard in range(SHARDS):
        assert not await back.back.connection.ask("EXISTS", outbox_key(shard)) or not await back.back.connection.ask(
            "XLEN", outbox_key(shard)
        )
    assert await back.back.billing.charges.count_undecided() == 0
    assert not await back.back.billing.refills.unfinished(1, "")


def _charged(back: BackUnderTest) -> dict[str, dict[str, int]]:
    """By the sandbox's own file: for each office what its cards paid for, a refill or a purchase, at most once each."""
    with sqlite3.connect(back.settings.data_dir / FILE_NAME) as file:
        rows = file.execute(
            "SELECT idempotency_key, amount_micros, json_extract(metadata, '$.office_id'),"
            " json_extract(metadata, '$.purpose') FROM charge WHERE status = 'SUCCEEDED'"
        ).fetchall()
    file.close()
    charges: dict[str, dict[str, int]] = defaultdict(dict)
    for key, amount, office_id, purpose in rows:
        if purpose == "CONFIRMATION":
            continue
        # <installation>/<office>/<number>/<attempt>: whichever attempt it was, the refill is paid for once.
        paid_for = key.partition("/")[2].rpartition("/")[0] if purpose == "REFILL" else key
        assert paid_for not in charges[office_id], f"{paid_for} was charged twice"
        charges[office_id][paid_for] = amount
    return charges


async def _transactions(back: BackUnderTest, office: Office) -> list[pb.Transaction]:
    found: list[pb.Transaction] = []
    request = pb.ListTransactionsRequest(office_id=office.office_id, page_size=100)
    while True:
        page = await back.stub.ListTransactions(request, metadata=bearer())
        found += page.transactions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _is_paid_by_card(office: Office, transaction: pb.Transaction) -> bool:
    return transaction.kind in ("purchase", "refill") and bool(office.payment_method_id)


async def _check_money(
    back: BackUnderTest, office: Office, transactions: list[pb.Transaction], charges: Mapping[str, int]
) -> None:
    """Invariants 1 to 5."""
    account, office_id = office.account, office.office_id
    by_kind = {
        kind: [each.amount_micros for each in transactions if each.kind == kind]
        for kind in ("purchase", "refill", "adjustment", "refund")
    }
    assert sum(map(len, by_kind.values())) == len(transactions)
    # What the owner was told, and what the transactions say.
    assert sum(by_kind["purchase"]) == account.bought
    assert sum(by_kind["adjustment"]) == account.adjusted
    assert sum(by_kind["refund"]) == account.given_back_late
    refills = {each.refill_id: each.amount_micros for each in transactions if each.kind == "refill"}
    assert len(refills) == len(by_kind["refill"]), "a refill was credited twice"
    if office.payment_method_id:
        assert refills == {name: amount for name, amount in charges.items() if name.startswith(f"{office_id}/")}
        assert sum(charges.values()) == sum(by_kind["purchase"]) + sum(by_kind["refill"])
    else:
        assert not charges
        assert await _invoiced(back, office) == sum(by_kind["purchase"]) + sum(by_kind["refill"])
    a_day = Counter(day_of(each.at.ToMilliseconds(), account.time_zone) for each in transactions if each.refill_id)
    assert all(count <= REFILLS_A_DAY for count in a_day.values()), a_day
    # The balance, three ways: the book, the ledger's own sum, the store.
    credits_ = sum(each.amount_micros for each in transactions)
    record = await back.store.read_office(office_id)
    assert record is not None
    assert record.balance_micros == credits_ - account.spent
    assert (record.reserved_micros, record.concurrent_calls) == (0, 0)
    assert record.available_micros >= 0
    total = await back.ledger.credits.total(office_id)
    assert (total.unconfirmed, total.applied_micros) == (0, credits_)
    async with back.ledger.database.read() as session:
        book = await session.scalar(select(OfficeBookRow).where(OfficeBookRow.office_id == office_id))
    if book is not None:
        assert (book.credits_micros, book.moved_micros, book.balance_micros, book.gaps) == (
            credits_, -account.spent, record.balance_micros, 0,
        )  # fmt: skip


async def _invoiced(back: BackUnderTest, office: Office) -> int:
    listed = await back.stub.ListInvoices(pb.ListInvoicesRequest(office_id=office.office_id), metadata=bearer())
    return sum(each.total_micros for each in listed.invoices)


async def _check_usage(back: BackUnderTest, office: Office, totals: Counter[str]) -> None:
    found = 0
    for month in (BEFORE, MONTH, AFTER):
        rows = [row async for row in _exported(back, office, month)]
        found += len(rows)
        totals["records"] += len(rows)
        totals["refused"] += sum(row["decision"] == "DENIED" for row in rows)
        expected = office.account.month(month)
        _compare(office, rows, expected)
        # The CSV's recount, the book and the summary are one.
        counted_only = {
            category: Line(blocked=count) for (of, category), count in office.account.unrecorded.items() if of == month
        }
        recount = _with(added_up(map(_entry, rows)), counted_only)
        assert recount == told_apart(office.account.summary(month))
        assert recount == await _summary(back, office, month)
    assert found == len(office.account.entries)


def _compare(office: Office, rows: list[dict[str, str]], expected: Mapping[str, Entry]) -> None:
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    if office.terms.is_poor:
        # Which of a storm were written down nobody knows.
        assert all(name.startswith(STORM) for name in found)
        assert Counter(map(_plain_of_storm, map(_entry, rows))) == Counter(map(_plain_of_storm, expected.values()))
        return
    for name in found.keys() ^ expected.keys():
        pytest.fail(f"of {office.office_id}: reported {found.get(name)}, expected {expected.get(name)}")
    for name, row in found.items():
        assert _entry(row) == _to_the_second(expected[name]), name


def _plain_of_storm(entry: Entry) -> tuple[object, ...]:
    return entry.category, entry.reason, entry.started_at // 1000, entry.cost_micros


async def _exported(back: BackUnderTest, office: Office, month: str) -> Any:
    request = pb.ExportUsageRequest(office_id=office.office_id, month=month)
    chunks = [part.chunk async for part in back.stub.ExportUsage(request, metadata=bearer())]
    lines = b"".join(chunks).decode().splitlines(keepends=True)
    for row in csv.DictReader(lines, strict=True):
        assert row["time_zone"] == office.account.time_zone
        # In the office's own words it began in this month.
        assert row["started_at"].startswith(month), row
        yield row


def _entry(row: Mapping[str, str]) -> Entry:
    """A line of the CSV, read as whoever has nothing else reads it."""
    return Entry(
        row["id"], row["kind"], row["category"], row["direction"], row["license"],
        row["calling_number"].removeprefix("'"), row["called_number"].removeprefix("'"),
        row["user_id"], row["department_id"],
        _instant(row["started_at"]), row["reason"], _instant(row["answered_at"]), int(row["duration_seconds"]),
        int(row["billed_seconds"]), int(row["segments"]), _micros(row["cost"]), _micros(row["refunded"]),
        _micros(row["written_off"]), row["state"],
    )  # fmt: skip


def _to_the_second(entry: Entry) -> Entry:
    cut = {"started_at": entry.started_at // 1000 * 1000, "answered_at": entry.answered_at // 1000 * 1000}
    return Entry(**{**vars(entry), **cut})


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000 if text else 0


def _micros(text: str) -> int:
    return int(Decimal(text) * 1_000_000)


def _with(lines: Mapping[str, Line], more: Mapping[str, Line]) -> dict[str, Line]:
    both: dict[str, Line] = defaultdict(Line)
    for category, line in (*lines.items(), *more.items()):
        total = both[category]
        both[category] = Line(
            total.count + line.count, total.cost_micros + line.cost_micros, total.blocked + line.blocked
        )
    return told_apart(both)


async def _summary(back: BackUnderTest, office: Office, month: str) -> dict[str, Line]:
    request = pb.UsageSummaryRequest(office_id=office.office_id, month=month)
    answer = await back.stub.UsageSummary(request, metadata=bearer())
    assert (answer.month, answer.time_zone) == (month, office.account.time_zone)
    return told_apart(
        {
            Category(each.category).name if each.category else "": Line(each.count, each.cost_micros, each.blocked)
            for each in answer.totals
        }
    )
