"""What a rebuild takes from the ledger, and what it changes there: the epoch, the books, and that open calls lapsed.

A restored balance is the credits that the store had plus what calls and messages moved. The store had those that it has
confirmed. It may also have had a few more, of which the book knows and nobody else: these are confirmed now. Whatever
comes after them is applied by the ordinary loop. The book is set to what is restored, since the streams begin anew.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credit import CreditStatus
from gateway.domain.payment import ChargePurpose, ChargeStatus, RefillStatus
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Reason
from gateway.errors import FailedPrecondition
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.models import (
    AuditRow,
    ChargeRow,
    CreditRow,
    OfficeBookRow,
    OfficeRow,
    OutboxPositionRow,
    RefillRow,
    UsageRow,
)
from gateway.ledger.offices import Office, office_of
from gateway.ledger.outbox import BEGINNING, FIRST_EPOCH

ACTOR: Final = "rebuild"

MOST_OFFICES: Final = 100
"""That are settled in one transaction, and in one statement."""

A_PAGE: Final = 2_000

LONGEST_CALL_MS: Final = 86_400_000
"""How long before its end a call may have begun."""


class RebuiltMeanwhile(FailedPrecondition):
    """Another rebuild has begun an epoch."""

    reason = "REBUILT_MEANWHILE"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"Another rebuild has begun epoch {epoch} meanwhile: let it finish.")


@dataclass(frozen=True, slots=True)
class RefillStanding:
    """Where the refill that an office asks for next stands.

    Attributes:
        is_under_way: It is claimed or about to be: its charge may be on its way.
        failures: Attempts that failed since refill was last set.
        failed_attempt: The last attempt that is known to have failed; 0: none.
    """

    is_under_way: bool = False
    failures: int = 0
    failed_attempt: int = 0


@dataclass(frozen=True, slots=True)
class OfficeToRestore:
    """An office as the store had it, as far as the ledger knows.

    Attributes:
        office: Its settings in SQL.
        version: Of the settings that the store had.
        credit_limit_micros: That the store had.
        balance_micros: What is restored.
        credit_number: Of the last credit in it.
        credit_amount_micros: What that one moved.
        refill_number: Of the last refill that was credited.
        refill: Where the next one stands.
    """

    office: Office
    version: int
    credit_limit_micros: int
    balance_micros: int
    credit_number: int
    credit_amount_micros: int
    refill_number: int
    refill: RefillStanding


@dataclass(frozen=True, slots=True)
class UsageToRestore:
    """A usage record of which the store had a value."""

    seq: int
    office_id: str
    thing_id: str
    life_at: int
    kind: UsageKind
    state: UsageState
    reason: Reason
    started_at: int
    answered_at: int
    closed_at: int
    duration_seconds: int
    billed_seconds: int
    cost_micros: int
    refunded_micros: int
    written_off_micros: int
    fingerprint: bytes
    record: bytes

    @property
    def is_message(self) -> bool:
        """Whether it was a message."""
        return self.kind is UsageKind.MESSAGE

    @property
    def is_open_call(self) -> bool:
        """Whether it is a call that is not over."""
        return self.state is not UsageState.CLOSED

    @property
    def is_ended_call(self) -> bool:
        """Whether it was a call."""
        return not self.is_message and not self.is_open_call


_COLUMNS: Final = tuple(getattr(UsageRow, name) for name in UsageToRestore.__slots__)


class Rebuilding:
    """The ledger's side of a rebuild."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_epoch(self, epoch: int, shards: int, *, now_ms: int) -> None:
        """Let the outbox of every shard begin anew; from here on a store of an older epoch is refused.

        Raises:
            RebuiltMeanwhile: Somebody has begun this epoch, or a later one.
        """

        async def begin(session: AsyncSession) -> None:
            query = select(OutboxPositionRow).order_by(OutboxPositionRow.shard).with_for_update()
            rows = {row.shard: row for row in await session.scalars(query)}
            newest = max((row.epoch for row in rows.values()), default=FIRST_EPOCH)
            if newest >= epoch:
                raise RebuiltMeanwhile(newest)
            for shard in range(shards):
                if shard not in rows:
                    session.add(OutboxPositionRow(shard=shard, epoch=epoch, last_id=BEGINNING))
                else:
                    rows[shard].epoch, rows[shard].last_id = epoch, BEGINNING
            audit.record(
                session,
                now_ms=now_ms,
                actor=ACTOR,
                action="store.rebuild",
                target=f"epoch:{epoch}",
                before=None,
                after=None,
            )

        await self._database.transact(begin)

    async def count_offices(self) -> int:
        """How many offices there are, for a progress bar."""
        async with self._database.read() as session:
            return await session.scalar(select(func.count()).select_from(OfficeRow)) or 0

    async def office_ids(self, after: str) -> list[str]:
        """The next MOST_OFFICES offices by id."""
        query = select(OfficeRow.office_id).where(OfficeRow.office_id > after)
        async with self._database.read() as session:
            return list(await session.scalars(query.order_by(OfficeRow.office_id).limit(MOST_OFFICES)))

    async def settle(self, office_ids: Collection[str], *, now_ms: int) -> list[OfficeToRestore]:
        """Decide what some offices are restored with, and set their books to it; the same again when repeated.

        Their open calls lapse.
        """

        async def decide(session: AsyncSession) -> list[OfficeToRestore]:
            query = select(OfficeRow).where(OfficeRow.office_id.in_(office_ids)).order_by(OfficeRow.office_id)
            offices = list(await session.scalars(query.with_for_update()))
            books = await _books(session, office_ids)
            held = await _confirmed(session, office_ids)
            await _add_journaled(session, held, books, now_ms)
            credited = await _last_refills(session, held)
            refills = await _standings(session, office_ids, credited)
            await _lapse_calls(session, office_ids)
            return [
                _settle(
                    session,
                    row,
                    books.get(row.office_id),
                    held[row.office_id],
                    credited.get(row.office_id, 0),
                    refills.get(row.office_id, RefillStanding()),
                    now_ms,
                )
                for row in offices
            ]

        return await self._database.transact(decide)

    async def usage(
        self, office_ids: Collection[str], *, now_ms: int, stub_ms: int, lapsed_ms: int
    ) -> AsyncIterator[Sequence[UsageToRestore]]:
        """What some offices' calls and messages left in the store, a page at a time.

        Calls that are not over (lapsed ones as long as the store may have kept them), and calls and messages that were
        over less than `stub_ms` ago. When a message was given back is not kept, so such a one is remembered for longer.

        Of one id the last one counts, so calls that are not over come first: an id that is known as ended is not used
        again.
        """
        lapsed_since = now_ms - lapsed_ms - LONGEST_CALL_MS
        is_unfinished = and_(
            UsageRow.state != UsageState.CLOSED,
            or_(UsageRow.state == UsageState.OPEN, UsageRow.started_at >= lapsed_since),
        )
        is_recent = or_(
            and_(UsageRow.kind == UsageKind.CALL, UsageRow.closed_at >= now_ms - stub_ms),
            and_(UsageRow.kind == UsageKind.MESSAGE, UsageRow.started_at >= now_ms - stub_ms),
            and_(UsageRow.refunded_micros > 0, UsageRow.started_at >= now_ms - 2 * stub_ms),
        )
        is_over = and_(
            UsageRow.state != UsageState.OPEN,  # This and the next but one are for the index.
            UsageRow.state == UsageState.CLOSED,
            UsageRow.started_at >= now_ms - 2 * stub_ms - LONGEST_CALL_MS,
            UsageRow.life_at != 0,  # No refusal.
            is_recent,
        )
        async with self._database.read() as session:
            for condition in (is_unfinished, is_over):
                # By an expression: by the column itself, SQLite would go through the whole table in its order.
                query = select(*_COLUMNS).where(UsageRow.office_id.in_(office_ids), condition)
                found = await session.stream(query.order_by(UsageRow.seq + 0))
                async for rows in found.partitions(A_PAGE):
                    yield [UsageToRestore(*row) for row in rows]

    async def spent_since(self, office_id: str, since_ms: int) -> int:
        """What an office was debited for whatever began since an instant, less what it was given back."""
        # Apart, since each part has an index of its own.
        over = (UsageRow.state != UsageState.OPEN,)
        going_on = (UsageRow.state != UsageState.CLOSED, UsageRow.state == UsageState.OPEN)
        total = 0
        async with self._database.read() as session:
            for part in (over, going_on):
                query = select(func.coalesce(func.sum(UsageRow.cost_micros), 0)).where(
                    UsageRow.office_id == office_id, UsageRow.started_at >= since_ms, *part
                )
                total += int(await session.scalar(query) or 0)
        return total


@dataclass(slots=True)
class _Held:
    """The credits that the store had of an office: up to which number, their sum, and what the last one moved."""

    number: int = 0
    sum_micros: int = 0
    last_micros: int = 0


def _settle(
    session: AsyncSession,
    row: OfficeRow,
    book: OfficeBookRow | None,
    held: _Held,
    refill_number: int,
    refill: RefillStanding,
    now_ms: int,
) -> OfficeToRestore:
    if book is None:
        book = OfficeBookRow(
            office_id=row.office_id, credits_micros=0, moved_micros=0, balance_micros=0, entries=0, gaps=0,
            is_low=False, is_blocking=False, last_at=now_ms,
        )  # fmt: skip
        if held.number:
            session.add(book)
    book.credits_micros = held.sum_micros
    book.balance_micros = held.sum_micros + book.moved_micros
    # Settings that the store is not known to have are projected by the ordinary loop: it may refuse a credit limit.
    was_behind = 0 < row.projected_version < row.version
    return OfficeToRestore(
        office=office_of(row),
        version=row.projected_version if was_behind else row.version,
        credit_limit_micros=row.projected_credit_limit_micros if was_behind else row.credit_limit_micros,
        balance_micros=book.balance_micros,
        credit_number=held.number,
        credit_amount_micros=held.last_micros,
        refill_number=refill_number,
        refill=refill,
    )


async def _books(session: AsyncSession, office_ids: Collection[str]) -> dict[str, OfficeBookRow]:
    query = select(OfficeBookRow).where(OfficeBookRow.office_id.in_(office_ids)).with_for_update()
    return {row.office_id: row for row in await session.scalars(query)}


async def _confirmed(session: AsyncSession, office_ids: Collection[str]) -> dict[str, _Held]:
    """The credits up to the newest that the store has confirmed; it takes each only after the one before."""
    held = {office_id: _Held() for office_id in office_ids}
    newest = (
        select(CreditRow.office_id, func.max(CreditRow.number).label("number"))
        .where(CreditRow.office_id.in_(office_ids), CreditRow.applied_at.is_not(None))
        .group_by(CreditRow.office_id)
        .subquery()
    )
    is_last = CreditRow.number == newest.c.number
    query = (
        select(
            newest.c.office_id,
            newest.c.number,
            func.sum(CreditRow.amount_micros),
            func.sum(CreditRow.amount_micros).filter(is_last),
        )
        .join(CreditRow, and_(CreditRow.office_id == newest.c.office_id, CreditRow.number <= newest.c.number))
        .group_by(newest.c.office_id, newest.c.number)
    )
    for office_id, *figures in await session.execute(query):
        held[office_id] = _Held(*map(int, figures))
    return held


async def _add_journaled(
    session: AsyncSession, held: Mapping[str, _Held], books: Mapping[str, OfficeBookRow], now_ms: int
) -> None:
    """Confirm the credits that are in the book though nobody noted their confirmation: the store had them."""
    query = (
        select(CreditRow)
        .where(CreditRow.office_id.in_(held), CreditRow.applied_at.is_(None))
        .order_by(CreditRow.office_id, CreditRow.number)
    )
    beyond: dict[str, list[CreditRow]] = {}
    for row in await session.scalars(query):
        if row.number > held[row.office_id].number:
            beyond.setdefault(row.office_id, []).append(row)
    for office_id, rows in beyond.items():
        known, total = held[office_id], held[office_id].sum_micros
        booked = books[office_id].credits_micros if office_id in books else 0
        if booked == total:
            continue
        for count, row in enumerate(rows, 1):
            total += row.amount_micros
            if total != booked:
                continue
            for each in rows[:count]:
                each.applied_at = now_ms
                each.status = CreditStatus.APPLIED if each.amount_micros else CreditStatus.REFUSED
            known.number, known.sum_micros, known.last_micros = row.number, total, row.amount_micros
            break


async def _lapse_calls(session: AsyncSession, office_ids: Collection[str]) -> None:
    """Nothing goes on in a store that was lost: what is heard of again is revived, and open again then."""
    going_on = (UsageRow.state != UsageState.CLOSED, UsageRow.state == UsageState.OPEN)
    await session.execute(
        update(UsageRow).where(UsageRow.office_id.in_(office_ids), *going_on).values(state=UsageState.LAPSED)
    )


async def _last_refills(session: AsyncSession, held: Mapping[str, _Held]) -> dict[str, int]:
    """The number of the last refill among the credits that the store had."""
    newest = (
        select(CreditRow.office_id, func.max(CreditRow.number).label("number"))
        .where(
            CreditRow.refill_id.is_not(None),
            or_(*(and_(CreditRow.office_id == name, CreditRow.number <= each.number) for name, each in held.items())),
        )
        .group_by(CreditRow.office_id)
        .subquery()
    )
    query = select(CreditRow.office_id, CreditRow.refill_id).join(
        newest, and_(CreditRow.office_id == newest.c.office_id, CreditRow.number == newest.c.number)
    )
    return {name: int((refill_id or "").rpartition("/")[2]) for name, refill_id in await session.execute(query)}


async def _standings(
    session: AsyncSession, office_ids: Collection[str], credited: Mapping[str, int]
) -> dict[str, RefillStanding]:
    """Where the refill behind the last credited one stands, of the offices that have begun one."""
    query = select(RefillRow).where(RefillRow.office_id.in_(office_ids), RefillRow.status != RefillStatus.CREDITED)
    found = {}
    for row in await session.scalars(query):
        if row.number != credited.get(row.office_id, 0) + 1:
            continue
        is_under_way = row.status in (RefillStatus.INTENDED, RefillStatus.CHARGING)
        has_failed = row.status is RefillStatus.FAILED
        found[row.office_id] = RefillStanding(
            is_under_way=is_under_way,
            failures=await _failures(session, row),
            failed_attempt=row.attempt if has_failed else max(0, row.attempt - 1),
        )
    return found


async def _failures(session: AsyncSession, refill: RefillRow) -> int:
    """Attempts that failed since somebody last set the office's refill, which begins the count anew."""
    last_set = select(func.coalesce(func.max(AuditRow.at), 0)).where(
        AuditRow.target == f"office:{refill.office_id}", AuditRow.action == "office.set_auto_refill"
    )
    query = select(func.count()).where(
        ChargeRow.purpose == ChargePurpose.REFILL,
        ChargeRow.subject_id == refill.refill_id,
        ChargeRow.status.in_((ChargeStatus.DECLINED, ChargeStatus.NOT_CHARGED)),
        ChargeRow.decided_at >= last_set.scalar_subquery(),
    )
    return await session.scalar(query) or 0
