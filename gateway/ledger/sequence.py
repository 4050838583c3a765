"""Counters that are held until the commit: numbers come without a gap, and become visible in their order."""

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger.errors import LedgerBroken
from gateway.ledger.models import SequenceRow

DECKS = "deck"
REFILL_TRIGGERS = "refill_trigger"
SWITCHES = "switch"
"""Counts the changes of switches: what the store holds of them is named by it."""


async def hold(session: AsyncSession, name: str) -> SequenceRow:
    """A counter that no other writer has until the transaction ends; `value` is the last number given out.

    Raises:
        LedgerBroken: The migrations made it, and it is gone.
    """
    row = await session.get(SequenceRow, name, with_for_update=True)
    if row is None:
        raise LedgerBroken(f"The sequence {name!r} is gone from the database.")
    return row
