"""`python -m loadtest.credits_page`: cold loads of the Credits page, and a month of 1,000,000 records.

Exit code 0: the figures stand. 1: a page was not what it should be.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.credits_page.cold_loads import measure_cold_loads
from loadtest.credits_page.large_month import measure_large_month
from loadtest.processes import BenchError
from loadtest.report import RESULTS, keep
from loadtest.taken import Taken


def run(given: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Take the figures, one after the other."""
    taken = Taken.now(directory)
    cold = measure_cold_loads(directory / "cold", given.loads)
    month = measure_large_month(directory / "month", given.records, given.times)
    return {**taken.head(), "cold_loads": cold, "large_month": month, "took_seconds": taken.seconds()}


def main(arguments: Sequence[str]) -> int:
    """Take the figures, and keep them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.credits_page", description=__doc__)
    parser.add_argument("--loads", type=int, default=20, help="of each page in the browser")
    parser.add_argument("--records", type=int, default=1_000_000, help="of the large month")
    parser.add_argument("--times", type=int, default=10, help="each page of the large month")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tollgate-credits-page-") as name:
        for part in ("cold", "month"):
            (Path(name) / part).mkdir()
        try:
            result = run(given, Path(name))
        except (BenchError, AssertionError, TimeoutError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"Written to {keep(result, given.results, 'credits-page-')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
