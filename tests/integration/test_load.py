"""The load harness on whole gateways: each profile goes through with its books audited, and wrong books fail it.

The figures of such short runs mean nothing, and nothing is asserted of them.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.v1 import credits_pb2 as pb
from loadtest.load.offices import COMPANY
from loadtest.users.profiles import PROFILES
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.http import Answer, ask
from tests.support.operator import OPERATOR_TOKEN, Operator
from tests.support.servers import free_port, server_binary, wait_until

ROOT = Path(__file__).parents[2]
USERS = ("--seconds", "3", "--users", "24", "--offices", "10", "--ceiling-seconds", "0", "--step-seconds", "1.5")
LIMIT_SECONDS = 110

# They share a gateway, and each of them keeps a core busy.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    server_binary("valkey")
    with running_gateway(
        tmp_path_factory.mktemp("load"), TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN, TOLLGATE_LOG_LEVEL="warning"
    ) as running:
        yield running


def of(gateway: GatewayProcess) -> tuple[str, ...]:
    """The options that name a gateway."""
    return (
        *("--server", gateway.server, "--admin-server", gateway.admin_server, "--token", OPERATOR_TOKEN),
        *("--data-dir", str(gateway.data_dir), "--supervisor-pid", str(gateway.process.pid)),
    )


def start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", f"loadtest.{module}", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code and output; whatever happens, it is gone afterwards, and what it started with it."""
    try:
        printed, said = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
    return process.returncode, printed, said


def run(module: str, *arguments: str) -> tuple[int, str, str]:
    return finish(start(module, *arguments))


def result_in(directory: Path) -> Any:
    [path] = directory.iterdir()
    return json.loads(path.read_text())


def check_books(result: Any) -> None:
    assert result["books"]["faults"] == []
    assert result["books"]["ledger"] == "clean"
    assert result["books"]["offices"] >= 10
    assert result["books"]["quotes"] > 0
    assert result["counts"]["calls"] > 0


@pytest.mark.parametrize(
    "profile",
    [pytest.param(name, marks=pytest.mark.slow) for name in PROFILES if name != "refills"],
)
def test_a_profile_goes_through(profile: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    code, printed, said = run("users", "--profile", profile, *USERS, *of(gateway), "--results", str(tmp_path))
    assert code == 0, printed + said
    assert "Books audited" in printed
    result = result_in(tmp_path)
    check_books(result)
    counts = result["counts"]
    assert counts["calls denied"] + counts.get("messages blocked", 0) > 0
    assert result["figures"]["all"]["count"] > 0
    assert set(result["figures"]["operations"]) >= {"AuthorizeCall", "AuthorizeMessage", "EndCall"}
    if profile == "outage":
        assert "killed" in printed
        assert counts["retries: UNAVAILABLE"] > 0
    if profile == "highest":
        assert result["climb"]["steps"]
        assert result["climb"]["users"] == result["users"]


@pytest.mark.slow
def test_a_refill_storm_on_a_gateway_of_its_own_charges_each_dip_once(tmp_path: Path) -> None:
    server_binary("valkey")
    code, printed, said = run("users", "--profile", "refills", *USERS, "--results", str(tmp_path))
    assert code == 0, printed + said
    result = result_in(tmp_path)
    check_books(result)
    assert result["gateway"] == "its own"
    assert result["books"]["refills"] >= result["offices"]["refilled"], "each of them fell below its threshold"


@pytest.mark.slow
def test_a_soak_looks_at_every_process_and_audits(tmp_path: Path) -> None:
    server_binary("valkey")
    _, printed, said = run("soak", "--seconds", "4", "--users", "12", "--offices", "10", "--results", str(tmp_path))
    # So short a run warms up to its end, and is told that it is not flat.
    assert "Books audited" in printed, printed + said
    result = result_in(tmp_path)
    check_books(result)
    memory = {each["name"] for each in result["measures"] if each["name"].endswith(": memory")}
    assert memory == {f"{name}: memory" for name in ("supervisor", "front", "back", "journaler", "store")}
    assert all(each["highest"] > 0 for each in result["measures"] if each["unit"] != "s")


@pytest.mark.slow
def test_what_locust_is_capable_of_stands_beside_the_result(gateway: GatewayProcess, tmp_path: Path) -> None:
    arguments = (*USERS[:-4], "--ceiling-seconds", "2")
    code, printed, said = run("users", *arguments, *of(gateway), "--results", str(tmp_path))
    assert code == 0, printed + said
    assert "locust itself: " in printed
    assert result_in(tmp_path)["ceiling"]["rate_per_second"] > 0


@pytest.mark.parametrize("over", ["session", pytest.param("unary", marks=pytest.mark.slow)])
def test_arrivals_by_a_schedule(over: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    code, printed, said = run(
        *("arrivals", "--over", over, "--arrivals", "constant" if over == "unary" else "poisson"),
        *("--per-second", "100", "--seconds", "2", "--warm-up-seconds", "0.5", "--offices", "10"),
        *(*of(gateway), "--results", str(tmp_path)),
    )
    assert code == 0, printed + said
    assert "Books audited" in printed
    result = result_in(tmp_path)
    check_books(result)
    figures = result["figures"]
    assert figures["both"]["count"] == figures["lag"]["count"] == pytest.approx(200, abs=50)
    assert figures["lag"]["p50_ms"] <= figures["both"]["p50_ms"]


async def tamper(gateway: GatewayProcess, known: set[str]) -> None:
    """Give a micro to an office of the run that has just begun."""
    deadline = time.monotonic() + 60
    async with Operator.of(gateway.admin_server) as operator:
        while not (fresh := {name for name in await offices(operator) if "funded-0000" in name} - known):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        [office_id] = fresh
        while not (await operator.office(office_id)).balance_micros:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        await operator.adjust(office_id, 1)


async def offices(operator: Operator) -> set[str]:
    found: set[str] = set()
    token = ""
    while True:
        request = pb.ListOfficesRequest(company_id=COMPANY, page_size=1_000, page_token=token)
        listed = await operator.stub.ListOffices(request)
        found |= {office.office_id for office in listed.offices}
        if not (token := listed.next_page_token):
            return found


async def known_offices(gateway: GatewayProcess) -> set[str]:
    async with Operator.of(gateway.admin_server) as operator:
        await operator.stub.CreateCompany(pb.CreateCompanyRequest(company_id=COMPANY, name="Load test"))
        return await offices(operator)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("users", USERS),
        pytest.param("arrivals", ("--per-second", "50", "--seconds", "2", "--offices", "5"), marks=pytest.mark.slow),
    ],
)
def test_books_that_somebody_has_touched_fail_the_run(
    module: str, arguments: tuple[str, ...], gateway: GatewayProcess, tmp_path: Path
) -> None:
    known = asyncio.run(known_offices(gateway))
    process = start(module, *arguments, *of(gateway), "--results", str(tmp_path))
    try:
        asyncio.run(tamper(gateway, known))
    finally:
        code, printed, said = finish(process)
    assert code == 1, printed + said
    assert "The books are wrong:" in printed
    [fault] = result_in(tmp_path)["books"]["faults"]
    assert "funded-0000 has " in fault
    assert fault in printed.replace("\n", " ")


@pytest.mark.slow
def test_the_page_of_locust_and_ctrl_c(gateway: GatewayProcess) -> None:
    port = free_port()
    process = start("users", "--web", "--web-port", str(port), *USERS, *of(gateway))
    try:
        assert wait_until(lambda: answers(port, "/") is not None, 60)
        form = {"content-type": "application/x-www-form-urlencoded"}
        started = asyncio.run(ask(port, "/swarm", method="POST", body=b"user_count=1&spawn_rate=1", headers=form))
        assert started.status == 200, started.text
        assert wait_until(lambda: bool((said := answers(port, "/stats/requests")) and said.json()["total_rps"] > 0), 30)
        process.send_signal(signal.SIGINT)
    finally:
        code, printed, said = finish(process)
    assert code == 0, printed + said
    assert "Books audited" in printed


def answers(port: int, path: str) -> Answer | None:
    try:
        return asyncio.run(ask(port, path))
    except OSError:
        return None


@pytest.mark.parametrize("module", ["users", "arrivals"])
def test_a_gateway_that_is_not_there_is_one_line(module: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    options = ("--server", nowhere, "--admin-server", nowhere, "--token", "t")
    code, _, said = run(module, *options, *(("--ceiling-seconds", "0") if module == "users" else ()))
    assert code == 1
    [line] = said.splitlines()
    assert line.startswith("The load failed: UNAVAILABLE: ")
