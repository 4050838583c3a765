"""From measured costs to a plan: what a city, a country and ten million concurrent calls need, and a simulation of it.

Without flags of a demand: prints the three named ones and puts their tables into docs/scaling.md, and that of some
sizes into docs/operating/size.md. With any: prints the plan of that demand and its simulation, and writes nothing.
Exit code 1: a flag or a file is not what it must be, or with --check a page shows other figures.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from loadtest.report import LATEST, RESULTS
from loadtest.scaling import tables
from loadtest.scaling.costs import CostsError, read_costs
from loadtest.scaling.demand import Demand, DemandError, flag_of
from loadtest.scaling.measure import FILE
from loadtest.scaling.page import HOT_SHARE, PAGE, PageError, play_cases, put_in, sections
from loadtest.scaling.plan import make_plan
from loadtest.scaling.simulation import Settings
from loadtest.scaling.sizes import PAGE as SIZES_PAGE
from loadtest.scaling.sizes import sizes_table
from loadtest.tables import Table, markdown

_PRIMARIES = 64


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage, which has more flags than fit on it."""
        raise DemandError(message.removeprefix("argument "))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtest.scaling", description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="only say whether the pages show these figures")
    parser.add_argument("--slots", type=int, metavar="N", help="print which slots each of N primaries should have")
    asked = parser.add_argument_group("a demand of your own")
    for each in fields(Demand):
        kind: Any = type(each.default)
        text = f"{each.metadata['text']} ({each.default:g})"
        asked.add_argument(flag_of(each.name), type=kind, metavar="N", help=text.replace("%", "%%"))
    played = parser.add_argument_group("its simulation")
    played.add_argument(
        "--hot-share", type=float, metavar="N", help=f"share of the calls of a hot office ({HOT_SHARE:g})"
    )
    for name, default in Settings()._asdict().items():
        played.add_argument(flag_of(name), type=type(default), metavar="N", help=f"({default:g})")
    files = parser.add_argument_group("files")
    files.add_argument("--latest", type=Path, default=RESULTS / LATEST, help="what `make bench` wrote")
    files.add_argument("--measured", type=Path, default=RESULTS / FILE, help="what `loadtest.scaling.measure` wrote")
    files.add_argument("--page", type=Path, default=PAGE)
    files.add_argument("--sizes-page", type=Path, default=SIZES_PAGE)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        return _run(_parser().parse_args(arguments))
    except (DemandError, CostsError, PageError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _run(given: argparse.Namespace) -> int:
    asked = {each.name: getattr(given, each.name) for each in fields(Demand)}
    asked = {name: value for name, value in asked.items() if value is not None}
    played = {name: getattr(given, name) for name in Settings._fields if getattr(given, name) is not None}
    if given.slots is not None:
        _within("--slots", given.slots, 1, _PRIMARIES)
        _show([tables.ranges_table(given.slots)])
    elif asked or played or given.hot_share is not None:
        if given.check:
            raise DemandError("--check: is of the page, which has demands of its own; leave the other flags away")
        _show(_own(given, Demand(**asked), played))
    else:
        return _page(given)
    return 0


def _own(given: argparse.Namespace, demand: Demand, played: dict[str, Any]) -> list[Table]:
    """A demand of one's own."""
    _within("--away-seconds", played.get("away_seconds", 1), 0.001, 600)
    _within("--patience-seconds", played.get("patience_seconds", 1), 0, 600)
    _within("--decisions", played.get("decisions", 1_000), 1_000, 10**7)
    hot_share = HOT_SHARE if given.hot_share is None else given.hot_share
    _within("--hot-share", hot_share, 0, 1)
    costs = read_costs(given.latest, given.measured, demand.in_flight)
    plan, settings = make_plan(demand, costs), Settings(**played)
    cases = play_cases("planned", plan, costs, settings, hot_share)
    plans = {"planned": plan}
    return [
        tables.demand_table(plans),
        tables.needs_table(plans),
        tables.limits_table("this demand", plan),
        tables.played_table(cases, plans, settings),
        tables.failover_table(cases, settings),
    ]


def _page(given: argparse.Namespace) -> int:
    """The named demands and the sizes, and their pages."""
    sizes = [sizes_table(read_costs(given.latest, given.measured, Demand().in_flight))]
    pages = {given.page: sections(given.latest, given.measured), given.sizes_page: {"sizes": sizes}}
    stale = 0
    for page, found in pages.items():
        old = page.read_text()
        new = put_in(old, {name: [markdown(table) for table in some] for name, some in found.items()})
        if not given.check:
            _show([table for some in found.values() for table in some])
            page.write_text(new)
        elif new != old:
            sys.stderr.write(f"{page} shows other figures than the measured ones: python -m loadtest.scaling\n")
            stale = 1
    return stale


def _within(flag: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise DemandError(f"{flag}: {value:g} is not within {lowest:g} to {highest:g}")


def _show(some: Sequence[Table]) -> None:
    print("\n\n".join(markdown(table) for table in some))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
