"""`tollgate top` and `tollgate doctor` beside a gateway that works."""

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gateway.cli.doctor.examination import examine
from gateway.cli.doctor.findings import Verdict
from gateway.cli.errors import EXIT_UNAVAILABLE, EXIT_USAGE
from gateway.settings_problems import variable_name
from tests.support.billing import DOLLARS
from tests.support.commands import run_command
from tests.support.gateway_process import LISTENERS, GatewayProcess, clean_environment, running_gateway
from tests.support.operator import OPERATOR_TOKEN
from tests.support.page_scene import PageScene
from tests.support.servers import free_port

LIMIT_SECONDS = 120.0

# One gateway for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("top")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with an office that is low on funds, and a live call."""
    directory = tmp_path_factory.mktemp("top")
    with running_gateway(directory, "--workers", "2", TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:

        async def work() -> None:
            async with PageScene.of(gateway) as scene:
                rich = await scene.create_office(balance_micros=100 * DOLLARS)
                await scene.create_office(balance_micros=DOLLARS, office_id="nearly-empty")
                await scene.begin_call(rich)

        asyncio.run(work())
        yield gateway


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, but the token of the gateway's operator."""
    for name in list(os.environ):
        if name.upper().startswith("TOLLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TOLLGATE_TOKEN", OPERATOR_TOKEN)


def test_one_frame(gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_command(capsys, "top", "--once", "--data-dir", str(gateway.data_dir))
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    assert lines[0].startswith(f"tollgate top  {gateway.metrics}  ")
    assert max(map(len, lines)) < 80
    assert any(line.startswith("decisions") and "1 live calls" in line for line in lines), done.out
    assert any(re.match(r"workers    2 fronts", line) for line in lines), done.out
    told = re.search(r"^store      answers in (\d+\.\d\d) ms", done.out, re.MULTILINE)
    assert told is not None, done.out
    assert float(told[1]) > 0
    assert any("1 of 2 are low on funds" in line for line in lines), done.out
    assert any(line.split()[:2] == ["nearly-empty", "1.00"] for line in lines), done.out


def test_it_is_redrawn_until_q(gateway: GatewayProcess) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "top", "--data-dir", str(gateway.data_dir)],
        stdin=secondary,
        stdout=secondary,
        stderr=subprocess.PIPE,
        env=clean_environment(TOLLGATE_TOKEN=OPERATOR_TOKEN, TERM="xterm", NO_COLOR="1", LINES="24", COLUMNS="80"),
        start_new_session=True,
    )
    os.close(secondary)
    try:
        shown, deadline = b"", time.monotonic() + LIMIT_SECONDS
        while shown.count(b"tollgate top") < 2 and time.monotonic() < deadline:
            if select.select([primary], [], [], 1.0)[0]:
                shown += os.read(primary, 65_536)
        assert b"nearly-empty" in shown
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", shown), "no colour was asked for"
        os.write(primary, b"q")
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.wait()
        os.close(primary)


def test_nothing_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_command(capsys, "top", "--once", "--metrics", f"127.0.0.1:{free_port()}")
    assert (done.code, done.out) == (EXIT_UNAVAILABLE, "")
    assert "no metrics at 127.0.0.1:" in done.err
    done = run_command(capsys, "top", "--json", "--metrics", "127.0.0.1:1")
    assert (done.code, done.err) == (EXIT_USAGE, "error: top is for people; programs read http://127.0.0.1:1/metrics\n")


def test_doctor_beside_it(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = (gateway.server, gateway.admin_server, gateway.http, gateway.metrics)
    for name, address in zip(LISTENERS, addresses, strict=True):
        monkeypatch.setenv(variable_name(name), address)
    told = asyncio.run(examine(None, gateway.data_dir))
    assert [each for each in told if each.verdict is Verdict.FAIL] == []
    serving = [each.what for each in told if each.subject == "listeners"]
    assert len(serving) == 4
    assert all(each.endswith(" serves") for each in serving)
    assert any(" has tollgate_" in each.what for each in told if each.subject == "store")
    monkeypatch.setenv("TOLLGATE_LISTEN", f"127.0.0.1:{free_port()}")
    (silent,) = [each for each in asyncio.run(examine(None, gateway.data_dir)) if each.verdict is Verdict.FAIL]
    assert "though a gateway runs" in silent.what
