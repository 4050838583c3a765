"""From a demand and the measured costs to what it needs, and which limit comes first. Pure: no clock, no chance."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.store.keys import SHARDS
from loadtest.scaling.costs import Costs
from loadtest.scaling.demand import Demand
from loadtest.scaling.offices import Spread, heaviest_share, spread_of
from loadtest.scaling.queueing import p99_wait_ms
from loadtest.scaling.traffic import jobs_of, rates, shards_at_most, utilisation

GIB: Final = 2**30


class Limit(NamedTuple):
    """Something that there is only so much of.

    Attributes:
        name: What.
        needed: How much the demand takes of it.
        there: How much there is, at the utilisation asked for.
        unit: Of both.
        calls: At so many calls at a time it is used up, everything else growing with the calls.
        moved_by: What can be done about it; empty: nothing, as the gateway is built.
    """

    name: str
    needed: float
    there: float
    unit: str
    calls: float
    moved_by: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one copy of the store's data, headroom not included."""

    live_calls: float
    offices: float
    call_stubs: float
    message_stubs: float
    outbox: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.live_calls + self.offices + self.call_stubs + self.message_stubs + self.outbox


@dataclass(frozen=True, slots=True)
class Network:
    """Bits a second of the whole installation, payload only."""

    from_switches: float
    to_switches: float
    to_store: float
    from_store: float
    to_replicas: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a demand needs.

    Attributes:
        demand: As asked.
        store_cores: Cores that all primaries together keep busy.
        front_cores: Cores that all fronts together keep busy.
        fronts: Front processes, one core each.
        primaries: 1 to 64.
        fits: Whether that many primaries are enough; False: there would have to be more than 64.
        shards: Of the fullest primary.
        heaviest: Its share of all calls, with the largest office and the chances of the others.
        busiest: Its utilisation.
        p99_wait_ms: What 99 % of the decisions wait there at most.
        memory: Of one copy of the store.
        primary_bytes: Memory of the heaviest primary, headroom included.
        store_bytes: Memory of all primaries and replicas, headroom included.
        front_bytes: Memory of all fronts.
        network: Of the whole installation.
        primary_bits: Network of the heaviest primary, the busier way, a second.
        journal_share: Entries to journal, over what one journaler can; above 1 the outboxes grow without end.
        sql_records: Rows that are new, a second.
        sql_entries: Entries to take, a second: at most so many rows are written.
        sql_cores: Cores of the database that they keep busy.
        sql_bytes_a_day: What it grows by in 24 busy hours.
        office_calls: Calls at a time that one office can have, alone on a primary.
        office_authorizations: Authorizations a second likewise, if that were all it did.
        largest_office_calls: Calls at a time of the largest office.
        limits: The nearest first.
    """

    demand: Demand
    store_cores: float
    front_cores: float
    fronts: int
    primaries: int
    fits: bool
    shards: int
    heaviest: float
    busiest: float
    p99_wait_ms: float
    memory: Memory
    primary_bytes: float
    store_bytes: float
    front_bytes: float
    network: Network
    primary_bits: float
    journal_share: float
    sql_records: float
    sql_entries: float
    sql_cores: float
    sql_bytes_a_day: float
    office_calls: float
    office_authorizations: float
    largest_office_calls: float
    limits: tuple[Limit, ...]

    @property
    def first_limit(self) -> Limit:
        """What is used up first as calls grow."""
        return self.limits[0]


def make_plan(demand: Demand, costs: Costs) -> Plan:
    """Reckon what a demand needs."""
    every = rates(demand)
    front_cores = sum(rate * costs.operations[name].front_micros for name, rate in every.items()) / 1e6
    fronts = max(1, math.ceil(front_cores / demand.utilisation))
    store_cores = utilisation(jobs_of(demand, costs, 1.0, SHARDS, fronts))
    spread = spread_of(demand.offices, demand.zipf)
    memory, network = memory_of(demand, costs), network_of(demand, costs)
    whole_bytes = memory.total * demand.memory_headroom
    whole_bits = max(network.to_store, network.from_store + network.to_replicas)
    # What a primary can, as a share of everything: the scarcest of its core, memory and network.
    room = min(
        demand.utilisation / store_cores,
        demand.primary_gib * GIB / whole_bytes,
        demand.primary_gbits * 1e9 / whole_bits,
    )
    primaries = primaries_for(spread, room)
    shards = shards_at_most(primaries or SHARDS)
    heaviest = heaviest_share(spread, shards)
    jobs = jobs_of(demand, costs, heaviest, shards, fronts)
    alone = heaviest_share(spread, 1)
    return Plan(
        demand=demand,
        store_cores=store_cores,
        front_cores=front_cores,
        fronts=fronts,
        primaries=primaries or SHARDS,
        fits=primaries is not None,
        shards=shards,
        heaviest=heaviest,
        busiest=utilisation(jobs),
        p99_wait_ms=p99_wait_ms(jobs),
        memory=memory,
        primary_bytes=whole_bytes * heaviest,
        store_bytes=whole_bytes * (1 + demand.replicas),
        front_bytes=fronts * costs.front_bytes + demand.switches * costs.session_bytes,
        network=network,
        primary_bits=whole_bits * heaviest,
        journal_share=demand.entries_per_second / costs.journal_per_second,
        sql_records=demand.records_per_second,
        sql_entries=demand.entries_per_second,
        sql_cores=demand.entries_per_second * costs.sql_micros / 1e6,
        sql_bytes_a_day=demand.records_per_second * costs.record_bytes * 86_400,
        office_calls=demand.calls * demand.utilisation / store_cores,
        office_authorizations=demand.utilisation * 1e6 / costs.operations["authorize_call"].store_micros,
        largest_office_calls=demand.calls * spread.largest,
        limits=_limits(demand, costs, store_cores, whole_bytes, whole_bits, spread.largest, alone),
    )


def primaries_for(spread: Spread, room: float) -> int | None:
    """How many primaries there must be, 1 to 64, so that the busiest has no more than its room.

    Args:
        spread: Of the offices.
        room: What a primary can carry, as a share of everything.

    Returns:
        None where 64 are too few: a shard is the smallest piece, and an office lies in one.
    """
    for primaries in range(1, SHARDS + 1):
        if heaviest_share(spread, shards_at_most(primaries)) <= room:
            return primaries
    return None


def memory_of(demand: Demand, costs: Costs) -> Memory:
    """Bytes of one copy of the store's data."""
    return Memory(
        live_calls=demand.calls * costs.call_bytes,
        offices=demand.offices * costs.office_bytes,
        call_stubs=demand.attempts_per_second * demand.stub_seconds * costs.call_stub_bytes,
        message_stubs=demand.messages_per_second * demand.stub_seconds * costs.message_stub_bytes,
        outbox=demand.entries_per_second * demand.sql_away_seconds * costs.entry_bytes,
    )


def network_of(demand: Demand, costs: Costs) -> Network:
    """Bits a second."""
    every = [(rate, costs.operations[name]) for name, rate in rates(demand).items()]
    journal = demand.entries_per_second * costs.journal_read_bytes
    return Network(
        from_switches=8 * sum(rate * operation.from_switch for rate, operation in every),
        to_switches=8 * sum(rate * operation.to_switch for rate, operation in every),
        to_store=8 * sum(rate * operation.to_store for rate, operation in every),
        from_store=8 * (sum(rate * operation.from_store for rate, operation in every) + journal),
        to_replicas=8 * demand.replicas * sum(rate * operation.replicated for rate, operation in every),
    )


def _limits(
    demand: Demand, costs: Costs, cores: float, memory_bytes: float, bits: float, largest: float, alone: float
) -> tuple[Limit, ...]:
    """The nearest first.

    Args:
        demand: As asked.
        costs: As measured.
        cores: Of all primaries.
        memory_bytes: Of all primaries, headroom included.
        bits: A second, of all primaries.
        largest: The share of the largest office.
        alone: The share of a primary that has one shard, the heaviest of them.
    """
    use, gib = demand.utilisation, demand.primary_gib
    more = "more primaries, up to 64"
    found = (
        ("one journaler", demand.entries_per_second, use * costs.journal_per_second, "entries/s", "more journalers"),
        ("one primary's core", cores, use, "cores", more),
        ("one primary's memory", memory_bytes / GIB, gib, "GiB", f"more memory, or {more}"),
        ("one primary's network", bits / 1e9, demand.primary_gbits, "Gbit/s", more),
        ("a core for each of 64 shards", cores * alone, use, "cores", ""),
        ("memory for each of 64 shards", memory_bytes * alone / GIB, gib, "GiB", "more memory; less time without SQL"),
        ("the largest office's core", cores * largest, use, "cores", "more offices"),
    )
    limits = [
        Limit(name, needed, there, unit, demand.calls * there / needed, moved_by)
        for name, needed, there, unit, moved_by in found
    ]
    return tuple(sorted(limits, key=lambda limit: limit.calls))
