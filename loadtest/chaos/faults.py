"""All faults, in one table."""

from collections.abc import Mapping
from typing import Final

from loadtest.chaos.caller_faults import Garbage, Retries, SwitchCut, SwitchPartitioned
from loadtest.chaos.fault import Fault
from loadtest.chaos.gateway_faults import (
    BackKilled,
    ClockAhead,
    ClockBehind,
    GatewayKilled,
    JournalerKilled,
    SqlLocked,
    WorkerKilled,
)
from loadtest.chaos.primary_faults import ClusterPrimaryKilled, PrimaryKilled
from loadtest.chaos.store_faults import (
    DiskFull,
    StoreCutAfterSend,
    StoreCutBeforeSend,
    StoreFull,
    StoreKilled,
    StorePartitioned,
    StoreReadOnly,
    StoreSlow,
    StoreStopped,
)

FAULTS: Final[Mapping[str, type[Fault]]] = {
    each.name: each
    for each in (
        WorkerKilled,
        BackKilled,
        JournalerKilled,
        GatewayKilled,
        StoreKilled,
        StoreSlow,
        StoreCutBeforeSend,
        StoreCutAfterSend,
        StorePartitioned,
        StoreReadOnly,
        StoreFull,
        StoreStopped,
        DiskFull,
        PrimaryKilled,
        ClusterPrimaryKilled,
        SwitchCut,
        SwitchPartitioned,
        Retries,
        Garbage,
        ClockAhead,
        ClockBehind,
        SqlLocked,
    )
}
"""All of them, by name, in the order of the report."""


def may_overlap(one: type[Fault], other: type[Fault]) -> bool:
    """Whether two faults may go on at the same time. Where no front decides there is nothing to be seen of another."""
    return one.part is not other.part and not (one.stops_fronts or other.stops_fronts)
