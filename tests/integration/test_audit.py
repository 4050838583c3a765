"""The audit on a real store and a real ledger: what is sound is clean, and each sabotage is found and named."""

import asyncio
import dataclasses
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from gateway.auditing import Difference, audit
from gateway.domain.credit import CreditKind, CreditRequest
from gateway.domain.payment import ChargeStatus, RefillStatus
from gateway.domain.usage import UsageState
from gateway.ledger.auditing.standings import AuditedStandings, Standings
from gateway.ledger.database import Database, open_database
from gateway.ledger.errors import OfficeNotFound
from gateway.ledger.models import (
    ChargeRow,
    CreditRow,
    DeckRow,
    InvoiceItemRow,
    OfficeBookRow,
    OutboxPositionRow,
    PaymentMethodRow,
    PurchaseRow,
    RefillRow,
    UsageRow,
)
from gateway.store.codes import Code
from gateway.store.keys import EPOCH_KEY, due_key, office_keys, outbox_key, shard_of
from gateway.v1.records_pb2 import Details
from tests.support.audits import assert_clean, audited
from tests.support.back import OFFICE, BackUnderTest, running_back
from tests.support.balances import BY_THE_SECOND, NOON, Till, open_till
from tests.support.billing import DOLLARS, buy, confirmed_card, refill_charge
from tests.support.servers import StoreServer

KEYS = office_keys(OFFICE)
SHARD = shard_of(OFFICE)
REFILL = f"{OFFICE}/1"


@dataclass(frozen=True)
class Installation:
    """A ledger and a store, with nothing that works on them."""

    database: Database
    till: Till


Sabotage = Callable[[Installation], Awaitable[None]]


async def an_eventful_hour(back: BackUnderTest) -> None:
    """An office of which the ledger knows a part, the outbox another, and the store all."""
    journal = back.journaler.turn
    await back.open_office()
    card = await confirmed_card(back)
    await back.refill()
    assert not await journal()
    await credit_refill(back, card)
    await buy(back, card)
    version = (await back.till.office()).settings.version
    authorize = partial(back.till.authorize, version=version)
    details = Details(called_number="+442079460958", deck_version=1)
    await authorize("ended", details=details)
    await back.till.end(61, "ended")
    await authorize("live", BY_THE_SECOND, details=details)
    await back.till.tick(50, "live")
    await authorize("lapsed")
    await back.till.tick(1, "lapsed")
    await back.till.lapse("lapsed", forced=True)
    await back.till.authorize_free("free", version=version)
    await back.spend(30_000, "refunded")
    await back.till.refund("refunded")
    await back.spend(40_000, "refunded late")
    assert not await journal()
    await back.till.connection.ask("DEL", KEYS.message_prefix + b"refunded late")
    assert (await back.till.refund("refunded late")).code is Code.NOT_FOUND
    assert not await journal()
    await back.back.background.applier.turn()
    assert not await journal()
    # What follows is in the outbox only.
    await back.till.tick(70, "live")
    await authorize("new", details=details)
    await back.till.tick(1, "new")
    await back.spend(5_000, "pending")
    await back.adjust(-1_000, "a fee")


async def credit_refill(back: BackUnderTest, card: str) -> None:
    """A refill by card, as the ledger has one that was charged and credited."""
    await back.adjust(50 * DOLLARS, "a refill", refill_id=REFILL)
    async with back.back.database.write() as session:
        of_refill = (CreditRow.office_id == OFFICE, CreditRow.refill_id == REFILL)
        await session.execute(update(CreditRow).where(*of_refill).values(idempotency_key=f"tg:refill:{REFILL}"))
        session.add(
            RefillRow(
                refill_id=REFILL,
                office_id=OFFICE,
                number=1,
                amount_micros=50 * DOLLARS,
                status=RefillStatus.CREDITED,
                attempt=1,
                credit_number=1,
                created_at=NOON,
                changed_at=NOON,
            )
        )
        session.add(refill_charge(card))


async def test_a_sound_installation_is_clean_however_far_the_journal_is(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await an_eventful_hour(back)
        report = await assert_clean(back)
        assert (report.offices, report.live_calls, report.usage_records) == (1, 3, 5)
        assert report.outbox_entries == 4
        assert (await assert_clean(back)).ledger_knows_until == NOON
        await back.journaler.turn()
        report = await assert_clean(back)
        assert (report.outbox_entries, report.usage_records, report.credits_to_come) == (0, 7, 0)
        # A credit that the store does not have yet is no difference, and shown apart.
        await back.ledger.credits.new_credit(credit_of(7_000_000), actor="test", now_ms=NOON)
        report = await assert_clean(back)
        assert (report.credits_to_come, report.credits_to_come_micros) == (1, 7_000_000)
        assert (await audited(back, OFFICE)).is_clean
        with pytest.raises(OfficeNotFound):
            await audited(back, "nobody")


def credit_of(amount: int) -> CreditRequest:
    return CreditRequest(OFFICE, amount, CreditKind.ADJUSTMENT, "a gift", "a gift to come")


# Sabotages.


def in_sql(statement: Any) -> Sabotage:
    async def do(at: Installation) -> None:
        async with at.database.write() as session:
            await session.execute(statement)

    return do


def office_with(**fields: Any) -> Sabotage:
    """Add to numbers of the office in the store."""

    async def do(at: Installation) -> None:
        record = await at.till.office()
        changed = {name: getattr(record, name) + value for name, value in fields.items()}
        await at.till.connection.ask("SET", KEYS.office, dataclasses.replace(record, **changed).pack())

    return do


def in_store(*command: bytes | str | int) -> Sabotage:
    async def do(at: Installation) -> None:
        await at.till.connection.ask(*command)

    return do


async def lose_an_entry(at: Installation) -> None:
    """The message that the outbox has and the ledger has not."""
    for entry_id, fields in await at.till.connection.ask("XRANGE", KEYS.outbox, "-", "+"):
        if b"pending" in fields:
            await at.till.connection.ask("XDEL", KEYS.outbox, entry_id)


async def lose_the_last_entry(at: Installation) -> None:
    [(entry_id, _)] = await at.till.connection.ask("XREVRANGE", KEYS.outbox, "+", "-", "COUNT", 1)
    await at.till.connection.ask("XDEL", KEYS.outbox, entry_id)


async def debit_a_call_unseen(at: Installation) -> None:
    """50 micros more debited and held than the price of what was granted says."""
    key = KEYS.call_prefix + b"live"
    packed = await at.till.connection.ask("GET", key)
    call = await at.till.call("live")
    start = packed.index(call.debited_micros.to_bytes(8, "little"))
    debited = (call.debited_micros + 50).to_bytes(8, "little")
    await at.till.connection.ask("SET", key, packed[:start] + debited + packed[start + 8 :])


async def charge_twice(at: Installation) -> None:
    async with at.database.write() as session:
        card = await session.scalar(select(PaymentMethodRow.payment_method_id))
        session.add(refill_charge(str(card), attempt=2))


async def charge_a_refill_in_vain(at: Installation) -> None:
    async with at.database.write() as session:
        card = await session.scalar(select(PaymentMethodRow.payment_method_id))
        session.add(refill_charge(str(card), subject=f"{OFFICE}/2"))


USAGE = update(UsageRow).where(UsageRow.office_id == OFFICE)
BOOK = update(OfficeBookRow).where(OfficeBookRow.office_id == OFFICE)
CREDIT = update(CreditRow).where(CreditRow.office_id == OFFICE)
STRANGER = insert(OfficeBookRow).values(
    office_id="stranger", credits_micros=0, moved_micros=0, balance_micros=0, entries=0, gaps=0, is_low=False,
    is_blocking=False, last_at=0,
)  # fmt: skip

UNREAD = [
    ("POSITION", f"shard {SHARD}", 0),
    ("BALANCE", "", -165_000),
    ("CREDITS", "", 1_000),
    ("CALL_DEBIT", "live", 40_000),
    ("CALL_DEBIT", "new", 120_000),
]
"""What is not seen when the outbox is not."""

SABOTAGES: dict[str, tuple[Sabotage, list[tuple[str, str, int]]]] = {
    # What is done; then check, subject and difference of everything that is to be found, and nothing else is.
    "the store has a micro too much": (
        office_with(balance_micros=1),
        [("BALANCE", "", 1), ("OUTBOX", "", 1)],
    ),
    "the store has too little": (office_with(balance_micros=-7), [("BALANCE", "", -7), ("OUTBOX", "", -7)]),
    "more is reserved than calls hold": (office_with(reserved_micros=5), [("RESERVED", "", 5)]),
    "more is reserved than there is": (
        office_with(reserved_micros=10**9),
        [("RESERVED", "", 10**9), ("AVAILABLE", "", -900_866_000)],
    ),
    "a call is counted twice": (office_with(concurrent_calls=1), [("CONCURRENT_CALLS", "", 1)]),
    "the store has a credit that SQL has not": (office_with(credit_number=1), [("CREDIT_NUMBER", "", 1)]),
    "the store has forgotten a credit": (
        office_with(credit_number=-1),
        [("BALANCE", "", -1_000), ("CREDITS", "", -1_000), ("CREDIT_NUMBER", "", -1)],
    ),
    "an office is gone": (in_store("DEL", KEYS.office), [("OFFICE_MISSING", "", -1)]),
    "an office cannot be read": (in_store("SET", KEYS.office, "nonsense"), [("OFFICE_MISSING", "", -1)]),
    "the store has an office of nobody": (
        in_store("SET", office_keys("stranger").office, "x"),
        [("OFFICE_UNKNOWN", "", 1)],
    ),
    "the book has an office of nobody": (in_sql(STRANGER), [("OFFICE_UNKNOWN", "", 1)]),
    "a live call is gone": (
        in_store("DEL", KEYS.call_prefix + b"live"),
        [("RESERVED", "", 120_000), ("CONCURRENT_CALLS", "", 1), *[("CALL_MISSING", "live", -1)] * 2],
    ),
    "a live call is not looked at": (
        in_store("ZREM", due_key(SHARD), f"{OFFICE}:live"),
        [("RESERVED", "", 120_000), ("CONCURRENT_CALLS", "", 1), ("CALL_MISSING", "live", -1)],
    ),
    "a call that never was is looked at": (
        in_store("ZADD", due_key(SHARD), NOON, f"{OFFICE}:never"),
        [("CALL_MISSING", "never", -1)],
    ),
    "a call was debited unseen": (debit_a_call_unseen, [("HELD", "live", 50), ("CALL_DEBIT", "live", 50)]),
    "an entry was lost": (
        lose_an_entry,
        [("BALANCE", "", -5_000), ("OUTBOX", "", -5_000)],
    ),
    "the last entry was lost": (
        lose_the_last_entry,
        [("CREDITS", "", 1_000), ("OUTBOX", "", -1_000)],
    ),
    "the outbox was lost": (
        in_store("DEL", outbox_key(SHARD)),
        UNREAD,
    ),
    "the ledger has read what never was": (
        in_sql(update(OutboxPositionRow).where(OutboxPositionRow.shard == SHARD).values(last_id="9999999999999-0")),
        UNREAD,
    ),
    "the store is from before a rebuild": (
        in_sql(update(OutboxPositionRow).where(OutboxPositionRow.shard == SHARD).values(epoch=2)),
        [("EPOCH", "", -1)],
    ),
    "the store has no epoch": (in_store("DEL", EPOCH_KEY), [("EPOCH", "", -1)]),
    "the book moved more": (
        in_sql(BOOK.values(moved_micros=OfficeBookRow.moved_micros - 9)),
        [("BALANCE", "", 9), ("BOOK", "", 9), ("USAGE", "", 9)],
    ),
    "the book has other credits": (
        in_sql(BOOK.values(credits_micros=OfficeBookRow.credits_micros + 9)),
        [("CREDITS", "", 9), ("BOOK", "", -9)],
    ),
    "the book was left elsewhere": (
        in_sql(BOOK.values(balance_micros=OfficeBookRow.balance_micros + 9)),
        [("BOOK", "", 9), ("OUTBOX", "", -9)],
    ),
    "the book has a gap": (in_sql(BOOK.values(gaps=2)), [("BOOK_GAPS", "", 2)]),
    "a credit was changed": (
        in_sql(CREDIT.where(CreditRow.kind == CreditKind.MESSAGE_REFUND).values(amount_micros=40_001)),
        [("BALANCE", "", -1), ("CREDITS", "", -1)],
    ),
    "a purchase's credit was changed": (
        in_sql(CREDIT.where(CreditRow.kind == CreditKind.PURCHASE).values(requested_micros=1)),
        [("CHARGED_WITHOUT_CREDIT", "purchase", 1 - 50 * DOLLARS)],
    ),
    "a usage record was changed": (
        in_sql(USAGE.where(UsageRow.thing_id == "ended").values(cost_micros=UsageRow.cost_micros + 3)),
        [("USAGE", "", -3), ("PRICE", "ended", 3)],
    ),
    "a usage record is gone": (
        in_sql(delete(UsageRow).where(UsageRow.thing_id == "ended")),
        [("USAGE", "", 240_000)],
    ),
    "an open call's record was changed": (
        in_sql(USAGE.where(UsageRow.thing_id == "lapsed").values(state=UsageState.OPEN)),
        [("CALL_MISSING", "lapsed", -1)],
    ),
    "a call was billed otherwise": (
        in_sql(USAGE.where(UsageRow.thing_id == "ended").values(billed_seconds=60)),
        [("PRICE", "ended", 120_000)],
    ),
    "a call has another rate": (
        in_sql(USAGE.where(UsageRow.thing_id == "ended").values(rate=b"nonsense")),
        [("PRICE", "ended", 240_000)],
    ),
    "a refunded message costs": (
        in_sql(USAGE.where(UsageRow.thing_id == "refunded").values(cost_micros=30_000)),
        [("USAGE", "", -30_000), ("COSTS_NOTHING", "refunded", 30_000)],
    ),
    "usage of a deck that is none": (
        in_sql(USAGE.where(UsageRow.thing_id == "ended").values(deck_version=9)),
        [("DECK_VERSION", "deck 9", -9)],
    ),
    "a deck is gone": (in_sql(delete(DeckRow)), [("DECK_VERSION", "deck 1", -1)]),
    "a refill was charged twice": (charge_twice, [("CHARGED_TWICE", REFILL, 1)]),
    "a refill was charged for nothing": (
        charge_a_refill_in_vain,
        [("CHARGED_WITHOUT_CREDIT", f"{OFFICE}/2", -50 * DOLLARS)],
    ),
    "a charge that was credited failed": (
        in_sql(update(ChargeRow).where(ChargeRow.subject_id == REFILL).values(status=ChargeStatus.DECLINED)),
        [("CREDITED_WITHOUT_CHARGE", REFILL, 50 * DOLLARS)],
    ),
    "a refill names another credit": (
        in_sql(update(RefillRow).values(credit_number=2)),
        [("CHARGED_WITHOUT_CREDIT", REFILL, -50 * DOLLARS)],
    ),
    "a purchase has lost its credit": (
        in_sql(update(PurchaseRow).values(credit_number=None)),
        [("CHARGED_WITHOUT_CREDIT", "purchase", -50 * DOLLARS)],
    ),
    "a refill was invoiced for less": (
        in_sql(
            insert(InvoiceItemRow).values(
                item_id=REFILL, office_id=OFFICE, month="2025-06", amount_micros=DOLLARS, credit_number=1, at=NOON
            )
        ),
        [("INVOICED_OTHERWISE", REFILL, -49 * DOLLARS)],
    ),
}


def found(difference: Difference) -> tuple[str, str, int]:
    subject = "purchase" if difference.subject.startswith("pur_") else difference.subject
    value = 0 if difference.check == "POSITION" else difference.difference
    return difference.check.value, subject, value


@dataclass(frozen=True)
class Snapshot:
    """An installation to begin from."""

    folder: Path
    values: dict[bytes, bytes]


@pytest.fixture(scope="module")
def eventful_hour(valkey: StoreServer, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Made once, since it takes a gateway; each case has a copy of its own."""
    folder = tmp_path_factory.mktemp("eventful-hour")

    async def make() -> dict[bytes, bytes]:
        async with running_back(valkey, folder) as back:
            await an_eventful_hour(back)
            return await back.till.dump()

    return Snapshot(folder, asyncio.run(make()))


@asynccontextmanager
async def copy_of(snapshot: Snapshot, server: StoreServer, folder: Path) -> AsyncIterator[Installation]:
    copied = shutil.copytree(snapshot.folder, folder / "copy")
    database = await open_database(f"sqlite:///{copied / 'tollgate.db'}")
    try:
        async with open_till(server.url) as till:
            for key, value in snapshot.values.items():
                await till.connection.ask("RESTORE", key, 0, value)
            yield Installation(database, till)
    finally:
        await database.close()


@pytest.mark.parametrize("name", SABOTAGES)
async def test_a_sabotage_is_found_and_named_and_nothing_else_is(
    valkey: StoreServer, eventful_hour: Snapshot, tmp_path: Path, name: str
) -> None:
    sabotage, expected = SABOTAGES[name]
    async with copy_of(eventful_hour, valkey, tmp_path) as at:
        await sabotage(at)
        report = await audit(at.database, at.till.connection, pause_seconds=0)
        assert [found(each) for each in report.differences] == expected, [str(each) for each in report.differences]
        assert not report.is_clean


async def test_only_the_office_that_is_asked_for(valkey: StoreServer, eventful_hour: Snapshot, tmp_path: Path) -> None:
    async with copy_of(eventful_hour, valkey, tmp_path) as at:
        await in_sql(STRANGER)(at)
        report = await audit(at.database, at.till.connection, office_id=OFFICE, pause_seconds=0)
        assert report.is_clean
        await office_with(balance_micros=1)(at)
        report = await audit(at.database, at.till.connection, office_id=OFFICE, pause_seconds=0)
        assert str(report.differences[0]) == (
            "BALANCE springfield: credits, usage and outbox make 99.374, the store's balance is 99.374001 (+0.000001)"
        )


async def test_a_journaler_that_is_always_faster_is_told_of(
    valkey: StoreServer, eventful_hour: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with copy_of(eventful_hour, valkey, tmp_path) as at:
        moves = iter(range(1, 1_000))
        original = AuditedStandings.of

        async def of(self: AuditedStandings, shard: int, offices: Collection[str]) -> Standings:
            standings = await original(self, shard, offices)
            await in_sql(
                update(OutboxPositionRow).where(OutboxPositionRow.shard == shard).values(last_id=f"{next(moves)}-0")
            )(at)
            return standings

        monkeypatch.setattr(AuditedStandings, "of", of)
        report = await audit(at.database, at.till.connection, pause_seconds=0)
        assert (report.too_busy, report.differences, report.is_clean) == ([OFFICE], [], False)


@pytest.mark.slow
async def test_a_journaler_and_calls_beside_it_make_no_false_alarm(valkey: StoreServer, tmp_path: Path) -> None:
    """The hardest case: what is compared changes all the time, on all sides."""
    offices = [f"o{number}" for number in range(5)]
    async with running_back(valkey, tmp_path) as back:
        for office_id in offices:
            await back.open_office(office_id, balance=10**9)
        over = asyncio.Event()
        done = 0

        async def load(office_id: str) -> None:
            nonlocal done
            till = back.till
            for number in itertools.count():
                if over.is_set():
                    return
                call_id = f"c{number}"
                await till.authorize(call_id, BY_THE_SECOND, office_id=office_id)
                await till.tick(50, call_id, office_id=office_id)
                await till.message(1_000, f"m{number}", office_id=office_id)
                await till.refund(f"m{number}", office_id=office_id)
                await till.end(number % 90, call_id, office_id=office_id)
                done += 1
                # So many calls at once as a switch's, not as a benchmark's.
                await asyncio.sleep(0.002)

        async def take_credits() -> None:
            for number in itertools.count():
                if over.is_set():
                    return
                await back.adjust(100 + number, f"gift {number}", office_id=offices[number % 5])

        async def keep_journal() -> None:
            while not over.is_set():
                await back.journaler.turn()

        tasks = [asyncio.create_task(work) for work in (*map(load, offices), take_credits(), keep_journal())]
        try:
            looked_at = 0
            for _ in range(4):
                report = await audit(back.back.database, back.back.connection)
                assert report.is_clean, [*map(str, report.differences), *report.too_busy]
                looked_at += report.outbox_entries
        finally:
            over.set()
            await asyncio.gather(*tasks)
        assert done > 50
        assert looked_at > 0
        await back.journaler.turn()
        report = await assert_clean(back)
        assert (report.live_calls, report.outbox_entries) == (0, 0)
        assert report.usage_records == 2 * done
