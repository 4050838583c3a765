"""The messages that were sent and whose money may have to be given back, in a file of their own (SQLite)."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

T = TypeVar("T")

SECONDS_A_DAY: Final = 86_400

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
  message_id TEXT PRIMARY KEY,
  office_id TEXT NOT NULL,
  state TEXT NOT NULL, -- ASKED: of Tollgate; SENT: to Kannel; REFUND: owed; DONE: given back
  since REAL NOT NULL, -- Unix seconds
  report_mask INTEGER NOT NULL,
  report_base TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON messages (state, since);
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which reports of a message its sender wants, and at which host."""

    mask: int
    base: str


class SentMessages:
    """The file, written by one thread in the order of the calls.

    Args:
        path: The file; made if it is not there.
        keep_days: How long reports of a message are waited for.
    """

    def __init__(self, path: Path, keep_days: float) -> None:
        self._keep_seconds = keep_days * SECONDS_A_DAY
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="messages")
        self._path = path

    async def __aenter__(self) -> Self:
        """Open it; what was asked but not sent when the process ended is owed."""
        await self._do(self._open)
        return self

    async def __aexit__(self, *exit_: object) -> None:
        await self._do(self._close)
        self._thread.shutdown()

    async def asked(self, message_id: str, office_id: str, wish: Wish) -> None:
        """Tollgate is about to be asked."""
        row = (message_id, office_id, time.time(), wish.mask, wish.base)
        await self._write("INSERT INTO messages VALUES (?, ?, 'ASKED', ?, ?, ?)", row)

    async def forget(self, message_id: str) -> None:
        """It was not paid."""
        await self._write("DELETE FROM messages WHERE message_id = ?", (message_id,))

    async def sending(self, message_id: str) -> None:
        """It was paid, and Kannel is about to get it."""
        await self._write(
            "UPDATE messages SET state = 'SENT', since = ? WHERE message_id = ?", (time.time(), message_id)
        )

    async def owe(self, message_id: str) -> None:
        """It was not sent, or did not arrive; once this returns, that is on the disk."""
        update = "UPDATE messages SET state = 'REFUND' WHERE message_id = ? AND state IN ('ASKED', 'SENT')"
        await self._write(update, (message_id,), synced=True)

    async def settled(self, message_id: str) -> None:
        """The money is back, or there was none."""
        await self._write("UPDATE messages SET state = 'DONE' WHERE message_id = ?", (message_id,))

    async def owed(self, count: int) -> list[tuple[str, str]]:
        """Messages whose money is owed, with their offices."""
        select = "SELECT message_id, office_id FROM messages WHERE state = 'REFUND' LIMIT ?"
        return await self._do(lambda: self._database.execute(select, (count,)).fetchall())

    async def wish_of(self, message_id: str) -> Wish | None:
        """Which reports are wanted of a message; None: it is unknown."""
        select = "SELECT report_mask, report_base FROM messages WHERE message_id = ?"
        row = await self._do(lambda: self._database.execute(select, (message_id,)).fetchone())
        return Wish(*row) if row else None

    async def clean(self) -> None:
        """Forget what is so old that no report is waited for."""
        await self._write(
            "DELETE FROM messages WHERE state IN ('SENT', 'DONE') AND since < ?", (time.time() - self._keep_seconds,)
        )

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.executescript(_SCHEMA)
        self._database.execute("UPDATE messages SET state = 'REFUND' WHERE state = 'ASKED'")

    def _close(self) -> None:
        self._database.close()

    async def _write(self, statement: str, values: tuple[object, ...], *, synced: bool = False) -> None:
        def write() -> None:
            # A synced commit puts all that was written before on the disk as well.
            self._database.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._database.execute(statement, values)

        await self._do(write)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
