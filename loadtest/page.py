"""Make docs/benchmarks.md of the latest figures: `python -m loadtest.page`. Nothing in it is typed in by hand.

`--check` changes nothing and fails where the page shows other figures than the latest ones, or a plot of it is missing.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final, NamedTuple

from loadtest.aims import judge
from loadtest.machine import ROOT
from loadtest.report import LATEST, RESULTS
from loadtest.soak.tables import table_of as table_of_soak
from loadtest.sweeps.plots import PLOTS, plots_of
from loadtest.tables import Result, describe, left_out, markdown, tables_of
from loadtest.users.tables import tables_of as tables_of_users

PAGE: Final = ROOT / "docs/benchmarks.md"
TEMPLATE: Final = Path(__file__).with_name("benchmarks_template.md")
SWEEPS_LATEST: Final = f"sweeps-{LATEST}"
_BESIDE: Final = ("schema", "taken_at", "commit", "quick", "seconds", "machine", "aims", "books", "renewed")
"""What a result holds that is no measure."""


class PageError(Exception):
    """The page cannot be made; says why."""


def render(bench: Result, sweeps: Result, users: Result, soak: Result) -> str:
    """The page.

    Args:
        bench: The result of `make bench`.
        sweeps: That of `make bench-full`.
        users: That of `make load PROFILE=highest`.
        soak: That of `make soak`.
    """
    # A smoke run meets no aim; only where there is nothing else it is judged, so that it is seen that it can be.
    earnest = [result for result in (bench, sweeps) if not result["quick"]]
    judged = judge({name: each for result in earnest or (bench, sweeps) for name, each in _measures(result).items()})
    met = sum(aim["met"] for aim in judged)
    missing = left_out(bench) + left_out(sweeps)
    plots = [f"![{plot.title}](benchmarks/{plot.name}.png)" for plot in plots_of(sweeps)]
    aims = "\n\n".join(markdown(table) for table in tables_of({"aims": judged}))
    verdict = f"{met} of {len(judged)} that were measured are met, {len(judged) - met} are missed."
    return Template(TEMPLATE.read_text()).substitute(
        verdict=verdict + _warning(bench, sweeps),
        aims=aims,
        bench_machine=_taken(bench),
        bench=_tables(bench),
        sweeps_machine=_taken(sweeps),
        sweeps=_tables(sweeps),
        plots="\n\n".join(plots),
        users_run=_load(users),
        users="\n\n".join(markdown(table) for table in tables_of_users(users)),
        soak_run=_load(soak),
        soak=markdown(table_of_soak(soak)),
        left_out="".join(f"- {line}\n" for line in missing) + "\n" if missing else "",
    )


def _warning(bench: Result, sweeps: Result) -> str:
    smoke = [name for name, result in (("One run", bench), ("Sweeps", sweeps)) if result["quick"]]
    if not smoke:
        return ""
    judged = "no aim is judged by them" if len(smoke) == 1 else "neither do the aims"
    return f" **The figures under {' and '.join(smoke)} are of a reduced smoke run: they mean nothing, and {judged}.**"


def _measures(result: Result) -> dict[str, Any]:
    return {name: measure for name, measure in result.items() if name not in _BESIDE}


def _taken(result: Result) -> str:
    audited = sum(result["books"]["offices"].values())
    minutes = result["seconds"] / 60
    lines = [" ".join([*describe(result), f"It took {minutes:.0f} minutes, and {audited:,} offices were audited."])]
    for taken_at in sorted({stamp["taken_at"] for stamp in result.get("renewed", {}).values()}):
        of_then = {name: stamp for name, stamp in result["renewed"].items() if stamp["taken_at"] == taken_at}
        names = " and ".join(f"`{name}`" for name in of_then)
        lines.append(f"Taken again since, by themselves: {names}. " + " ".join(describe(next(iter(of_then.values())))))
    return "\n\n".join(lines)


def _load(result: Result) -> str:
    """When, where and how long a gateway was under load."""
    machine, offices = result["machine"], result["offices"]
    return (
        f"{result['taken_at']}, commit {result['commit']}, {result['seconds'] / 60:.0f} minutes on {machine['cores']} "
        f"cores of {machine['cpu']}; load average {machine['load_average_before']} before the run and "
        f"{machine['load_average_after']} at its end. The books of {offices['funded'] + offices['unfunded']:,} offices "
        "were audited."
    )


def _tables(result: Result) -> str:
    return "\n\n".join(markdown(table) for table in tables_of(_measures(result)))


def read(path: Path) -> Mapping[str, Any]:
    """A result.

    Raises:
        PageError: There is none.
    """
    try:
        result: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PageError(f"no figures in {path}: {error}") from error
    return result


def newest(directory: Path, kind: str, make: str, **given: Any) -> Mapping[str, Any]:
    """The newest result of a kind that was kept.

    Args:
        directory: Where results are.
        kind: What their names begin with.
        make: The command that makes one, for where there is none.
        given: What its fields must be.

    Raises:
        PageError: There is none.
    """
    for path in sorted(directory.glob(f"{kind}-*.json"), reverse=True):
        result = read(path)
        if all(result[name] == value for name, value in given.items()):
            return result
    raise PageError(f"no figures of {kind} in {directory}: {make}")


class Results(NamedTuple):
    """What the page is made of, as `render` takes it."""

    bench: Result
    sweeps: Result
    users: Result
    soak: Result


def read_all(directory: Path) -> Results:
    """The results to show.

    Raises:
        PageError: Something is missing.
    """
    return Results(
        read(directory / LATEST),
        read(directory / SWEEPS_LATEST),
        newest(directory, "users", "make load PROFILE=highest SECONDS=600", profile="highest"),
        newest(directory, "soak", "make soak"),
    )


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page shows the latest figures")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    try:
        results = read_all(given.results)
    except PageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    text = render(*results)
    if not given.check:
        given.page.write_text(text)
        return 0
    missing = [plot.name for plot in plots_of(results.sweeps) if not (PLOTS / f"{plot.name}.png").exists()]
    if missing:
        sys.stderr.write(f"plots are missing: {', '.join(missing)}\n")
    if not given.page.exists() or given.page.read_text() != text:
        sys.stderr.write(f"{given.page} shows other figures than {given.results}: python -m loadtest.page\n")
        return 1
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
