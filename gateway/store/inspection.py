"""What an audit sees of the store: offices with their live calls and the end of their outbox, in one moment."""

import struct
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from gateway.domain.rate import RateError
from gateway.store.connection import StoreConnection
from gateway.store.keys import due_key, office_keys, outbox_key
from gateway.store.records import CallRecord, OfficeRecord, unpack_call

BEGINNING: Final = "0-0"

_OFFICE_KEYS: Final = "tg:{*}:office:*"
_UNREADABLE: Final = (struct.error, ValueError, IndexError, DecodeError, RateError)


class LiveCall(NamedTuple):
    """An entry of a due set: the office and call that it names."""

    office_id: str
    call_id: str


@dataclass(frozen=True, slots=True)
class ShardSight:
    """Some offices of a shard as they were in one moment.

    Attributes:
        offices: Those that the store has and that can be read.
        calls: The live calls of these offices; None where the due set names a call that is not there, or not live.
        last_entry: The newest of the outbox; `BEGINNING` where that is empty.
    """

    offices: Mapping[str, OfficeRecord]
    calls: Mapping[LiveCall, CallRecord | None]
    last_entry: str


async def look_at(
    connection: StoreConnection, shard: int, office_ids: Collection[str], expected: Sequence[LiveCall]
) -> tuple[ShardSight | None, Sequence[LiveCall]]:
    """Look at some offices of a shard and at the live calls that are expected there.

    Which calls are live is part of what is looked at: where others are than were expected nothing was seen, and whoever
    asks looks again for those.

    Returns:
        What was seen, or None; and the calls that are live, in order.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    offices, calls = list(office_ids), list(expected)
    wanted = set(offices)
    replies = await connection.ask_together(
        [
            *(("GET", office_keys(office_id).office) for office_id in offices),
            ("ZRANGE", due_key(shard), 0, -1),
            ("XREVRANGE", outbox_key(shard), "+", "-", "COUNT", 1),
            *(("GET", office_keys(each.office_id).call_prefix + each.call_id.encode()) for each in calls),
        ]
    )
    due, newest = replies[len(offices) : len(offices) + 2]
    live = sorted(call for call in map(_live_call, due) if call.office_id in wanted)
    if live != calls:
        return None, live
    records = {name: _read_office(packed) for name, packed in zip(offices, replies[: len(offices)], strict=True)}
    sight = ShardSight(
        {name: record for name, record in records.items() if record is not None},
        {call: _read_call(packed) for call, packed in zip(calls, replies[len(offices) + 2 :], strict=True)},
        newest[0][0].decode() if newest else BEGINNING,
    )
    return sight, live


async def last_generated(connection: StoreConnection, shard: int) -> str:
    """The newest entry that a shard's outbox ever had, trimmed ones included; `BEGINNING`: none.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    key = outbox_key(shard)
    if not await connection.ask("EXISTS", key):
        return BEGINNING
    told = await connection.ask("XINFO", "STREAM", key)
    return str(dict(zip(told[::2], told[1::2], strict=True))[b"last-generated-id"].decode())


async def stored_offices(connection: StoreConnection) -> AsyncIterator[list[str]]:
    """The ids of all offices that the store has, some at a time, a few perhaps twice.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    async for keys in connection.scan(_OFFICE_KEYS):
        yield [key.decode().partition(":office:")[2] for key in keys]


def entry_order(entry_id: str) -> tuple[int, int]:
    """What entries of a stream are in the order of."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _live_call(member: bytes) -> LiveCall:
    office_id, _, call_id = member.decode().partition(":")
    return LiveCall(office_id, call_id)


def _read_office(packed: bytes | None) -> OfficeRecord | None:
    try:
        return None if packed is None else OfficeRecord.unpack(packed)
    except _UNREADABLE:
        return None


def _read_call(packed: bytes | None) -> CallRecord | None:
    try:
        call = None if packed is None else unpack_call(packed)
    except _UNREADABLE:
        return None
    return call if isinstance(call, CallRecord) else None
