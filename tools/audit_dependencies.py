"""Asks for known vulnerabilities of every pinned dependency (pip-audit, requirements/*.txt).

A finding fails. An advisory database that cannot be reached does not, and is told plainly: no change is to blame.
Run from anywhere: python tools/audit_dependencies.py
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements/run.txt", "requirements/dev.txt")
TIMEOUT_SECONDS: Final = 300


def findings(report: str) -> list[str] | None:
    """Read a report of pip-audit; None: it is none, so nothing was found out."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
    return [
        f"{each['name']} {each['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none yet'}"
        for each in dependencies
        for known in each.get("vulns", ())
    ]


def audit(lock: str) -> tuple[str, str]:
    """Ask about one lock; the report, and what was said beside it."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {TIMEOUT_SECONDS} s"
    return done.stdout, done.stderr.strip()


def main() -> int:
    """Audit each lock; returns the exit code."""
    found: list[str] = []
    for lock in LOCKS:
        report, said = audit(lock)
        known = findings(report)
        if known is None:
            last = said.splitlines()[-1] if said else "it said nothing"
            print(f"{lock}: NOT AUDITED, the advisory database could not be asked: {last}")
        else:
            print(f"{lock}: {len(known)} known vulnerabilities")
            found += [f"{lock}: {each}" for each in known]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
