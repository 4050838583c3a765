"""Which primary of a Cluster holds which of the 64 shards: the slot of a shard is the CRC16 of its hash tag."""

import binascii
import re
from collections.abc import Sequence
from typing import Final

from gateway.store.keys import SHARDS, outbox_key

SLOTS: Final = 16_384

_TAG: Final = re.compile(rb"\{([^}]+)\}")


def tag_of(shard: int) -> bytes:
    """What a Cluster hashes of the keys of a shard: what stands between the first braces."""
    found = _TAG.search(outbox_key(shard))
    if found is None:
        raise AssertionError("the keys of a shard have a hash tag")
    return found.group(1)


def slot_of(shard: int) -> int:
    """The slot of a shard, 0 to 16,383."""
    return binascii.crc_hqx(tag_of(shard), 0) % SLOTS


def even_cut(primaries: int) -> list[int]:
    """Shard -> primary where each has as many slots as the others, as `redis-cli --cluster create` shares them out."""
    # The first slot of each: redis-cli adds up a float and rounds.
    ends = [round(number * SLOTS / primaries) for number in range(1, primaries + 1)]
    return [next(index for index, end in enumerate(ends) if slot_of(shard) < end) for shard in range(SHARDS)]


def cut_by_shards(primaries: int) -> list[int]:
    """Shard -> primary where the slots are cut so that all have as many shards, or one less; each in one range."""
    order = sorted(range(SHARDS), key=slot_of)
    primary_of = [0] * SHARDS
    for rank, shard in enumerate(order):
        primary_of[shard] = rank * primaries // SHARDS
    return primary_of


def ranges(primaries: int) -> list[tuple[int, int]]:
    """First and last slot of each primary for `cut_by_shards`: all 16,384 slots, none twice."""
    placed = cut_by_shards(primaries)
    firsts = [min(slot_of(shard) for shard in range(SHARDS) if placed[shard] == each) for each in range(primaries)]
    firsts[0] = 0
    return list(zip(firsts, [*(first - 1 for first in firsts[1:]), SLOTS - 1], strict=True))


def shards_of(placed: Sequence[int], primaries: int) -> list[int]:
    """How many shards each primary has."""
    counts = [0] * primaries
    for primary in placed:
        counts[primary] += 1
    return counts
