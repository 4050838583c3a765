"""Reading the outboxes: what moved money, entry by entry, shard by shard (lib/outbox.lua writes them)."""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from gateway.slices import slices
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import EPOCH_KEY, SHARDS, outbox_key, shard_of

SHARDS_AT_ONCE: Final = 4

_SEARCHED: Final = 500

_MOVED: Final = Struct("<qqq")
_CALL: Final = Struct("<qqIq")
_END: Final = Struct("<IIq")


class Moved(NamedTuple):
    """What every entry says: when, by the gateway's clock, and what it moved; negative: a debit."""

    at_ms: int
    amount_micros: int
    balance_micros: int


class CallFigures(NamedTuple):
    """How a call stands after an entry."""

    authorized_ms: int
    debited_micros: int
    confirmed_seconds: int
    answered_ms: int


class EndFigures(NamedTuple):
    """What an end settled."""

    duration_seconds: int
    billed_seconds: int
    written_off_micros: int


class OutboxEntry(NamedTuple):
    """An entry of an outbox, read where it is asked: one that another version wrote fails by itself.

    Each property raises KeyError or struct.error where the entry has nothing of the kind.

    Attributes:
        entry_id: The stream's, by the store's clock.
        fields: As they are; a kind has those that lib/outbox.lua and the scripts give it.
    """

    entry_id: str
    fields: Mapping[bytes, bytes]

    @property
    def kind(self) -> str:
        """One of tick, end, lapse, revive, denied, message, message_refund, late_refund, blocked, credit, refill."""
        return self.fields[b"kind"].decode()

    @property
    def office_id(self) -> str:
        """Whose money it is."""
        return self.fields[b"office"].decode()

    @property
    def thing_id(self) -> str:
        """The call, message, credit or refill."""
        return self.fields[b"id"].decode()

    @property
    def moved(self) -> Moved:
        """When, and what."""
        return Moved._make(_MOVED.unpack(self.fields[b"moved"]))

    @property
    def call(self) -> CallFigures:
        """Of a tick, end, lapse or revive."""
        return CallFigures._make(_CALL.unpack(self.fields[b"call"]))

    @property
    def end(self) -> EndFigures:
        """Of an end."""
        return EndFigures._make(_END.unpack(self.fields[b"end"]))

    def number(self, name: bytes) -> int:
        """A field that is a whole number; 0 where the entry has none of this name."""
        return int(self.fields.get(name, b"0"))


class Backlog(NamedTuple):
    """What the ledger does not have yet.

    Attributes:
        entries: In all outboxes.
        age_ms: Of the oldest of them, by the store's own clock; 0: there is none.
    """

    entries: int
    age_ms: int


async def read_backlog(connection: StoreConnection) -> Backlog:
    """Look at the length of every outbox and at its oldest entry.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    lengths = await connection.ask_all(("XLEN", outbox_key(shard)) for shard in range(SHARDS))
    filled = [shard for shard in range(SHARDS) if lengths[shard]]
    oldest = await connection.ask_all(("XRANGE", outbox_key(shard), "-", "+", "COUNT", 1) for shard in filled)
    # By the store's own clock, as the ids are.
    seconds, microseconds = await connection.ask("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    since_ms = min((stored_ms(entries[0][0].decode()) for entries in oldest if entries), default=now_ms)
    return Backlog(sum(lengths), max(0, now_ms - since_ms))


async def read_outboxes(
    connection: StoreConnection, positions: Mapping[int, str], count: int
) -> dict[int, list[OutboxEntry]]:
    """Return the entries behind the positions of some shards, at most `count` of each; does not wait for new ones.

    A command a shard, since on a Cluster shards live apart. Few at a time: what is pipelined the store carries out in
    one go, and a backlog of all shards would hold up every call for a tenth of a second.

    A server that does not answer has nothing new.

    Raises:
        StoreUnavailable: None of them answered.
        StoreFault: One refused.
    """
    found, failed = {}, 0
    for some in slices(list(positions), SHARDS_AT_ONCE):
        commands = [("XREAD", "COUNT", count, "STREAMS", outbox_key(shard), positions[shard]) for shard in some]
        for shard, reply in zip(some, await connection.ask_each(commands), strict=True):
            if isinstance(reply, Exception):
                failed += 1
                if failed == len(positions) or not isinstance(reply, StoreUnavailable):
                    raise reply
            elif reply:
                [(_, entries)] = reply
                found[shard] = [_entry(entry_id, fields) for entry_id, fields in entries]
    return found


async def claim_epoch(connection: StoreConnection, newest: int) -> int:
    """Return the epoch of the store's outboxes; a store that has none, being new or emptied, gets the newest.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    await connection.ask("SET", EPOCH_KEY, newest, "NX")
    return await read_epoch(connection)


async def read_epoch(connection: StoreConnection) -> int:
    """Return the epoch of the store's outboxes; 0: it has none.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    return int(await connection.ask("GET", EPOCH_KEY) or 0)


async def find_credit(connection: StoreConnection, office_id: str, number: int) -> int | None:
    """Return what a credit moved, by the outbox; None if its entry is no longer there.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    key, end = outbox_key(shard_of(office_id)), "+"
    while entries := await connection.ask("XREVRANGE", key, end, "-", "COUNT", _SEARCHED):
        for entry in (_entry(entry_id, fields) for entry_id, fields in entries):
            if (entry.kind, entry.office_id, entry.thing_id) == ("credit", office_id, str(number)):
                return entry.moved.amount_micros
        end = "(" + entries[-1][0].decode()
    return None


def _entry(entry_id: bytes, flat: list[Any]) -> OutboxEntry:
    return OutboxEntry(entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))


def stored_ms(entry_id: str) -> int:
    """When the store took an entry, by its own clock in Unix milliseconds."""
    return int(entry_id.partition("-")[0])
