"""What docs/operating/size.md shows: how big a machine, for some numbers of calls."""

import math
from typing import Final

from loadtest.machine import ROOT
from loadtest.scaling.costs import Costs
from loadtest.scaling.demand import Demand
from loadtest.scaling.plan import GIB, Plan, make_plan
from loadtest.tables import Table

PAGE: Final = ROOT / "docs/operating/size.md"

CALLS: Final = (500, 2_000, 10_000, 50_000, 150_000)

_BACK_CORES: Final = 1
"""What its pages, reports and webhooks take was not measured."""


def sizes_table(costs: Costs) -> Table:
    """Rows of what a machine must have, a column for each number of calls."""
    plans = [make_plan(Demand(calls=calls), costs) for calls in CALLS]
    rows = (
        ("authorizations a second", [f"{plan.demand.attempts_per_second:,.0f}" for plan in plans]),
        ("front processes", [f"{plan.fronts}" for plan in plans]),
        ("cores", [f"{cores_of(plan)}" for plan in plans]),
        ("memory of the fronts, GiB", [f"{plan.front_bytes / GIB:,.2f}" for plan in plans]),
        ("memory of the store, GiB", [f"{plan.primary_bytes / GIB:,.2f}" for plan in plans]),
        ("primaries", [f"{plan.primaries}" for plan in plans]),
        ("the database grows by, GiB in 24 busy hours", [f"{plan.sql_bytes_a_day / GIB:,.1f}" for plan in plans]),
    )
    first = plans[-1].first_limit
    return Table(
        "How big a machine",
        ("calls at a time", *(f"{calls:,}" for calls in CALLS)),
        tuple((name, *cells) for name, cells in rows),
        f"With {Demand().offices:,} offices, a mean talk time of {Demand().hold_seconds:g} s, and cores at most "
        f"{100 * Demand().utilisation:.0f} % busy. Of {CALLS[-1]:,} calls {first.name} is used up first, at "
        f"{first.calls:,.0f}.",
    )


def cores_of(plan: Plan) -> int:
    """Cores of one machine that has everything: fronts, store, database, and one for the back."""
    busy = plan.front_cores + plan.store_cores + plan.sql_cores
    return math.ceil(busy / plan.demand.utilisation) + _BACK_CORES
