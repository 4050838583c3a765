"""Numbered credits: the one way in which money enters or leaves an office outside calls and messages.

The protocol, which the service and a loop drive:

1. `new_credit` records the office's next number as PENDING.
2. The store applies number n only when it holds n - 1.
3. When it did, `mark_applied`. When it refused a negative credit for lack of funds, nothing changed there:
   `mark_refused` sets the amount to 0 and keeps the number, and then the credit of 0 is sent with that number, so that
   the numbering goes on; it is APPLIED in the sense of `applied_at`, and stays REFUSED.
4. `unapplied_credits` is what a loop still has to send; `credits_after` is what a store has forgotten in a failover.

What moved is what the store says has moved: where two senders raced and the one's refusal overtook the other's
success, `mark_applied` sets the row right by the amount that it is told.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credit import CreditKind, CreditRequest, CreditStatus
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import (
    CreditAlreadyApplied,
    CreditNotFound,
    IdempotencyKeyReused,
    LedgerBroken,
    OfficeNotFound,
    RefillAlreadyCredited,
)
from gateway.ledger.models import CreditRow, OfficeRow
from gateway.ledger.paging import Page, PageRequest


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit. `amount_micros` is what it moves: as requested, or 0 once refused."""

    office_id: str
    number: int
    requested_micros: int
    amount_micros: int
    kind: CreditKind
    reason: str
    idempotency_key: str
    refill_id: str | None
    status: CreditStatus
    actor: str
    created_at: int
    applied_at: int | None

    @property
    def is_confirmed(self) -> bool:
        """Whether the store holds this number."""
        return self.applied_at is not None


@dataclass(frozen=True, slots=True)
class NewCredit:
    """The answer to a request: the credit, and whether it was there before."""

    credit: Credit
    replayed: bool


@dataclass(frozen=True, slots=True)
class CreditTotal:
    """What the store has confirmed of an office: the amounts' sum, and how many more are on their way."""

    applied_micros: int
    last_number: int
    unconfirmed: int


class Credits:
    """The repository of numbered credits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def new_credit(self, request: CreditRequest, *, actor: str, now_ms: int) -> NewCredit:
        """Record a credit under the office's next number, once per idempotency key, for ever.

        Numbers are 1, 2, 3 ... per office without a gap: the writers of one office wait for each other.

        Raises:
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
            IdempotencyKeyReused: The office has used this key for another content.
            RefillAlreadyCredited: The refill has its credit, under another key.
            DatabaseError: The credit may be recorded or not: repeat with the same key.
        """

        async def insert(session: AsyncSession) -> NewCredit:
            return await number_credit(session, request, actor=actor, now_ms=now_ms)

        return await self._database.transact(insert)

    async def mark_applied(self, office_id: str, number: int, amount_micros: int, *, now_ms: int) -> Credit:
        """Note that the store holds this number, and has moved this amount for it; a repeat changes nothing.

        The amount is the store's word, not what was sent: when it answers that it holds the number already, another
        sender may have moved another amount.

        Raises:
            CreditNotFound: There is no credit of this number.
            LedgerBroken: The credit never had this amount, or is confirmed with another.
        """
        async with self._database.write() as session:
            row = await _locked(session, office_id, number)
            before = _credit(row)
            if before.is_confirmed and before.amount_micros == amount_micros:
                return before
            may_be_refused = row.requested_micros < 0 or before.status is CreditStatus.REFUSED
            possible = {row.requested_micros, 0} if may_be_refused else {row.requested_micros}
            if before.is_confirmed or amount_micros not in possible:
                raise LedgerBroken(
                    f"Credit {number} of the office {office_id!r}, requested as {row.requested_micros} micros, is "
                    f"{before.status} as {before.amount_micros}; the store is said to have moved {amount_micros}."
                )
            row.status = CreditStatus.APPLIED if amount_micros else CreditStatus.REFUSED
            row.amount_micros = amount_micros
            row.applied_at = now_ms
            after = _credit(row)
            if after.amount_micros != before.amount_micros:
                # Two senders raced; the ledger follows the store, and says so.
                _record(session, now_ms, "ledger", "credit.correct", before, after)
            return after

    async def mark_refused(
        self, office_id: str, number: int, *, actor: str, now_ms: int, even_positive: bool = False
    ) -> Credit:
        """Let a negative credit that the funds do not cover move 0; it keeps its number. A repeat changes nothing.

        Args:
            office_id: Whose credit it is.
            number: Of the credit.
            actor: Who is told of the refusal.
            now_ms: When.
            even_positive: A positive credit may be refused too (it would pass the highest balance, or closes a refill
                that is not asked for), since its caller is told and has the money still. It then closes no refill.

        Raises:
            CreditNotFound: There is no credit of this number.
            CreditAlreadyApplied: The store holds it: it was sent twice, and the other sending went through.
            LedgerBroken: It is a positive credit, whose money is here already.
        """
        async with self._database.write() as session:
            row = await _locked(session, office_id, number)
            before = _credit(row)
            if before.status is CreditStatus.REFUSED:
                return before
            if before.status is CreditStatus.APPLIED:
                raise CreditAlreadyApplied(office_id, number)
            if before.requested_micros > 0 and not even_positive:
                raise LedgerBroken(f"The store refused credit {number} of the office {office_id!r}, which is positive.")
            row.amount_micros = 0
            row.status = CreditStatus.REFUSED
            row.refill_id = None
            after = _credit(row)
            _record(session, now_ms, actor, "credit.refuse", before, after)
            return after

    async def mark_lost(self, office_id: str, number: int, *, actor: str, now_ms: int) -> Credit:
        """Note that the store has forgotten a credit that it had confirmed: it never happened, and is to be sent anew.

        Raises:
            CreditNotFound: There is no credit of this number.
        """
        async with self._database.write() as session:
            row = await _locked(session, office_id, number)
            before = _credit(row)
            if not before.is_confirmed:
                return before
            row.applied_at = None
            if row.status is CreditStatus.APPLIED:
                row.status = CreditStatus.PENDING
            after = _credit(row)
            _record(session, now_ms, actor, "credit.lose", before, after)
            return after

    async def get(self, office_id: str, number: int) -> Credit:
        """One credit.

        Raises:
            CreditNotFound: There is no credit of this number.
        """
        async with self._database.read() as session:
            row = await session.get(CreditRow, (office_id, number))
        if row is None:
            raise CreditNotFound(office_id, number)
        return _credit(row)

    async def find_by_key(self, office_id: str, idempotency_key: str) -> Credit | None:
        """The credit of an idempotency key, or None."""
        async with self._database.read() as session:
            row = await _by_key(session, office_id, idempotency_key)
        return None if row is None else _credit(row)

    async def list(self, page: PageRequest, office_id: str, *, only_applied: bool = False) -> Page[Credit]:
        """An office's credits, newest first.

        Args:
            page: Which part.
            office_id: Whose.
            only_applied: Only those that have moved money.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        asked = ("credits", office_id, only_applied)
        after = page.after((int,), *asked)
        query = (
            select(CreditRow)
            .where(CreditRow.office_id == office_id)
            .order_by(CreditRow.number.desc())
            .limit(page.limit + 1)
        )
        if only_applied:
            query = query.where(CreditRow.status == CreditStatus.APPLIED)
        if after is not None:
            query = query.where(CreditRow.number < after[0])
        async with self._database.read() as session:
            found = [_credit(row) for row in await session.scalars(query)]
        return page.page(found, lambda credit: (credit.number,), *asked)

    async def unapplied_credits(self, limit: int, after: tuple[str, int] = ("", 0)) -> tuple[Credit, ...]:
        """Credits that the store is not known to hold, refused ones (as 0) included, by office and number.

        Args:
            limit: How many.
            after: The office and number of the last one seen, so that an office that is stuck does not hide the rest.
        """
        query = (
            select(CreditRow)
            .where(CreditRow.applied_at.is_(None), tuple_(CreditRow.office_id, CreditRow.number) > after)
            .order_by(CreditRow.office_id, CreditRow.number)
            .limit(limit)
        )
        async with self._database.read() as session:
            return tuple(_credit(row) for row in await session.scalars(query))

    async def credits_after(self, office_id: str, number: int, limit: int) -> tuple[Credit, ...]:
        """The credits above the number that the store holds, confirmed ones included, in order."""
        query = (
            select(CreditRow)
            .where(CreditRow.office_id == office_id, CreditRow.number > number)
            .order_by(CreditRow.number)
            .limit(limit)
        )
        async with self._database.read() as session:
            return tuple(_credit(row) for row in await session.scalars(query))

    async def last_numbers(self, office_ids: Collection[str]) -> dict[str, int]:
        """The newest number of each of these offices that has a credit."""
        query = (
            select(CreditRow.office_id, func.max(CreditRow.number))
            .where(CreditRow.office_id.in_(office_ids))
            .group_by(CreditRow.office_id)
        )
        async with self._database.read() as session:
            return {office_id: int(number) for office_id, number in await session.execute(query)}

    async def total(self, office_id: str) -> CreditTotal:
        """What the credits come to: the first term of invariant 1."""
        query = select(
            func.coalesce(func.sum(CreditRow.amount_micros).filter(CreditRow.applied_at.is_not(None)), 0),
            func.coalesce(func.max(CreditRow.number), 0),
            func.count().filter(CreditRow.applied_at.is_(None)),
        ).where(CreditRow.office_id == office_id)
        async with self._database.read() as session:
            applied, last, unconfirmed = (await session.execute(query)).one()
        return CreditTotal(int(applied), int(last), int(unconfirmed))


async def number_credit(session: AsyncSession, request: CreditRequest, *, actor: str, now_ms: int) -> NewCredit:
    """Record a credit in the transaction of what makes it (a charge that succeeded, say), as `Credits.new_credit`.

    Holds the office's row to the end of the transaction. Raises as `Credits.new_credit`.
    """
    request.validate()
    if await session.get(OfficeRow, request.office_id, with_for_update=True) is None:
        raise OfficeNotFound(request.office_id)
    existing = await _by_key(session, request.office_id, request.idempotency_key)
    if existing is not None:
        if existing.content_hash != request.content_hash:
            raise IdempotencyKeyReused(request.idempotency_key)
        return NewCredit(_credit(existing), replayed=True)
    if request.refill_id is not None and await is_refill_credited(session, request.office_id, request.refill_id):
        raise RefillAlreadyCredited(request.refill_id)
    last = await session.scalar(select(func.max(CreditRow.number)).where(CreditRow.office_id == request.office_id))
    row = CreditRow(
        office_id=request.office_id,
        number=(last or 0) + 1,
        requested_micros=request.amount_micros,
        amount_micros=request.amount_micros,
        kind=request.kind,
        reason=request.reason,
        idempotency_key=request.idempotency_key,
        content_hash=request.content_hash,
        refill_id=request.refill_id,
        status=CreditStatus.PENDING,
        actor=actor,
        created_at=now_ms,
        applied_at=None,
    )
    session.add(row)
    # What refers to the credit by its number is inserted after it.
    await session.flush()
    credit = _credit(row)
    _record(session, now_ms, actor, "credit.create", None, credit)
    return NewCredit(credit, replayed=False)


async def is_key_used(session: AsyncSession, office_id: str, idempotency_key: str) -> bool:
    """Whether the office has a credit of this key."""
    return await _by_key(session, office_id, idempotency_key) is not None


async def is_refill_credited(session: AsyncSession, office_id: str, refill_id: str) -> bool:
    """Whether the office has the credit of this refill."""
    query = select(CreditRow.number).where(CreditRow.office_id == office_id, CreditRow.refill_id == refill_id)
    return await session.scalar(query) is not None


async def _locked(session: AsyncSession, office_id: str, number: int) -> CreditRow:
    row = await session.get(CreditRow, (office_id, number), with_for_update=True)
    if row is None:
        raise CreditNotFound(office_id, number)
    return row


async def _by_key(session: AsyncSession, office_id: str, idempotency_key: str) -> CreditRow | None:
    query = select(CreditRow).where(CreditRow.office_id == office_id, CreditRow.idempotency_key == idempotency_key)
    return (await session.scalars(query)).one_or_none()


def _record(session: AsyncSession, now_ms: int, actor: str, action: str, before: Credit | None, after: Credit) -> None:
    target = f"credit:{after.office_id}/{after.number}"
    audit.record(session, now_ms=now_ms, actor=actor, action=action, target=target, before=before, after=after)


def _credit(row: CreditRow) -> Credit:
    return Credit(
        office_id=row.office_id,
        number=row.number,
        requested_micros=row.requested_micros,
        amount_micros=row.amount_micros,
        kind=row.kind,
        reason=row.reason,
        idempotency_key=row.idempotency_key,
        refill_id=row.refill_id,
        status=row.status,
        actor=row.actor,
        created_at=row.created_at,
        applied_at=row.applied_at,
    )
