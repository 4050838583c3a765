"""A deck as bytes: checked once by who imports it, then loaded by every other process without reading CSV again.

A header line of JSON, then blocks of 1,000 rows: 4 bytes of length (little-endian) and compressed JSON. A block lists
the scopes and rates that it is the first to use, and its rows refer to them by number, since 200,000 rows share a few
hundred. Nothing in it can run code, and a torn or altered block is noticed by its checksum.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from gateway.domain.deck.rows import AnyRow, DeckService, MessageRateRow, RateRow, RowScope
from gateway.domain.numbers import NumberType
from gateway.domain.rate import MessageRate, Rate, Slot
from gateway.domain.vocabulary import Direction, License

FORMAT: Final = 1
BLOCK_ROWS: Final = 1_000
MAX_BLOCK_BYTES: Final = 4 << 20
"""What a block may grow to when it is decompressed: ten times what the longest rows need."""

_LENGTH: Final = struct.Struct("<I")
_COMPRESSION_LEVEL: Final = 3


class DeckFormatError(ValueError):
    """The bytes are not a deck of this format, or not the whole of one."""


def encode(version: int, rows: Iterable[AnyRow], count: int) -> bytes:
    """Write a deck; `decode` reads it back."""
    header = {"format": FORMAT, "version": version, "rows": count}
    parts = [json.dumps(header).encode() + b"\n"]
    scopes: dict[RowScope, int] = {}
    rates: dict[Rate | MessageRate, int] = {}
    remaining = iter(rows)
    while block := list(islice(remaining, BLOCK_ROWS)):
        known_scopes, known_rates = len(scopes), len(rates)
        packed_rows = [
            [
                row.row_id,
                scopes.setdefault(row.scope, len(scopes)),
                row.prefix,
                rates.setdefault(row.rate, len(rates)),
                row.description,
            ]
            for row in block
        ]
        content = {
            "scopes": [_pack_scope(scope) for scope in islice(scopes, known_scopes, None)],
            "rates": [_pack_rate(rate) for rate in islice(rates, known_rates, None)],
            "rows": packed_rows,
        }
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        compressed = zlib.compress(text.encode(), _COMPRESSION_LEVEL)
        parts += (_LENGTH.pack(len(compressed)), compressed)
    return b"".join(parts)


def decode(data: bytes) -> tuple[int, Iterator[list[AnyRow]]]:
    """Read what `encode` wrote: the deck's version, and its rows block by block as they are asked for.

    Raises:
        DeckFormatError: At once for a wrong header; while iterating for a block that is torn or altered.
    """
    line, newline, _ = data.partition(b"\n")
    try:
        header = json.loads(line)
        version, count, written_format = int(header["version"]), int(header["rows"]), header["format"]
    except (ValueError, KeyError, TypeError):
        raise DeckFormatError("the header is not that of a deck") from None
    if not newline or written_format != FORMAT:
        raise DeckFormatError(f"the deck has format {written_format}, this is a reader of format {FORMAT}")
    return version, _blocks(data, len(line) + 1, count)


def _blocks(data: bytes, offset: int, count: int) -> Iterator[list[AnyRow]]:
    scopes: list[RowScope] = []
    rates: list[Rate | MessageRate] = []
    read = 0
    while offset < len(data):
        try:
            (length,) = _LENGTH.unpack_from(data, offset)
            offset += _LENGTH.size
            content = json.loads(_decompress(data[offset : offset + length]))
            scopes += map(_unpack_scope, content["scopes"])
            rates += map(_unpack_rate, content["rates"])
            rows = [
                _row(row_id, scopes[scope], prefix, rates[rate], description)
                for row_id, scope, prefix, rate, description in content["rows"]
            ]
        except (ValueError, LookupError, TypeError, struct.error, zlib.error) as error:
            raise DeckFormatError(f"the block before byte {offset} is damaged: {error}") from error
        offset += length
        read += len(rows)
        yield rows
    if read != count:
        raise DeckFormatError(f"the deck has {read} of {count} rows")


def _row(row_id: int, scope: RowScope, prefix: str, rate: Rate | MessageRate, description: str) -> AnyRow:
    if isinstance(rate, MessageRate):
        return MessageRateRow(row_id, scope, prefix, rate, description)
    return RateRow(row_id, scope, prefix, rate, description)


def _decompress(compressed: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(compressed, MAX_BLOCK_BYTES)
    if not stream.eof:
        raise ValueError("it is cut short or too large")
    return content


def _pack_scope(scope: RowScope) -> list[Any]:
    return [scope.service, scope.tariff, scope.license, scope.number_type, scope.origin, scope.direction]


def _unpack_scope(fields: list[Any]) -> RowScope:
    service, tariff, license_, number_type, origin, direction = fields
    return RowScope(
        DeckService(service),
        tariff,
        License(license_) if license_ else None,
        NumberType(number_type) if number_type else None,
        origin,
        Direction(direction) if direction else None,
    )


def _pack_rate(rate: Rate | MessageRate) -> Any:
    """Write a message's rate as its price alone, a call's as fee, tick and slots."""
    if isinstance(rate, MessageRate):
        return rate.price_micros
    slots = [[each.from_second, each.price_micros, each.per_seconds, each.increment_seconds] for each in rate.slots]
    return [rate.connect_fee_micros, rate.tick_seconds, slots]


def _unpack_rate(fields: Any) -> Rate | MessageRate:
    if isinstance(fields, int):
        return MessageRate(fields)
    connect_fee_micros, tick_seconds, slots = fields
    return Rate(connect_fee_micros, tuple(Slot(*slot) for slot in slots), tick_seconds)
