"""The deck in force from SQL into the store, in the compiled form that gateways load."""

import asyncio

import structlog

from gateway.domain.deck import Deck, parse_deck
from gateway.ledger.decks import Decks
from gateway.store.connection import StoreConnection
from gateway.store.directory import publish_rates, published_rates

log = structlog.get_logger(__name__)


class RateProjection:
    """Makes the store hold SQL's newest deck."""

    def __init__(self, decks: Decks, connection: StoreConnection) -> None:
        self._decks = decks
        self._connection = connection
        self._turn = asyncio.Lock()

    async def project(self, known: Deck | None = None) -> None:
        """Publish the newest deck where the store holds another, or none.

        Args:
            known: A deck that was just imported, so that it need not be read again from SQL.

        Raises:
            StoreUnavailable: The deck before is still in force; the projector sees to it.
            DatabaseError: Nothing was published.
        """
        async with self._turn:
            while True:
                newest = await self._decks.newest()
                if newest is None or await published_rates(self._connection) == newest.version:
                    return
                if known is not None and known.version == newest.version:
                    deck = known
                else:
                    content = (await self._decks.content(newest.version)).content
                    deck = await asyncio.to_thread(parse_deck, content, newest.version)
                await publish_rates(self._connection, deck)
                # Once more round: another gateway may have imported a newer one meanwhile and published it first.
                log.info("deck_published", version=deck.version, rates=len(deck))
