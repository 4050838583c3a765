"""How calls are shared out among offices, and offices among shards."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.store.keys import SHARDS, shard_of

_ADDED_UP: Final = 10_000
"""Ranks that are added up one by one; the rest is an integral, which is within a millionth there."""


class Spread(NamedTuple):
    """Shares of all calls.

    Attributes:
        largest: Of the largest office.
        squares: The sum of the squares of all others'.
    """

    largest: float
    squares: float


@lru_cache
def power_sum(count: int, exponent: float) -> float:
    """The sum of r to the minus exponent, r from 1 to count."""
    exact = min(count, _ADDED_UP)
    total = math.fsum(rank**-exponent for rank in range(1, exact + 1))
    if count > exact:
        low, high = exact + 0.5, count + 0.5
        if abs(exponent - 1) < 1e-9:
            total += math.log(high / low)
        else:
            total += (high ** (1 - exponent) - low ** (1 - exponent)) / (1 - exponent)
    return total


def spread_of(count: int, zipf: float, hot_share: float = 0) -> Spread:
    """The shares of offices whose calls fall as their rank to the minus zipf.

    Args:
        count: Of offices.
        zipf: The exponent; 0: all alike.
        hot_share: Of the largest office, where it is larger than its rank says; the others share the rest.
    """
    whole = power_sum(count, zipf)
    largest = max(1 / whole, hot_share)
    if count == 1:
        return Spread(1.0, 0.0)
    rest = (1 - largest) / (whole - 1)
    return Spread(largest, (power_sum(count, 2 * zipf) - 1) * rest * rest)


def heaviest_share(spread: Spread, shards: int) -> float:
    """What the busiest primary must be reckoned with, if the fullest has so many of the 64 shards.

    The largest office may lie there; of the others, their mean and three standard deviations of where chance puts them.
    """
    part = shards / SHARDS
    if shards == SHARDS:
        return 1.0
    chance = 3 * math.sqrt(spread.squares * part * (1 - part))
    return min(1.0, spread.largest + (1 - spread.largest) * part + chance)


def shard_shares(count: int, zipf: float, hot_share: float = 0) -> list[float]:
    """The share of each shard, by the CRC16 of the offices' ids, as the gateway computes it. About 1 us an office."""
    weights = _weights(count, zipf)
    largest = spread_of(count, zipf, hot_share).largest
    rest = math.fsum(weights)
    shares = [weight * (1 - largest) / rest if rest else 0.0 for weight in weights]
    shares[shard_of(office_name(1))] += largest
    return shares


@lru_cache
def _weights(count: int, zipf: float) -> tuple[float, ...]:
    """Of each shard, without the largest office."""
    weights = [0.0] * SHARDS
    for rank in range(2, count + 1):
        weights[shard_of(office_name(rank))] += rank**-zipf
    return tuple(weights)


def office_name(rank: int) -> str:
    """The id of an office; any id would do, and the CRC16 of one says nothing of its size."""
    return f"office-{rank:07d}"


def primary_shares(shares: Sequence[float], placed: Sequence[int], primaries: int) -> list[float]:
    """The share of each primary.

    Args:
        shares: Of each shard.
        placed: Shard -> primary.
        primaries: How many there are.
    """
    found = [0.0] * primaries
    for shard, share in enumerate(shares):
        found[placed[shard]] += share
    return found
