"""Many rows by one statement, so that who waits for the event loop does not wait for all of them."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.slices import slices

A_PIECE: Final = 100
"""Rows that SQLAlchemy prepares in one turn of the event loop, in 4 to 6 ms; of 2,000 at once a refill trigger that was
published meanwhile would have to wait for 100 ms."""


async def execute_many(session: AsyncSession, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement for each of some rows, in their order; for none it does nothing."""
    for piece in slices(rows, A_PIECE):
        await session.execute(statement, piece)
