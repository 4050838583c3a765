"""Finding the row that prices a call among hundreds of thousands, in about two microseconds.

A deck has few different scopes (some dozens; some thousands with one per country) and many prefixes. So each scope has
a table of its prefixes, and for the attributes of a call, which repeat, it is worked out once which tables count, in
which order, and which lengths of prefix occur in them. What is left per call is a handful of dictionary look-ups.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeAlias, TypeVar

from gateway.domain.deck.rows import DeckService, MessageRateRow, RateRow, RowScope
from gateway.domain.numbers import NumberType
from gateway.domain.rate import MessageRate, Rate
from gateway.domain.vocabulary import Direction, License

RowT = TypeVar("RowT", RateRow, MessageRateRow)
T = TypeVar("T")

Steps: TypeAlias = tuple[tuple[int, tuple[Callable[[str], int | None], ...]], ...]
"""Lengths of prefix, the longest first, each with the tables to ask for a prefix of that length, the best first.

A table gives the position of a row.
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one scope: its number, their positions by prefix, and which lengths of prefix there are."""

    number: int
    positions: dict[str, int]
    lengths: set[int]


class RowIndex(Generic[RowT]):
    """The rows of one kind by scope and prefix.

    Rows are kept as columns and made when they are first asked for, and the large columns are arrays and dictionaries
    of plain strings and integers, because the garbage collector does not walk those: with 200,000 row objects, or
    even lists of strings, each full collection stops the process for 0.1 s.
    """

    def __init__(self, row_type: type[RowT]) -> None:
        """Begin empty.

        Args:
            row_type: What the rows are.
        """
        self._row_type: Callable[..., RowT] = row_type
        self._tables: dict[RowScope, _Table] = {}
        self._scopes: list[RowScope] = []
        self._rates: list[Rate | MessageRate] = []
        self._number_of_rate: dict[int, int] = {}
        self._prefixes: dict[str, None] = {}
        # The columns, by position.
        self._row_ids = array("I")
        self._scope_numbers = array("I")
        self._rate_numbers = array("I")
        self._descriptions: dict[int, str] = {}
        self._made: dict[int, RowT] = {}

    def __len__(self) -> int:
        return len(self._row_ids)

    def __iter__(self) -> Iterator[RowT]:
        for table in self._tables.values():
            for prefix, position in table.positions.items():
                yield self._make(position, prefix)

    def add(self, row: RowT) -> None:
        """Add a row; the reader has made sure that no other has its scope and prefix."""
        table = self._tables.get(row.scope)
        if table is None:
            table = self._tables[row.scope] = _Table(len(self._scopes), {}, set())
            self._scopes.append(row.scope)
        # By identity: the readers make equal rates one object, and to hash a rate takes longer than all the rest.
        rate_number = self._number_of_rate.setdefault(id(row.rate), len(self._rates))
        if rate_number == len(self._rates):
            self._rates.append(row.rate)
        position = len(self)
        table.positions[row.prefix] = position
        table.lengths.add(len(row.prefix))
        self._prefixes[row.prefix] = None
        self._row_ids.append(row.row_id)
        self._scope_numbers.append(table.number)
        self._rate_numbers.append(rate_number)
        if row.description:
            self._descriptions[position] = row.description

    def steps(self, scopes: Iterable[RowScope]) -> Steps:
        """Work out how to look numbers up, given the scopes that fit, the best first."""
        fitting = [table for scope in scopes if (table := self._tables.get(scope)) is not None]
        lengths = sorted(set().union(*(table.lengths for table in fitting)), reverse=True)
        return tuple(
            (length, tuple(table.positions.get for table in fitting if length in table.lengths)) for length in lengths
        )

    def find(self, steps: Steps, digits: str) -> RowT | None:
        """Return the best row for the digits of a called number, None if there is none."""
        available = len(digits)
        prefixes = self._prefixes
        for length, tables in steps:
            prefix = digits[:length]
            # A number has a dozen prefixes, of which a deck knows one or two.
            if prefix in prefixes and length <= available:
                for position_of in tables:
                    position = position_of(prefix)
                    if position is not None:
                        return self._made.get(position) or self._made.setdefault(position, self._make(position, prefix))
        return None

    def _make(self, position: int, prefix: str) -> RowT:
        return self._row_type(
            self._row_ids[position],
            self._scopes[self._scope_numbers[position]],
            prefix,
            self._rates[self._rate_numbers[position]],
            self._descriptions.get(position, ""),
        )


def fitting_scopes(
    service: DeckService,
    tariff: str,
    license_: License,
    number_types: tuple[NumberType, ...],
    origin: str,
    direction: Direction,
) -> Iterator[RowScope]:
    """Yield every scope that fits, the best first: this is the order of precedence among rows of equal prefix.

    A named tariff goes before any, then in turn license, number_type, origin and direction. Rows that name the same
    columns, but two of the number's types, are decided by the type that says more.
    """
    choices = product(
        _named_first(tariff, ""),
        _named_first(license_, None),
        (number_types, (None,)),
        _named_first(origin, ""),
        _named_first(direction, None),
    )
    for some_tariff, some_license, some_types, some_origin, some_direction in choices:
        for number_type in some_types:
            yield RowScope(service, some_tariff, some_license, number_type, some_origin, some_direction)


def _named_first(name: T, any_name: T) -> tuple[T, ...]:
    return (name, any_name) if name else (any_name,)
