"""Every key that Tollgate has in the store, and no other place builds one.

All that belongs to an office lives in one of 64 virtual shards, so that one script may touch all of it: the shard is
the hash tag of the key. On a Cluster a shard is in one slot; on a single server the tag is just a name.
"""

import binascii
from typing import Final, NamedTuple

SHARDS: Final = 64
"""Fixed for ever in a store: `tg:shards` holds it from the first start, and another number is refused."""

SHARDS_KEY: Final = b"tg:shards"
DIRECTORY_KEY: Final = b"tg:directory"
"""Hash: the versions of what gateways follow (rates, tokens, switches) and the installation's id."""

TOKENS_KEY: Final = b"tg:tokens"
"""Hash: SHA-256 of a token's secret -> its identity."""

TOKEN_USES_KEY: Final = b"tg:token_uses"
"""Hash: token_id -> when the token was last used, in Unix milliseconds and to within a minute."""

GATEWAYS_KEY: Final = b"tg:gateways"
"""Sorted set: the fronts that share the shards' due calls, by when they last said so."""

JOURNALERS_KEY: Final = b"tg:journalers"
"""Sorted set: the backs that share the shards' outboxes, by when they last said so."""

CALLBACKS_KEY: Final = b"tg:callbacks"
"""String: the version, then the ids of the switches that have a callback, a line each."""

SWITCH_LISTS_KEY: Final = b"tg:switches"
"""Hash: switch_id -> when its last two complete lists of live calls began."""

EPOCH_KEY: Final = b"tg:epoch"
"""Counts how often the store was built anew from the ledger, from 1: the outboxes begin again with each epoch."""

REBUILD_KEY: Final = b"tg:rebuild"
"""There while the store is being rebuilt, with the epoch that is to come: a gateway does not start on it."""

COMMANDS_CHANNEL: Final = b"tg:commands"
"""Pub/sub: commands to switches; lib/command.lua publishes them."""

REFILLS_CHANNEL: Final = b"tg:refills"
"""Pub/sub: refill triggers as they happen; lib/office.lua publishes them."""


def rates_key(version: int) -> bytes:
    """The compiled deck of a version."""
    return b"tg:rates:%d" % version


def shard_of(office_id: str) -> int:
    """The shard of an office, 0 to 63: CRC16 as Redis Cluster computes it (XMODEM)."""
    return binascii.crc_hqx(office_id.encode(), 0) % SHARDS


def asked_key(switch_id: str) -> bytes:
    """There while a switch with a callback need not be asked for its live calls again."""
    return b"tg:asked:" + switch_id.encode()


def told_key(command_id: str) -> bytes:
    """There while one gateway posts a command to its switch, so that the others need not."""
    return b"tg:told:" + command_id.encode()


def outbox_key(shard: int) -> bytes:
    """The outbox of a shard."""
    return b"tg:{%d}:outbox" % shard


def barrier_key(shard: int) -> bytes:
    """Written after outboxes were read, at the server that has the shard: once this is safe, so is what was read."""
    return b"tg:{%d}:barrier" % shard


def lease_key(shard: int) -> bytes:
    """The front that looks after a shard's due calls."""
    return b"tg:{%d}:lease" % shard


def journal_lease_key(shard: int) -> bytes:
    """The back that takes a shard's outbox into the ledger."""
    return b"tg:{%d}:journal" % shard


def due_key(shard: int) -> bytes:
    """The due set of a shard: a live call each, by when it must be looked at."""
    return b"tg:{%d}:due" % shard


class OfficeKeys(NamedTuple):
    """The keys that operations of one office use; made once an office, not once a request."""

    office_id: bytes
    clock: bytes
    office: bytes
    due: bytes
    outbox: bytes
    call_prefix: bytes
    message_prefix: bytes


def office_keys(office_id: str) -> OfficeKeys:
    """Build the keys of an office."""
    name = office_id.encode()
    tag = b"tg:{%d}:" % shard_of(office_id)
    return OfficeKeys(
        office_id=name,
        clock=tag + b"clock",
        office=tag + b"office:" + name,
        due=tag + b"due",
        outbox=tag + b"outbox",
        call_prefix=tag + b"call:" + name + b":",
        message_prefix=tag + b"message:" + name + b":",
    )
