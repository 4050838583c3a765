"""The tariff deck: read, checked, looked up and carried (docs/reference/rate-decks.md is what its users read)."""

from gateway.domain.deck.cells import COLUMNS
from gateway.domain.deck.codec import DeckFormatError
from gateway.domain.deck.deck import CallQuery, Deck, MessageQuery, parse_deck, parse_deck_in_slices
from gateway.domain.deck.errors import DeckError, LineError
from gateway.domain.deck.rows import AnyRow, DeckService, MessageRateRow, RateRow, RowScope

__all__ = [
    "COLUMNS",
    "AnyRow",
    "CallQuery",
    "Deck",
    "DeckError",
    "DeckFormatError",
    "DeckService",
    "LineError",
    "MessageQuery",
    "MessageRateRow",
    "RateRow",
    "RowScope",
    "parse_deck",
    "parse_deck_in_slices",
]
