"""The journal's side in SQL, on both databases: rows and positions together, each entry once, the books beside them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Reason, Service
from gateway.ledger.journal import (
    CallBegun,
    CallEnded,
    CallMoved,
    CreditApplied,
    Entry,
    Fact,
    Gap,
    Journal,
    LateRefund,
    MessageRefunded,
    MessageSent,
    Refused,
    ShardBatch,
    Subject,
    Taken,
)
from gateway.ledger.models import NoticeRow, OfficeBookRow, UnrecordedRefusalsRow, UsageRow
from gateway.ledger.outbox import OutboxPosition
from gateway.ledger.refills import RefillTrigger
from tests.support.ledger import NOW, Ledger, with_ledger, with_office

CALL = Subject(
    category=Category.INTERNATIONAL,
    direction=Direction.OUTBOUND,
    license=License.STANDARD,
    service=Service.VOICE,
    message_kind=None,
    segments=0,
    calling_number="+12125550142",
    called_number="+442079460958",
    user_id="u1",
    department_id="d1",
    switch_id="sw1",
    deck_version=3,
    rate_line=7,
)
SMS = Subject(
    Category.MESSAGE, None, None, None, MessageKind.SMS, 2, "+12125550142", "+447911123456", "u1", "", "", 3, 9
)
BEGUN = CallBegun(CALL, Reason.FUNDED, b"rate", b"12345678", b"record")
BEGINNING = OutboxPosition(1, "0-0")


class Outbox:
    """Makes entries of one shard as the store would, with the balances that follow."""

    def __init__(self, shard: int = 0) -> None:
        self.shard = shard
        self.position = BEGINNING
        self.balances: dict[str, int] = {}
        self.count = 0

    def entry(self, fact: Fact, amount: int = 0, *, office_id: str = "o1", at: int = NOW) -> Entry:
        self.count += 1
        self.balances[office_id] = self.balances.get(office_id, 0) + amount
        return Entry(f"{NOW}-{self.count}", office_id, at, amount, self.balances[office_id], fact)

    async def take(self, ledger: Ledger, entries: Sequence[Entry]) -> Taken:
        journal = Journal(ledger.database)
        taken = await journal.take({self.shard: ShardBatch(self.position, entries)}, now_ms=NOW)
        self.position = taken.positions[self.shard]
        return taken


def moved(state: UsageState, debited: int, seconds: int, call_id: str = "c1", **others: Any) -> CallMoved:
    values: dict[str, Any] = {"authorized_at": NOW, "answered_at": NOW + 5, "begun": None, "ended": None} | others
    return CallMoved(call_id, state=state, debited_micros=debited, confirmed_seconds=seconds, **values)


async def usage(ledger: Ledger) -> list[UsageRow]:
    async with ledger.database.read() as session:
        return list(await session.scalars(select(UsageRow).order_by(UsageRow.seq)))


async def book(ledger: Ledger, office_id: str = "o1") -> tuple[int, int, int, int, int]:
    async with ledger.database.read() as session:
        row = await session.get(OfficeBookRow, office_id)
        assert row is not None
        return row.credits_micros, row.moved_micros, row.balance_micros, row.entries, row.gaps


async def notices(ledger: Ledger) -> list[str]:
    async with ledger.database.read() as session:
        return [row.kind.name for row in await session.scalars(select(NoticeRow).order_by(NoticeRow.seq))]


@pytest.mark.parametrize("batches", [1, 2, 4], ids=["one batch", "two batches", "an entry a batch"])
def test_the_record_of_a_call_is_the_same_however_it_is_cut(ledger_url: str, batches: int) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        end = CallEnded(95, 96, 4_000, "NORMAL_CLEARING")
        entries = [
            outbox.entry(CreditApplied(1), 500_000),
            outbox.entry(moved(UsageState.OPEN, 120_000, 50, begun=BEGUN), -120_000),
            outbox.entry(moved(UsageState.LAPSED, 120_000, 50)),
            outbox.entry(moved(UsageState.CLOSED, 196_000, 96, ended=end), -76_000, at=NOW + 100_000),
        ]
        size = len(entries) // batches
        for start in range(0, len(entries), size):
            await outbox.take(ledger, entries[start : start + size])
        [row] = await usage(ledger)
        assert (row.office_id, row.thing_id, row.life_at, row.kind) == ("o1", "c1", NOW, UsageKind.CALL)
        assert (row.state, row.reason, row.category) == (UsageState.CLOSED, Reason.FUNDED, Category.INTERNATIONAL)
        assert (row.started_at, row.answered_at, row.closed_at) == (NOW, NOW + 5, NOW + 100_000)
        assert (row.duration_seconds, row.billed_seconds, row.cause) == (95, 96, "NORMAL_CLEARING")
        assert (row.cost_micros, row.written_off_micros, row.refunded_micros) == (196_000, 4_000, 0)
        assert (row.direction, row.license, row.service) == (Direction.OUTBOUND, License.STANDARD, Service.VOICE)
        assert (row.calling_number, row.called_number) == ("+12125550142", "+442079460958")
        assert (row.user_id, row.department_id, row.switch_id) == ("u1", "d1", "sw1")
        assert (row.deck_version, row.rate_line, row.rate, row.fingerprint) == (3, 7, b"rate", b"12345678")
        # Over, so rebuild has no use for it.
        assert row.record == b""
        assert await book(ledger) == (500_000, -196_000, 304_000, 4, 0)
        assert await ledger.outbox.positions() == {0: OutboxPosition(1, entries[-1].entry_id)}

    with_ledger(ledger_url, scenario)


def test_an_open_call_keeps_what_rebuild_needs(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        await outbox.take(ledger, [outbox.entry(moved(UsageState.OPEN, 60_000, 30, begun=BEGUN), -60_000)])
        await outbox.take(ledger, [outbox.entry(moved(UsageState.LAPSED, 70_000, 35), -10_000)])
        [row] = await usage(ledger)
        assert (row.state, row.cost_micros, row.duration_seconds) == (UsageState.LAPSED, 70_000, 35)
        assert (row.record, row.closed_at, row.billed_seconds) == (b"record", 0, 0)
        # Heard of again.
        await outbox.take(ledger, [outbox.entry(moved(UsageState.OPEN, 80_000, 40), -10_000)])
        assert [(row.state, row.cost_micros) for row in await usage(ledger)] == [(UsageState.OPEN, 80_000)]

    with_ledger(ledger_url, scenario)


def test_an_id_that_is_used_again_is_another_record(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        ended = CallEnded(0, 0, 0, "")
        for authorized_at in (NOW, NOW + 1):
            fact = moved(UsageState.CLOSED, 0, 0, begun=BEGUN, ended=ended, authorized_at=authorized_at)
            await outbox.take(ledger, [outbox.entry(fact)])
        assert [row.life_at for row in await usage(ledger)] == [NOW, NOW + 1]

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "a batch each"])
def test_messages_refunds_and_refusals(ledger_url: str, together: bool) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        refused = Refused("m1", UsageKind.MESSAGE, Reason.INSUFFICIENT_FUNDS, SMS, 0)
        entries = [
            outbox.entry(refused),
            outbox.entry(Refused("m1", UsageKind.MESSAGE, Reason.SPEND_LIMIT, SMS, 3), at=NOW + 1),
            outbox.entry(CreditApplied(1), 1_000_000),
            # A later grant of the same id replaces the refusals.
            outbox.entry(MessageSent("m1", SMS, Reason.FUNDED, 17_000, b"12345678"), -17_000, at=NOW + 2),
            outbox.entry(MessageSent("m2", SMS, Reason.FUNDED, 17_000, b"12345678"), -17_000, at=NOW + 3),
            outbox.entry(MessageRefunded("m1", 17_000), 17_000, at=NOW + 4),
            outbox.entry(Refused("c9", UsageKind.CALL, Reason.NO_RATE, CALL, 0), at=NOW + 5),
        ]
        for batch in [entries] if together else [[entry] for entry in entries]:
            await outbox.take(ledger, batch)
        rows = {row.thing_id: row for row in await usage(ledger)}
        assert len(rows) == len(await usage(ledger)) == 3
        assert [rows["m1"].life_at, rows["m1"].cost_micros, rows["m1"].refunded_micros] == [NOW + 2, 0, 17_000]
        assert [rows["m2"].cost_micros, rows["m2"].segments, rows["m2"].message_kind] == [17_000, 2, MessageKind.SMS]
        assert [rows["c9"].life_at, rows["c9"].reason, rows["c9"].state] == [0, Reason.NO_RATE, UsageState.CLOSED]
        assert await book(ledger) == (1_000_000, -17_000, 983_000, 7, 0)
        async with ledger.database.read() as session:
            counted = list(await session.scalars(select(UnrecordedRefusalsRow)))
        assert [(row.office_id, row.kind, row.at, row.count) for row in counted] == [
            ("o1", UsageKind.MESSAGE, NOW + 1, 3)
        ]

    with_ledger(ledger_url, scenario)


def test_a_refund_that_only_the_ledger_can_give_is_a_credit_once(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        outbox = Outbox()
        await outbox.take(
            ledger,
            [
                outbox.entry(CreditApplied(1), 1_000_000),
                outbox.entry(MessageSent("m1", SMS, Reason.FUNDED, 17_000, b"12345678"), -17_000),
            ],
        )
        for message_id in ("m1", "m1", "never-sent"):
            await outbox.take(ledger, [outbox.entry(LateRefund(message_id))])
        [credit] = await ledger.credits.unapplied_credits(10)
        assert (credit.amount_micros, credit.kind.name, credit.number) == (17_000, "MESSAGE_REFUND", 1)
        [row] = await usage(ledger)
        assert (row.cost_micros, row.refunded_micros) == (0, 17_000)

    with_ledger(ledger_url, scenario)


def test_of_two_gateways_one_writes(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        entries = [outbox.entry(CreditApplied(n), 1) for n in range(1, 51)]
        journal = Journal(ledger.database)
        batch = {0: ShardBatch(BEGINNING, entries)}
        both = await asyncio.gather(*(journal.take(batch, now_ms=NOW) for _ in range(4)))
        assert sorted(len(taken.entries) for taken in both) == [0, 0, 0, 50]
        assert {taken.positions[0].last_id for taken in both} == {entries[-1].entry_id}
        assert await book(ledger) == (50, 0, 50, 50, 0)
        # One that lags behind is told where the others are, and takes nothing.
        late = await journal.take({0: ShardBatch(BEGINNING, entries[:10])}, now_ms=NOW)
        assert (late.entries, late.positions[0].last_id) == ([], entries[-1].entry_id)

    with_ledger(ledger_url, scenario)


def test_a_store_built_anew_begins_again_and_the_old_one_is_not_taken(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        await outbox.take(ledger, [outbox.entry(CreditApplied(1), 5)])
        old = outbox.position
        outbox.position = OutboxPosition(2, "0-0")
        assert len((await outbox.take(ledger, [outbox.entry(CreditApplied(2), 5)])).entries) == 1
        outbox.position = old
        assert (await outbox.take(ledger, [outbox.entry(CreditApplied(3), 5)])).entries == []
        assert await ledger.outbox.epoch() == 2
        assert await book(ledger) == (10, 0, 10, 2, 0)

    with_ledger(ledger_url, scenario)


def test_a_balance_that_does_not_follow_is_a_gap(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        first = outbox.entry(CreditApplied(1), 100)
        outbox.entry(moved(UsageState.OPEN, 30, 1, begun=BEGUN), -30)  # Never written.
        second = outbox.entry(CreditApplied(2), 5)
        assert (await outbox.take(ledger, [first])).gaps == []
        assert (await outbox.take(ledger, [second])).gaps == [Gap("o1", second.entry_id, -30)]
        assert await book(ledger) == (105, 0, 75, 2, 1)

    with_ledger(ledger_url, scenario)


def test_triggers_are_recorded_with_their_entries_and_opened_again(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        trigger = RefillTrigger("o1/1", "o1", 50_000_000, 5_000_000, 4_990_000, NOW)
        taken = await outbox.take(ledger, [outbox.entry(trigger), outbox.entry(trigger)])
        assert taken.triggers == 1
        assert (await outbox.take(ledger, [outbox.entry(trigger)])).triggers == 0
        assert await ledger.refills.last_seq() == 1

    with_ledger(ledger_url, scenario)


def test_people_are_told_once_a_dip(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)  # Threshold 5.00, refill off.
        outbox = Outbox()

        async def happens(fact: Fact, amount: int = 0) -> list[str]:
            before = len(await notices(ledger))
            await outbox.take(ledger, [outbox.entry(fact, amount)])
            return (await notices(ledger))[before:]

        # The same id each time, at the same time: a clock that stands still does not stop the journal.
        sent = MessageSent("m", SMS, Reason.FUNDED, 2_000_000, b"12345678")
        blocked = Refused("b", UsageKind.MESSAGE, Reason.INSUFFICIENT_FUNDS, SMS, 0)
        assert await happens(CreditApplied(1), 6_000_000) == []
        assert await happens(sent, -2_000_000) == ["LOW_FUNDS"]
        assert await happens(sent, -2_000_000) == []
        assert await happens(blocked) == ["MESSAGES_BLOCKED"]
        assert await happens(blocked) == []
        assert await happens(Refused("n", UsageKind.MESSAGE, Reason.NO_RATE, SMS, 0)) == []
        assert await happens(CreditApplied(2), 10_000_000) == []
        assert await happens(sent, -8_000_000) == ["LOW_FUNDS"]
        assert await happens(blocked) == ["MESSAGES_BLOCKED"]
        [row] = [row for row in await usage(ledger) if row.thing_id == "m"]
        assert row.cost_micros == 3 * 2_000_000

    with_ledger(ledger_url, scenario)


def test_a_batch_of_thousands_over_many_offices(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        outbox = Outbox()
        ended = CallEnded(60, 60, 0, "16")
        entries = []
        for n in range(3_000):
            office_id = f"o{n % 1_100}"
            entries.append(outbox.entry(CreditApplied(1), 1_000_000, office_id=office_id))
            fact = moved(UsageState.CLOSED, 120_000, 60, f"c{n}", begun=BEGUN, ended=ended)
            entries.append(outbox.entry(fact, -120_000, office_id=office_id))
        taken = await outbox.take(ledger, entries)
        assert (len(taken.entries), taken.gaps) == (6_000, [])
        rows = await usage(ledger)
        assert (len(rows), sum(row.cost_micros for row in rows)) == (3_000, 3_000 * 120_000)
        assert await book(ledger, "o0") == (3_000_000, -360_000, 2_640_000, 6, 0)

    with_ledger(ledger_url, scenario)
