"""The wheel in an empty environment elsewhere: whatever the source tree lends the gateway must be inside."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.test_demo import DEMO_SECONDS, check_story
from tests.support.gateway_process import clean_environment

pytestmark = pytest.mark.xdist_group("wheel")

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 120
INSTALL_SECONDS = 300


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, ROOT],
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS,
    )
    (made,) = output.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the locked packages and the wheel, and no way to the source tree."""
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(place, with_pip=True)
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = subprocess.run(
        [*pip, "--require-hashes", "-r", ROOT / "requirements/run.txt"],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if locked.returncode and "No matching distribution" in locked.stderr and os.environ.get("CI") != "true":
        pytest.skip("pip reaches no package index")
    assert locked.returncode == 0, locked.stderr
    # Not a word about missing dependencies: the lock has all that the wheel asks for.
    subprocess.run([*pip, "--no-index", wheel], check=True, timeout=INSTALL_SECONDS)
    return place


def test_what_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    scripts = {
        f"gateway/lua/{path.relative_to(ROOT / 'scripts/lua')}" for path in (ROOT / "scripts/lua").rglob("*.lua")
    }
    assert scripts - names == set()
    for name in (
        "gateway/data/default_rates.csv",
        "gateway/py.typed",
        "gateway/ledger/migrations/env.py",
        "gateway/web/templates/base.html",
        "gateway/web/static/page.css",
    ):
        assert name in names
    assert any(name.startswith("gateway/ledger/migrations/versions/v0001") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gateway"}


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [environment / "bin/tollgate", "demo", "--exit"],
        cwd=tmp_path,
        env=clean_environment(XDG_DATA_HOME=str(tmp_path / "share"), TMPDIR=str(tmp_path / "tmp"), PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_story(done.stdout)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_the_commands_run_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    for words, expected in (
        (["--version"], "tollgate "),
        (["rates", "lookup", "--country", "US", "+442079460958"], "international"),
        (["serve", "--help"], "TOLLGATE_DATA_DIR"),
    ):
        done = subprocess.run(
            [environment / "bin/tollgate", *words],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=""),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
