"""The usage records as the audit reads them: their sums in SQL, and each of them once, some at a time."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from gateway.domain.credit import CreditKind
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Reason
from gateway.ledger.database import Database
from gateway.ledger.models import CreditRow, DeckRow, OfficeBookRow, UsageRow

A_BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What an office used, by its records and by its book; the two come from the same entries by different ways.

    Attributes:
        cost_micros: Of all its records, net.
        refunded_late_micros: What became a credit, since the store no longer knew the message: no entry moved it.
        moved_micros: By its book; negative for debits.
    """

    cost_micros: int
    refunded_late_micros: int
    moved_micros: int


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """What the audit wants to know of a record; `rate` is packed as in the store, empty for a message or refusal."""

    seq: int
    office_id: str
    thing_id: str
    life_at: int
    kind: UsageKind
    state: UsageState
    reason: Reason
    billed_seconds: int
    cost_micros: int
    refunded_micros: int
    written_off_micros: int
    deck_version: int
    rate: bytes


_COLUMNS: Final = tuple(getattr(UsageRow, name) for name in UsageRecord.__slots__)


class AuditedUsage:
    """Reads the usage records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self, office_ids: Collection[str]) -> dict[str, UsageSum]:
        """What some offices used, in one moment."""
        costs = (
            select(UsageRow.office_id, func.sum(UsageRow.cost_micros))
            .where(UsageRow.office_id.in_(office_ids))
            .group_by(UsageRow.office_id)
        )
        late = (
            select(CreditRow.office_id, func.sum(CreditRow.requested_micros))
            .where(CreditRow.office_id.in_(office_ids), CreditRow.kind == CreditKind.MESSAGE_REFUND)
            .group_by(CreditRow.office_id)
        )
        books = select(OfficeBookRow.office_id, OfficeBookRow.moved_micros).where(
            OfficeBookRow.office_id.in_(office_ids)
        )
        async with self._database.moment() as session:
            cost, refunded, moved = [
                {name: int(micros) for name, micros in await session.execute(query)} for query in (costs, late, books)
            ]
        return {n: UsageSum(cost.get(n, 0), refunded.get(n, 0), moved.get(n, 0)) for n in office_ids}

    async def last_seq(self) -> int:
        """The newest record's number, for a progress bar."""
        async with self._database.read() as session:
            return await session.scalar(select(func.max(UsageRow.seq))) or 0

    async def records(self, office_id: str | None) -> AsyncIterator[list[UsageRecord]]:
        """All records, or those of one office, in the order of their numbers, a batch at a time.

        Each batch is a transaction of its own, so that a long audit holds nothing up.
        """
        after = 0
        while True:
            query = select(*_COLUMNS).where(UsageRow.seq > after).order_by(UsageRow.seq).limit(A_BATCH)
            if office_id is not None:
                query = query.where(UsageRow.office_id == office_id)
            async with self._database.read() as session:
                batch = [UsageRecord(*row) for row in await session.execute(query)]
            if not batch:
                return
            yield batch
            after = batch[-1].seq

    async def deck_versions(self) -> frozenset[int]:
        """The decks that there are."""
        async with self._database.read() as session:
            return frozenset(await session.scalars(select(DeckRow.version)))
