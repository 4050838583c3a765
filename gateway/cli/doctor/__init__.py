"""`tollgate doctor`: whether a gateway can run here as it is set up, and whether the one that runs is well.

Each module looks at one thing and returns findings; examination.py puts them in order. Nothing is started, written or
loaded. What a start of the gateway refuses is found by the start's own rules, so that there is one list of them.
"""

import asyncio
import json
import sys
from typing import Annotated

import typer

from gateway.cli.doctor.examination import examine
from gateway.cli.doctor.findings import Finding, Verdict, worst_of
from gateway.cli.ledger import ConfigFile, DataDirectory
from gateway.cli.output import columns
from gateway.log import configure_logging

EXIT_CODES = {Verdict.OK: 0, Verdict.WARN: 1, Verdict.FAIL: 2}

_COLOURS = {Verdict.OK: typer.colors.GREEN, Verdict.WARN: typer.colors.YELLOW, Verdict.FAIL: typer.colors.RED}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: ConfigFile = None,
    data_dir: DataDirectory = None,
) -> None:
    """Look at everything that a gateway needs, whether one runs or not; changes nothing.

    Run it as the gateway's user and with its settings. A line a finding: ok, warn or fail, what was looked at, what was
    found, and what mends it. Exit code 0: all is well, 1: something is worth a look, 2: something fails.
    """
    configure_logging("error", "console", process="command")
    findings = asyncio.run(examine(config, data_dir))
    if as_json:
        typer.echo(json.dumps({"verdict": worst_of(findings), "findings": [each.as_json() for each in findings]}))
    else:
        _show(findings)
    sys.exit(EXIT_CODES[worst_of(findings)])


def _show(findings: list[Finding]) -> None:
    lines = columns(("", "", ""), [(each.verdict, each.subject, each.sentence) for each in findings])
    next(lines)  # There are no headings.
    for finding, line in zip(findings, lines, strict=True):
        head = finding.verdict.value
        typer.echo(typer.style(head, fg=_COLOURS[finding.verdict]) + line[len(head) :])
