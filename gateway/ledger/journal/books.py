"""The books of the offices: what the outbox has moved of each balance, added up, and whether each entry follows.

Beside the usage records this is a second sum of the same money, made in another way; `audit` holds the two equal, and
both against the store.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.domain.usage import UsageKind
from gateway.domain.vocabulary import Reason
from gateway.ledger import notices
from gateway.ledger.journal.facts import CreditApplied, Entry, MessageSent, Refused
from gateway.ledger.models import OfficeBookRow, OfficeRow
from gateway.slices import slices

_LACKING = frozenset({Reason.INSUFFICIENT_FUNDS, Reason.SPEND_LIMIT})


@dataclass(frozen=True, slots=True)
class Gap:
    """An entry whose balance does not follow from the one before: something moved money and left no entry.

    Attributes:
        office_id: Whose balance.
        entry_id: The first entry behind the gap.
        missing_micros: What was moved in between.
    """

    office_id: str
    entry_id: str
    missing_micros: int


@dataclass(slots=True)
class _Book:
    """One office's book while a batch is written, and what people must be told of it."""

    credits: int = 0
    moved: int = 0
    balance: int = 0
    entries: int = 0
    gaps: int = 0
    is_low: bool = False
    is_blocking: bool = False
    last_at: int = 0

    def add(self, entry: Entry) -> Gap | None:
        """Add an entry; what it shows to be missing, if anything."""
        missing = entry.balance_micros - self.balance - entry.amount_micros
        if isinstance(entry.fact, CreditApplied):
            self.credits += entry.amount_micros
        else:
            self.moved += entry.amount_micros
        self.balance = entry.balance_micros
        self.entries += 1
        self.last_at = entry.at
        if not missing:
            return None
        self.gaps += 1
        return Gap(entry.office_id, entry.entry_id, missing)


@dataclass(frozen=True, slots=True)
class _Funds:
    """What the settings of an office say of its funds."""

    threshold_micros: int
    credit_limit_micros: int
    refill_enabled: bool


async def post(session: AsyncSession, entries: Sequence[Entry], *, now_ms: int) -> list[Gap]:
    """Add entries to the books of their offices, and record the notices of funds that run low.

    Returns:
        Where entries did not follow from each other.
    """
    office_ids = sorted({entry.office_id for entry in entries})
    known = await _read(session, office_ids)
    books = {office_id: known.get(office_id) or _Book() for office_id in office_ids}
    funds = await _funds(session, office_ids)
    gaps: list[Gap] = []
    told: list[notice.Notice] = []
    for entry in entries:
        book = books[entry.office_id]
        gap = book.add(entry)
        if gap is not None:
            gaps.append(gap)
        if entry.office_id in funds:
            told += _notices(book, entry, funds[entry.office_id])
    for one in told:
        await notices.record(session, one, now_ms=now_ms)
    await _write(session, {name: book for name, book in books.items() if name in known}, new=False)
    await _write(session, {name: book for name, book in books.items() if name not in known}, new=True)
    return gaps


def _notices(book: _Book, entry: Entry, funds: _Funds) -> Iterable[notice.Notice]:
    """Once a dip: the book remembers that it was told of."""
    # What is reserved the outbox does not say; funds are low at the latest when what is posted is.
    available = entry.balance_micros + funds.credit_limit_micros
    was_low, book.is_low = book.is_low, available < funds.threshold_micros
    if book.is_low and not was_low and not funds.refill_enabled:
        yield notice.low_funds(
            entry.office_id,
            entry.entry_id,
            available_micros=available,
            threshold_micros=funds.threshold_micros,
            refill_enabled=False,
        )
    if isinstance(entry.fact, MessageSent) or entry.amount_micros > 0:
        book.is_blocking = False
    elif isinstance(entry.fact, Refused) and entry.fact.kind is UsageKind.MESSAGE and entry.fact.reason in _LACKING:
        if not book.is_blocking:
            yield notice.messages_blocked(entry.office_id, entry.entry_id, available_micros=available)
        book.is_blocking = True


async def _read(session: AsyncSession, office_ids: Sequence[str]) -> dict[str, _Book]:
    columns = (
        OfficeBookRow.office_id, OfficeBookRow.credits_micros, OfficeBookRow.moved_micros, OfficeBookRow.balance_micros,
        OfficeBookRow.entries, OfficeBookRow.gaps, OfficeBookRow.is_low, OfficeBookRow.is_blocking,
        OfficeBookRow.last_at,
    )  # fmt: skip
    found = {}
    for some in slices(office_ids):
        for row in await session.execute(select(*columns).where(OfficeBookRow.office_id.in_(some))):
            found[row[0]] = _Book(*row[1:])
    return found


async def _funds(session: AsyncSession, office_ids: Sequence[str]) -> dict[str, _Funds]:
    columns = (
        OfficeRow.office_id, OfficeRow.refill_threshold_micros, OfficeRow.credit_limit_micros, OfficeRow.refill_enabled,
    )  # fmt: skip
    found = {}
    for some in slices(office_ids):
        for row in await session.execute(select(*columns).where(OfficeRow.office_id.in_(some))):
            found[row[0]] = _Funds(*row[1:])
    return found


async def _write(session: AsyncSession, books: dict[str, _Book], *, new: bool) -> None:
    rows = [
        {
            "office_id": office_id,
            "credits_micros": book.credits,
            "moved_micros": book.moved,
            "balance_micros": book.balance,
            "entries": book.entries,
            "gaps": book.gaps,
            "is_low": book.is_low,
            "is_blocking": book.is_blocking,
            "last_at": book.last_at,
        }
        for office_id, book in books.items()
    ]
    if rows:
        await session.execute(insert(OfficeBookRow) if new else update(OfficeBookRow), rows)
