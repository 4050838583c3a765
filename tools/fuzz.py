"""Tries bytes at one of the entrances of tests/fuzzing, led by what the code does with them (atheris).

Run by `make fuzz SECONDS=60`, which takes each in turn, or: python tools/fuzz.py ENTRANCE -max_total_time=60
What it finds is written to a file crash-... and belongs into a test.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzzing.entrances import ENTRANCES


def main() -> None:
    """Fuzz until a bug is found or the time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in ENTRANCES:
        print("\n".join(ENTRANCES))  # `make fuzz` asks which there are
        sys.exit(0 if len(sys.argv) < 2 else 2)
    entrance = ENTRANCES[sys.argv.pop(1)]
    with TemporaryDirectory(prefix="tollgate-fuzz-") as corpus:
        for number, sample in enumerate(entrance.samples):
            (Path(corpus) / str(number)).write_bytes(sample)
        atheris.Setup([*sys.argv, corpus], entrance.survives)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
