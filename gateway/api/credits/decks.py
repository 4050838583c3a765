"""Rate decks: validated whole, kept for ever, swapped in atomically."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final

from gateway.api.credits.fields import instant, read_page
from gateway.domain.deck import Deck, DeckError, parse_deck
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_text
from gateway.errors import InvalidArgument, Unavailable
from gateway.ledger import decks as ledger
from gateway.ledger.decks import MAX_CONTENT_BYTES, Decks
from gateway.projection.rates import RateProjection
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb

_ERRORS_SAID: Final = 20
_ERROR_CHARACTERS: Final = 1_500
"""Both bounds keep message and details within the 8 KiB of metadata that every gRPC client takes."""


class DeckRpcs:
    """What is asked about rate decks."""

    def __init__(self, decks: Decks, projection: RateProjection, clock: Clock) -> None:
        self._decks = decks
        self._projection = projection
        self._clock = clock
        # A large deck takes seconds of CPU and hundreds of megabytes: one at a time.
        self._importing = asyncio.Lock()

    async def import_rates(self, request: pb.ImportRatesRequest, identity: Identity) -> pb.RateDeck:
        """Validate a deck and put it in force, unless it is in force already or this is a dry run.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: The deck has errors, which are listed, or a field is out of its range.
            Unavailable: It is recorded or not; a repeat finds out. Once recorded it will be in force.
        """
        identity.may_operate()
        validate_text(request.source, "source", may_be_empty=True)
        if not 0 < len(request.deck) <= MAX_CONTENT_BYTES:
            raise InvalidArgument(
                "deck", f"has {len(request.deck)} bytes, it must be 1 to {MAX_CONTENT_BYTES} of CSV in UTF-8"
            )
        async with self._importing:
            deck = await read_deck(request.deck)
            if request.dry_run:
                sha256 = hashlib.sha256(request.deck).hexdigest()
                return pb.RateDeck(source=request.source, rates=len(deck), sha256=sha256)
            recorded = await self._decks.add(
                request.deck.decode(),
                row_count=len(deck),
                source=request.source,
                actor=identity.actor,
                now_ms=self._clock.now_ms(),
            )
            await self._projection.project(deck.with_version(recorded.version))
        return _message(recorded, current=True)

    async def list(self, request: pb.ListRateDecksRequest, identity: Identity) -> pb.ListRateDecksResponse:
        """Every version, newest first.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: The page is not one of this list.
        """
        identity.may_operate()
        newest = await self._decks.newest()
        page = await self._decks.list(read_page(request.page_size, request.page_token))
        return pb.ListRateDecksResponse(
            decks=[
                _message(deck, current=newest is not None and deck.version >= newest.version) for deck in page.items
            ],
            next_page_token=page.next_page_token,
        )


async def read_deck(content: bytes) -> Deck:
    """Read a deck in a thread, since it may take seconds, and to the end, since nobody can stop a thread.

    Raises:
        InvalidArgument: It has errors: the first ones are listed with their lines.
    """
    reading = asyncio.ensure_future(asyncio.to_thread(parse_deck, content))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})
        raise
    except DeckError as error:
        raise _described(error) from None
    except MemoryError as error:
        raise Unavailable(
            "There is not enough memory to read this deck; split it, or give the gateway more."
        ) from error


def _described(error: DeckError) -> InvalidArgument:
    lines = [(f"deck line {each.line}", f"{each.column}: {each.message}" if each.column else each.message)
             for each in error.errors]  # fmt: skip
    said = list(_first(lines))
    more = f"; and {error.count - len(said)} more" if error.count > len(said) else ""
    listed = "; ".join(f"{where.removeprefix('deck ')}, {what}" for where, what in said)
    return InvalidArgument(
        "deck",
        f"has {error.count} error{'s' if error.count > 1 else ''}, nothing was changed: {listed}{more}",
        reason="RATE_DECK_INVALID",
        violations=said,
    )


def _first(lines: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    left = _ERROR_CHARACTERS
    for number, (where, what) in enumerate(lines):
        left -= len(where.encode()) + len(what.encode())
        if number and (left < 0 or number == _ERRORS_SAID):
            return
        yield where, what


def _message(deck: ledger.Deck, *, current: bool) -> pb.RateDeck:
    return pb.RateDeck(
        version=deck.version,
        source=deck.source,
        rates=deck.row_count,
        sha256=deck.sha256,
        created_at=instant(deck.created_at),
        current=current,
    )
