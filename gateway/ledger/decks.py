"""The rate decks: every version is kept, the newest is in force."""

import asyncio
import hashlib
import zlib
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ids import validate_text
from gateway.errors import InvalidArgument
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import DeckNotFound
from gateway.ledger.models import DeckRow
from gateway.ledger.paging import Page, PageRequest
from gateway.ledger.sequence import DECKS, hold

MAX_CONTENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deck:
    """A version of the deck, without its rows."""

    version: int
    sha256: str
    row_count: int
    source: str
    created_by: str
    created_at: int


@dataclass(frozen=True, slots=True)
class DeckContent:
    """A version of the deck, with its rows as they were imported."""

    deck: Deck
    content: str


class Decks:
    """The repository of rate decks. What it is given has been validated: it does not read the rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, content: str, *, row_count: int, source: str, actor: str, now_ms: int) -> Deck:
        """Record a deck as the next version; one equal to the newest is that one, so that a retry adds nothing.

        Raises:
            InvalidArgument: It is too large, or the source is no name.
        """
        validate_text(source, "source", may_be_empty=True)
        text = content.encode()
        if len(text) > MAX_CONTENT_BYTES:
            raise InvalidArgument(
                "content", f"must be at most {MAX_CONTENT_BYTES} bytes; split tariffs into fewer rows"
            )
        sha256 = hashlib.sha256(text).hexdigest()
        compressed = await asyncio.to_thread(zlib.compress, text)

        async def insert(session: AsyncSession) -> Deck:
            sequence = await hold(session, DECKS)
            newest = await _newest(session)
            if newest is not None and newest.sha256 == sha256:
                return _deck(newest)
            sequence.value += 1
            deck = Deck(sequence.value, sha256, row_count, source, actor, now_ms)
            session.add(
                DeckRow(
                    version=deck.version,
                    content=compressed,
                    sha256=sha256,
                    row_count=row_count,
                    source=source,
                    created_by=actor,
                    created_at=now_ms,
                )
            )
            audit.record(
                session,
                now_ms=now_ms,
                actor=actor,
                action="deck.add",
                target=f"deck:{deck.version}",
                before=None if newest is None else _deck(newest),
                after=deck,
            )
            return deck

        return await self._database.transact(insert)

    async def newest(self) -> Deck | None:
        """The deck in force, or None before the first import."""
        async with self._database.read() as session:
            row = await _newest(session)
        return None if row is None else _deck(row)

    async def content(self, version: int) -> DeckContent:
        """One version with its rows.

        Raises:
            DeckNotFound: There is no such version.
        """
        query = select(DeckRow, DeckRow.content).where(DeckRow.version == version)
        async with self._database.read() as session:
            found = (await session.execute(query)).one_or_none()
        if found is None:
            raise DeckNotFound(version)
        row, compressed = found
        text = await asyncio.to_thread(zlib.decompress, compressed)
        return DeckContent(_deck(row), text.decode())

    async def list(self, page: PageRequest) -> Page[Deck]:
        """The versions, newest first.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((int,), "decks")
        query = select(DeckRow).order_by(DeckRow.version.desc()).limit(page.limit + 1)
        if after is not None:
            query = query.where(DeckRow.version < after[0])
        async with self._database.read() as session:
            decks = [_deck(row) for row in await session.scalars(query)]
        return page.page(decks, lambda deck: (deck.version,), "decks")


async def _newest(session: AsyncSession) -> DeckRow | None:
    return (await session.scalars(select(DeckRow).order_by(DeckRow.version.desc()).limit(1))).one_or_none()


def _deck(row: DeckRow) -> Deck:
    return Deck(row.version, row.sha256, row.row_count, row.source, row.created_by, row.created_at)
