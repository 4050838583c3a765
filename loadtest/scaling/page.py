"""What docs/scaling.md shows between its markers: the named demands, planned and played."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from loadtest.machine import ROOT
from loadtest.scaling import tables
from loadtest.scaling.costs import Costs, read_costs
from loadtest.scaling.demand import NAMED, Demand, flag_of
from loadtest.scaling.plan import Plan, make_plan
from loadtest.scaling.simulation import Played, Settings, play
from loadtest.scaling.slots import even_cut
from loadtest.tables import Table

PAGE: Final = ROOT / "docs/scaling.md"
BEGIN: Final = "<!-- scaling:{}:begin -->"
END: Final = "<!-- scaling:{}:end -->"
HOT_SHARE: Final = 0.2


class PageError(Exception):
    """The tables cannot be put in; says why."""


def sections(latest: Path, scaling: Path) -> dict[str, list[Table]]:
    """Everything the page shows, by the names of its markers.

    Raises:
        CostsError: The measured costs are not all there.
    """
    settings = Settings()
    plans: dict[str, Plan] = {}
    played: dict[str, Played] = {}
    costs = read_costs(latest, scaling, Demand().in_flight)
    for name, demand in NAMED.items():
        plans[name] = make_plan(demand, costs)
        played |= play_cases(name, plans[name], costs, settings)
    return {
        "flags": [flags_table()],
        "costs": [tables.costs_table(costs)],
        "demands": [tables.demand_table(plans)],
        "needs": [tables.needs_table(plans)],
        "limits": [tables.limits_table(name, plan) for name, plan in plans.items()],
        "simulated": [tables.played_table(played, plans, settings)],
        "failover": [tables.failover_table(played, settings)],
        "skew": [tables.skew_table()],
    }


def play_cases(
    name: str, plan: Plan, costs: Costs, settings: Settings, hot_share: float = HOT_SHARE
) -> dict[str, Played]:
    """The plan as it is, with slots shared out evenly, with a hot office, and with half of its primaries."""
    cases = {name: play(plan, costs, settings)}
    if plan.primaries > 1:
        equal = even_cut(plan.primaries)
        cases[f"{name}, equal slots"] = play(plan, costs, settings, placed=equal, fails=False)
        hot = f"{name}, {100 * hot_share:g} % in one office"
        cases[hot] = play(plan, costs, settings, hot_share=hot_share, fails=False)
        half = f"{name}, half the primaries"
        cases[half] = play(plan, costs, settings, primaries=plan.primaries // 2, fails=False)
    return cases


def flags_table() -> Table:
    """What is assumed, and the flag that changes it."""
    named = list(NAMED.values())
    return Table(
        "Assumptions",
        ("flag", "default", *NAMED, "what"),
        tuple(
            (
                f"`{flag_of(each.name)}`",
                _shown(each.default),
                *(_shown(getattr(demand, each.name)) for demand in named),
                each.metadata["text"],
            )
            for each in fields(Demand)
        ),
    )


def put_in(text: str, found: dict[str, list[str]]) -> str:
    """The page with its tables between their markers.

    Args:
        text: The page.
        found: By the name of the markers, the tables as Markdown.

    Raises:
        PageError: A pair of markers is not there just once and in order.
    """
    for name, parts in found.items():
        begin, end = BEGIN.format(name), END.format(name)
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise PageError(f"the page needs one {begin} and behind it one {end}")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = "\n\n".join([before + begin, *parts, end + after])
    return text


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
