"""The rows of the deck that priced what is over or goes on, by the deck version that was kept with it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from gateway.api.answers import call_rate_row, fill_rate, message_rate_row
from gateway.domain.deck import AnyRow, Deck, RateRow, parse_deck
from gateway.domain.deck.rows import describe
from gateway.domain.rate import Rate
from gateway.ledger.decks import Decks
from gateway.ledger.errors import DeckNotFound
from gateway.v1 import authorization_pb2

RowKey: TypeAlias = tuple[int, int]
"""Deck version and first line; a zero in it is no row."""

_ROWS_REMEMBERED: Final = 10_000


class RateRows:
    """Finds rows.

    Args:
        decks: Every version.
        current: The deck in force as this process has it, so that it need not be read again.
    """

    def __init__(self, decks: Decks, current: Callable[[], Deck | None]) -> None:
        self._decks = decks
        self._current = current
        self._found: OrderedDict[RowKey, AnyRow | None] = OrderedDict()
        self._old: Deck | None = None
        self._reading = asyncio.Lock()

    async def find(self, keys: Iterable[RowKey]) -> Mapping[RowKey, AnyRow | None]:
        """The rows of all keys that name one; None where the deck is gone.

        A deck is gone through once for all rows that are not known yet, so that a batch of records costs no more than
        one of them.

        Raises:
            DatabaseError: A deck cannot be read now.
        """
        wanted = {key for key in keys if all(key)}
        found = {key: self._found[key] for key in wanted if key in self._found}
        missing: dict[int, set[int]] = {}
        for version, line in wanted - found.keys():
            missing.setdefault(version, set()).add(line)
        for version, lines in missing.items():
            async with self._reading:
                deck = await self._deck(version)
            rows = {} if deck is None else await asyncio.to_thread(_rows_of, deck, lines)
            found.update({(version, line): rows.get(line) for line in lines})
        for key in wanted:
            self._remember(key, found[key])
        return found

    async def message(self, key: RowKey, rate: Rate | None = None) -> authorization_pb2.RateRow | None:
        """One row in the contract's terms; None: it was never rated.

        Args:
            key: Which.
            rate: What the call itself knows of it, where its deck is gone.

        Raises:
            DatabaseError: The deck cannot be read now.
        """
        return row_message(key, (await self.find([key])).get(key), rate)

    def _remember(self, key: RowKey, row: AnyRow | None) -> None:
        self._found[key] = row
        self._found.move_to_end(key)
        if len(self._found) > _ROWS_REMEMBERED:
            self._found.popitem(last=False)

    async def _deck(self, version: int) -> Deck | None:
        for known in (self._current(), self._old):
            if known is not None and known.version == version:
                return known
        try:
            content = (await self._decks.content(version)).content
        except DeckNotFound:
            return None
        self._old = await asyncio.to_thread(parse_deck, content, version)
        return self._old


def row_message(key: RowKey, row: AnyRow | None, rate: Rate | None = None) -> authorization_pb2.RateRow | None:
    """A row in the contract's terms; where its deck is gone (None), what is known of it without."""
    version, line = key
    if not all(key):
        return None
    if isinstance(row, RateRow):
        return call_rate_row(version, row)
    if row is not None and rate is None:
        return message_rate_row(version, row)
    message = authorization_pb2.RateRow(deck_version=version, line=line, why="The deck is gone")
    if rate is not None:
        message.why += f"; as kept with the call: {describe(rate)}"
        fill_rate(message, rate)
    return message


def _rows_of(deck: Deck, lines: set[int]) -> dict[int, AnyRow]:
    return {row.row_id: row for row in deck.rows() if row.row_id in lines}
