"""What the audit of dependencies makes of what pip-audit says."""

import json
from typing import Any

import pytest

from tools import audit_dependencies

CLEAN: dict[str, Any] = {"dependencies": [{"name": "a", "version": "1", "vulns": []}], "fixes": []}
BAD = {"dependencies": [{"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}]}


@pytest.mark.parametrize(
    ("report", "code", "told"),
    [
        (json.dumps(CLEAN), 0, "0 known vulnerabilities"),
        (json.dumps(BAD), 1, "b 2: PYSEC-1, mended in 3"),
        ("", 0, "NOT AUDITED"),
        ("Traceback", 0, "NOT AUDITED"),
        ("[]", 0, "NOT AUDITED"),
    ],
)
def test_a_finding_fails_and_silence_is_told(
    report: str, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_dependencies, "audit", lambda lock: (report, "ConnectionError: no route"))
    assert audit_dependencies.main() == code
    assert told in capsys.readouterr().out
