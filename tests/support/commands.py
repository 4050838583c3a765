"""The command line in this process: quick, and with its exit code and output at hand."""

from dataclasses import dataclass

import pytest

from gateway.cli import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def value(self, name: str) -> str:
        """What stands behind a name at the beginning of a line."""
        for line in self.out.splitlines():
            first, _, rest = line.partition(" ")
            if first == name:
                return rest.strip()
        raise AssertionError(f"no {name} in:\n{self.out}")


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """Run `tollgate` with these arguments."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    code = exit_.value.code
    return Outcome(code if isinstance(code, int) else 1, captured.out, captured.err)
