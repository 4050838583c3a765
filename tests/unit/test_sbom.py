"""The bill of materials names every package that is locked, in its version, and no other."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def command() -> list[str]:
    """What `make sbom` runs."""
    [line] = re.findall(r"^SBOM := \$\(BIN\)/cyclonedx-py (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [sys.executable, "-m", "cyclonedx_py", *line.split()]


@pytest.mark.slow
def test_it_has_what_is_locked(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    subprocess.run([*command(), "--output-file", str(target)], cwd=ROOT, check=True, capture_output=True, timeout=60)
    bill = json.loads(target.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "tollgate"
    named = {(each["name"].lower(), each["version"]) for each in bill["components"]}
    locked = {(name.lower(), version) for name, version in PIN.findall((ROOT / "requirements/run.txt").read_text())}
    assert len(locked) > 30
    assert named == locked
    assert all((each["purl"].startswith("pkg:pypi/") and each.get("hashes")) or each.get("externalReferences")
               for each in bill["components"])  # fmt: skip


def test_the_image_carries_the_same() -> None:
    assert f"cyclonedx-py {' '.join(command()[3:])}" in (ROOT / "Dockerfile").read_text()
