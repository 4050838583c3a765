"""The locks hold on the oldest Python that is supported, which needs packages that newer ones do not."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OLDEST = {"python_version": "3.11", "python_full_version": "3.11.0", "extra": ""}


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt"])
def test_a_lock_has_what_the_oldest_python_needs(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    locked = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    assert locked
    # What only an older Python needs is not installed on a newer one.
    installed = {name: distribution(name).requires or [] for name in locked - {canonicalize_name("async-timeout")}}
    for name, requirements in installed.items():
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate(OLDEST):
                assert canonicalize_name(requirement.name) in locked, f"{name} needs {requirement}"


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt"])
def test_a_lock_names_no_index_and_no_path(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    assert not re.search(r"^\s*--(?!hash)|://", text, re.MULTILINE)
