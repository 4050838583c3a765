"""Whom calls have called: the outbox says it with the first entry of a call, and the fraud guards ask with each."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.vocabulary import Direction
from gateway.ledger.journal.facts import CallMoved, Entry
from gateway.ledger.models import UsageRow

REMEMBERED: Final = 100_000
"""Calls that are not over; some 300 bytes each. Of more the records are asked, one by one."""

NOT_OUTBOUND: Final = ""

Life = tuple[str, str, int]
"""Office, call and when it was authorized: what tells a usage record from all others."""


def life_of(entry: Entry, fact: CallMoved) -> Life:
    """Which call an entry is about."""
    return entry.office_id, fact.call_id, fact.authorized_at


class CalledNumbers:
    """Remembers the calls that this gateway has journaled the beginning of; of the others it asks their records.

    What it remembers is true whether or not the transaction in which it was told is committed.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Life, str] = OrderedDict()

    def learn(self, entries: Iterable[Entry]) -> None:
        """Take what entries tell of calls that begin."""
        for entry in entries:
            fact = entry.fact
            if isinstance(fact, CallMoved) and fact.begun is not None:
                subject = fact.begun.subject
                is_outbound = subject.direction is Direction.OUTBOUND
                self._remember(life_of(entry, fact), subject.called_number if is_outbound else NOT_OUTBOUND)

    def forget(self, entries: Iterable[Entry]) -> None:
        """Forget the calls that are over."""
        for entry in entries:
            if isinstance(entry.fact, CallMoved) and entry.fact.ended is not None:
                self._known.pop(life_of(entry, entry.fact), None)

    async def of(self, session: AsyncSession, life: Life) -> str:
        """The number that a call was made to, in E.164; NOT_OUTBOUND: it is none of the office's calls to others."""
        number = self._known.get(life)
        if number is None:
            # One at a time, by the key: many at a time SQLite would read the whole table for (decision 9).
            query = select(UsageRow.direction, UsageRow.called_number).where(
                UsageRow.office_id == life[0], UsageRow.thing_id == life[1], UsageRow.life_at == life[2]
            )
            row = (await session.execute(query)).one_or_none()
            number = row[1] if row is not None and row[0] is Direction.OUTBOUND else NOT_OUTBOUND
            self._remember(life, number)
        return number

    def _remember(self, life: Life, number: str) -> None:
        self._known[life] = number
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
