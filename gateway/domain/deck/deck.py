"""The tariff deck: an immutable version of all rates, and the question it answers."""

from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, Self, TypeVar

from gateway.domain.deck.codec import decode, encode
from gateway.domain.deck.csv_reader import SLICE, read_csv
from gateway.domain.deck.index import RowIndex, Steps, fitting_scopes
from gateway.domain.deck.rows import AnyRow, DeckService, MessageRateRow, RateRow
from gateway.domain.numbers import NumberInfo, NumberType, number_types
from gateway.domain.vocabulary import Direction, License, MessageKind, Service

_CACHED_ATTRIBUTES: Final = 4_096

_SERVICES: Final = {service: DeckService[service.name] for service in Service}
_KINDS: Final = {kind: DeckService[kind.name] for kind in MessageKind}

T = TypeVar("T")


class CallQuery(NamedTuple):
    """What decides the rate of a call.

    Attributes:
        tariff: The office's; "" if it has none, which only rows of any tariff fit.
        service: What the call carries.
        direction: Seen from the office.
        license: Of the user who makes or takes the call.
        origin: The office's ISO country, for calls either way: the caller's own for an outbound call; for an inbound
            one it says whose rates hold, since the caller may be anywhere or withheld.
        called: The called number as seen from the office's country. Of an inbound call, the office's own number.
    """

    tariff: str
    service: Service
    direction: Direction
    license: License
    origin: str
    called: NumberInfo


class MessageQuery(NamedTuple):
    """What decides the price of a message; its direction is outbound and its licence standard.

    Attributes:
        tariff: The office's; "" if it has none.
        kind: What the message is.
        origin: The office's ISO country.
        called: The called number as seen from the office's country.
    """

    tariff: str
    kind: MessageKind
    origin: str
    called: NumberInfo


class Deck:
    """All rates of one version. Nothing changes it, so it may be read while the next one is loaded.

    Attributes:
        version: Its number; 0 for one that is not yet kept anywhere.
    """

    def __init__(self, version: int, calls: RowIndex[RateRow], messages: RowIndex[MessageRateRow]) -> None:
        """Use `parse_deck`, `Deck.build` or `Deck.from_bytes` instead.

        Args:
            version: The deck's number.
            calls: The rates of calls and faxes; not to be added to any more.
            messages: The rates of messages, likewise.
        """
        self.version = version
        self._calls = calls
        self._messages = messages
        # Bounded, although the attributes come from settings and enums and are few.
        self._call_steps = lru_cache(_CACHED_ATTRIBUTES)(self._work_out_call_steps)
        self._message_steps = lru_cache(_CACHED_ATTRIBUTES)(self._work_out_message_steps)

    def __len__(self) -> int:
        return len(self._calls) + len(self._messages)

    def rows(self) -> Iterator[AnyRow]:
        """Yield all rows, those of calls first, in no further order."""
        yield from self._calls
        yield from self._messages

    def lookup_call(self, query: CallQuery) -> RateRow | None:
        """Return the row that prices a call, None if there is none.

        Of the rows that fit the one with the longest prefix wins; among those one that names the tariff, then in turn
        the license, the number_type, the origin, the direction.
        """
        tariff, service, direction, license_, origin, called = query
        steps = self._call_steps(tariff, service, direction, license_, origin, called.kind, called.is_domestic)
        return self._calls.find(steps, called.e164[1:])

    def lookup_message(self, query: MessageQuery) -> MessageRateRow | None:
        """Return the row that prices a message, None if there is none; the same order of precedence holds."""
        tariff, kind, origin, called = query
        steps = self._message_steps(tariff, kind, origin, called.kind, called.is_domestic)
        return self._messages.find(steps, called.e164[1:])

    def with_version(self, version: int) -> "Deck":
        """Return the same rates under another number."""
        return Deck(version, self._calls, self._messages)

    @classmethod
    def build(cls, version: int, slices: Iterable[Iterable[AnyRow]]) -> Generator[int, None, Self]:
        """Make a deck of valid rows, no two with the same scope and prefix, yielding their number after each slice."""
        calls, messages = RowIndex(RateRow), RowIndex(MessageRateRow)
        for rows in slices:
            for row in rows:
                if isinstance(row, RateRow):
                    calls.add(row)
                else:
                    messages.add(row)
            yield len(calls) + len(messages)
        return cls(version, calls, messages)

    @classmethod
    def load(cls, data: bytes) -> Generator[int, None, Self]:
        """Read what `to_bytes` wrote, yielding after every 1,000 rows, that is every few milliseconds.

        Raises:
            DeckFormatError: The bytes are not that, or damaged.
        """
        version, blocks = decode(data)
        return (yield from cls.build(version, blocks))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote, all at once.

        Raises:
            DeckFormatError: The bytes are not that, or damaged.
        """
        return run(cls.load(data))

    def to_bytes(self) -> bytes:
        """Return the deck in a compact form that is loaded without reading CSV again."""
        return encode(self.version, self.rows(), len(self))

    def _work_out_call_steps(
        self,
        tariff: str,
        service: Service,
        direction: Direction,
        license_: License,
        origin: str,
        kind: NumberType,
        is_domestic: bool,
    ) -> Steps:
        types = number_types(kind, is_domestic, direction)
        return self._calls.steps(fitting_scopes(_SERVICES[service], tariff, license_, types, origin, direction))

    def _work_out_message_steps(
        self, tariff: str, kind: MessageKind, origin: str, number_kind: NumberType, is_domestic: bool
    ) -> Steps:
        types = number_types(number_kind, is_domestic, Direction.OUTBOUND)
        scopes = fitting_scopes(_KINDS[kind], tariff, License.STANDARD, types, origin, Direction.OUTBOUND)
        return self._messages.steps(scopes)


def parse_deck(data: bytes | str, version: int = 0) -> Deck:
    """Read a deck from CSV, all at once: about a second for 100,000 rows.

    Raises:
        DeckError: The deck is not valid; with every fault by its line.
    """
    return run(parse_deck_in_slices(data, version))


def parse_deck_in_slices(data: bytes | str, version: int = 0) -> Generator[int, None, Deck]:
    """Read a deck from CSV, yielding about every 1,000 rows, so that an event loop can do other work in between.

    Raises:
        DeckError: The deck is not valid; with every fault by its line.
    """
    rows = iter((yield from read_csv(data)))
    return (yield from Deck.build(version, iter(lambda: list(islice(rows, SLICE)), [])))


def run(slices: Generator[object, None, T]) -> T:
    """Run what is made to pause between slices to its end, without a pause."""
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            result: T = stop.value
            return result
