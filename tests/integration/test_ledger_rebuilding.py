"""The SQL half of audit and rebuild, on both databases."""

from collections.abc import Sequence

import pytest
from sqlalchemy import select, update

from gateway.domain.credit import CreditStatus
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Reason
from gateway.ledger.auditing.payments import AuditedPayments
from gateway.ledger.auditing.standings import AuditedStandings, Book, CreditSums
from gateway.ledger.auditing.usage import AuditedUsage, UsageSum
from gateway.ledger.journal import CallEnded, CreditApplied, MessageRefunded, MessageSent
from gateway.ledger.models import CreditRow, OfficeBookRow, UsageRow
from gateway.ledger.outbox import OutboxPosition
from gateway.ledger.rebuilding import Rebuilding, RebuiltMeanwhile, UsageToRestore
from tests.integration.test_ledger_journal import BEGUN, SMS, Outbox, moved
from tests.support.ledger import NOW, WHO, Ledger, credit, with_ledger, with_office

HOUR, DAY = 3_600_000, 86_400_000


async def some_usage(ledger: Ledger) -> Outbox:
    """Two credits, an open call, a call that is over, a message given back."""
    await with_office(ledger)
    outbox = Outbox()
    for number, amount in enumerate((500_000, 70_000), 1):
        await ledger.credits.new_credit(credit(amount, f"k{number}"), actor=WHO, now_ms=NOW)
        await ledger.credits.mark_applied("o1", number, amount, now_ms=NOW)
    sent = MessageSent("m1", SMS, Reason.FUNDED, 30_000, b"12345678")
    await outbox.take(
        ledger,
        [
            outbox.entry(CreditApplied(1), 500_000),
            outbox.entry(CreditApplied(2), 70_000),
            outbox.entry(moved(UsageState.OPEN, 120_000, 50, begun=BEGUN), -120_000),
            outbox.entry(
                moved(UsageState.CLOSED, 60_000, 30, "c2", begun=BEGUN, ended=CallEnded(30, 30, 0, "")), -60_000
            ),
            outbox.entry(sent, -30_000),
            outbox.entry(MessageRefunded("m1", 30_000), 30_000),
        ],
    )
    return outbox


def test_what_the_audit_reads(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = await some_usage(ledger)
        await ledger.credits.new_credit(credit(9, "k3"), actor=WHO, now_ms=NOW)
        standings = AuditedStandings(ledger.database)
        found = await standings.of(0, ["o1", "nobody"])
        assert found.position == outbox.position
        assert found.offices["o1"].book == Book(570_000, -180_000, 390_000, 6, 0)
        assert found.offices["o1"].open_calls == {("c1", NOW): 120_000}
        assert (found.offices["o1"].was_in_store, found.offices["o1"].confirmed_number) == (True, 2)
        assert (found.offices["nobody"].was_in_store, found.offices["nobody"].book) == (False, Book())
        assert await standings.credits(0, {"o1": 1, "nobody": 3}) == (
            outbox.position,
            {"o1": CreditSums(500_000, 3, 70_009, 2)},
        )
        assert await standings.office_ids() == ["o1"]
        assert await standings.books_without_office(9) == []
        assert await standings.newest_entry_at() == NOW
        usage = AuditedUsage(ledger.database)
        assert await usage.sums(["o1", "nobody"]) == {
            "o1": UsageSum(180_000, 0, -180_000),
            "nobody": UsageSum(0, 0, 0),
        }
        assert [each.thing_id async for batch in usage.records(None) for each in batch] == ["c1", "c2", "m1"]
        assert [batch async for batch in usage.records("nobody")] == []
        assert await AuditedPayments(ledger.database).faults(9, None) == []

    with_ledger(ledger_url, scenario)


def test_what_a_rebuild_takes(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await some_usage(ledger)
        rebuilding = Rebuilding(ledger.database)
        assert (await rebuilding.count_offices(), await rebuilding.office_ids("")) == (1, ["o1"])
        for _ in range(2):
            [office] = await rebuilding.settle(["o1"], now_ms=NOW)
            assert (office.balance_micros, office.credit_number, office.credit_amount_micros) == (390_000, 2, 70_000)

        async def usage(after_ms: int) -> list[UsageToRestore]:
            pages = rebuilding.usage(["o1"], now_ms=NOW + after_ms, stub_ms=HOUR, lapsed_ms=DAY)
            return [each async for page in pages for each in page]

        page = await usage(HOUR)
        assert [(each.thing_id, each.state, each.refunded_micros) for each in page] == [
            ("c1", UsageState.LAPSED, 0),
            ("c2", UsageState.CLOSED, 0),
            ("m1", UsageState.CLOSED, 30_000),
        ]
        assert page[0].record == BEGUN.record
        assert [each.thing_id for each in await usage(2 * HOUR + 1)] == ["c1"]
        assert await usage(2 * DAY + 1) == []
        assert await rebuilding.spent_since("o1", NOW) == 180_000
        assert await rebuilding.spent_since("o1", NOW + 1) == 0

    with_ledger(ledger_url, scenario)


def test_an_epoch_begins_once(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await some_usage(ledger)
        rebuilding = Rebuilding(ledger.database)
        for wrong in (0, 1):
            with pytest.raises(RebuiltMeanwhile):
                await rebuilding.begin_epoch(wrong, 64, now_ms=NOW)
        await rebuilding.begin_epoch(2, 64, now_ms=NOW)
        assert await ledger.outbox.positions() == dict.fromkeys(range(64), OutboxPosition(2, "0-0"))
        with pytest.raises(RebuiltMeanwhile):
            await rebuilding.begin_epoch(2, 64, now_ms=NOW)

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize(
    ("unconfirmed", "booked", "number", "balance"),
    [
        # Which credits nobody noted as confirmed; what the book has of credits; up to which the store had them.
        ([], 570_000, 2, 390_000),
        ([2], 570_000, 2, 390_000),
        ([2], 500_000, 1, 320_000),
        ([1, 2], 570_000, 2, 390_000),
        ([1, 2], 0, 0, -180_000),
        # A later one was confirmed, so this one was there.
        ([1], 570_000, 2, 390_000),
        # The book knows less than what was confirmed: the entries were lost, and the credits are the office's.
        ([], 500_000, 2, 390_000),
        # No number of credits makes what the book has: what was confirmed counts.
        ([2], 500_001, 1, 320_000),
    ],
)
def test_up_to_which_credit_the_store_had_them(
    ledger_url: str, unconfirmed: Sequence[int], booked: int, number: int, balance: int
) -> None:
    async def scenario(ledger: Ledger) -> None:
        await some_usage(ledger)
        async with ledger.database.write() as session:
            await session.execute(
                update(CreditRow)
                .where(CreditRow.number.in_(unconfirmed))
                .values(applied_at=None, status=CreditStatus.PENDING)
            )
            await session.execute(update(OfficeBookRow).values(credits_micros=booked))
        for _ in range(2):
            [office] = await Rebuilding(ledger.database).settle(["o1"], now_ms=NOW)
            assert (office.credit_number, office.balance_micros) == (number, balance)
            async with ledger.database.read() as session:
                book = (await session.scalars(select(OfficeBookRow))).one()
                assert (book.credits_micros, book.balance_micros) == (balance + 180_000, balance)
                assert (await session.scalars(select(UsageRow.state).where(UsageRow.thing_id == "c1"))).one() is (
                    UsageState.LAPSED
                )
        held = (await ledger.credits.total("o1")).unconfirmed
        assert held == len([each for each in unconfirmed if each > number or (each == 1 and unconfirmed == [1])])

    with_ledger(ledger_url, scenario)
