"""Put the latest figures into README.md, between its markers: `python -m loadtest.readme`. Nothing is typed in by hand.

`--check` changes nothing and fails where the README shows other figures than the latest ones.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from loadtest.machine import ROOT
from loadtest.report import LATEST, RESULTS
from loadtest.tables import Result, describe, markdown, tables_of

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"

SHOWN: Final = ("session", "memory", "aims")
"""The measures whose tables are in it: what is asked first. docs/benchmarks.md has all."""


class ReadmeError(Exception):
    """The figures cannot be put in; says why."""


def render(result: Result) -> str:
    """The figures as Markdown, without the markers.

    Raises:
        ReadmeError: They are of a smoke run.
    """
    if result["quick"]:
        raise ReadmeError("the latest figures are those of a smoke run: run `make bench`")
    shown = {name: result[name] for name in SHOWN if name in result}
    parts = [" ".join(describe(result)), *(markdown(table) for table in tables_of(shown))]
    return "\n\n".join(parts)


def replaced(text: str, figures: str) -> str:
    """The README with these figures between its markers.

    Raises:
        ReadmeError: It has no markers, or not one pair in their order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReadmeError(f"the README needs one {BEGIN} and behind it one {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the README shows the latest figures")
    parser.add_argument("--latest", type=Path, default=RESULTS / LATEST)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    given = parser.parse_args(arguments)
    try:
        old = given.readme.read_text()
        new = replaced(old, render(json.loads(given.latest.read_text())))
    except (ReadmeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if given.check:
        if new != old:
            sys.stderr.write(f"{given.readme} shows other figures than {given.latest}: python -m loadtest.readme\n")
        return int(new != old)
    given.readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
