"""What the outbox holds beyond the ledger, added up for each office."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.store.connection import StoreConnection
from gateway.store.inspection import entry_order
from gateway.store.outbox import OutboxEntry, read_outboxes

_A_READ: Final = 1_000
_OF_CALLS: Final = frozenset({"tick", "revive", "lapse", "end"})

CallLife = tuple[str, int]


class CallNews(NamedTuple):
    """The last that the outbox says of a call."""

    goes_on: bool
    debited_micros: int


@dataclass(slots=True)
class Pending:
    """Entries of one office that are not in the ledger yet.

    Attributes:
        credits_micros: What credits moved.
        moved_micros: What everything else moved.
        balance_before: The balance that the first one must have found; None: there is no entry.
        balance_after: The balance that the last one left.
        missing_micros: What was moved in between and left no entry.
        calls: The last news of each call.
        entries: How many.
    """

    credits_micros: int = 0
    moved_micros: int = 0
    balance_before: int | None = None
    balance_after: int = 0
    missing_micros: int = 0
    calls: dict[CallLife, CallNews] = field(default_factory=dict)
    entries: int = 0

    def add(self, entry: OutboxEntry) -> None:
        """Take the next entry."""
        _, amount_micros, balance_micros = entry.moved
        before = balance_micros - amount_micros
        if self.balance_before is None:
            self.balance_before = before
        else:
            self.missing_micros += before - self.balance_after
        self.balance_after = balance_micros
        self.entries += 1
        if entry.kind == "credit":
            self.credits_micros += amount_micros
        else:
            self.moved_micros += amount_micros
        if entry.kind in _OF_CALLS:
            call = entry.call
            life = (entry.thing_id, call.authorized_ms)
            self.calls[life] = CallNews(entry.kind in ("tick", "revive"), call.debited_micros)


async def read_pending(
    connection: StoreConnection, shard: int, office_ids: Collection[str], after: str, last: str
) -> Mapping[str, Pending]:
    """Add up the entries of some offices behind a position, up to the newest that is wanted, a page at a time.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    found = {office_id: Pending() for office_id in office_ids}
    end = entry_order(last)
    while entry_order(after) < end:
        entries = (await read_outboxes(connection, {shard: after}, _A_READ)).get(shard, [])
        for entry in entries:
            if entry.office_id in found and entry_order(entry.entry_id) <= end:
                found[entry.office_id].add(entry)
        if len(entries) < _A_READ:
            break
        after = entries[-1].entry_id
    return found
