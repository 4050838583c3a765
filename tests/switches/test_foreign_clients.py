"""The clients of switches/clients in Go, Node and Java: built from proto/ as it is, and run against a whole gateway.

Neither `make switches` nor CI installs these toolchains, so a missing one is a skip everywhere. What a build fetches
and makes is kept outside of the repository, in the user's cache of that toolchain and in the temporary directory.
"""

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2

from tests.support.recipes import FUNDS, LONDON, MINUTE, RecipeGateway, nowhere, recipe_gateway

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "switches/clients"
GOOGLEAPIS = str(Path(status_pb2.__file__).parents[2])
"""The Python package has the .proto files that the contract imports."""

BUILD_SECONDS = 540.0
"""The first time it compiles and fetches everything; then it takes some seconds."""

RUN_SECONDS = 60.0

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("foreign")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecipeGateway]:
    with recipe_gateway(tmp_path_factory.mktemp("foreign")) as running:
        yield running


@dataclass(frozen=True)
class Client:
    """A client that is built: `command` and its arguments run it in `directory`."""

    directory: Path
    command: list[str]

    def place(self, gateway: RecipeGateway, *arguments: str, code: int = 0, **environment: str) -> list[dict[str, Any]]:
        """Place a call; returns what it said of each step."""
        variables = {"TOLLGATE_LISTEN": gateway.grpc, "TOLLGATE_URL": gateway.url, "TOLLGATE_TOKEN": gateway.token}
        variables["GOOGLEAPIS"] = GOOGLEAPIS
        done = run([*self.command, *arguments], self.directory, RUN_SECONDS, {**variables, **environment})
        assert done.returncode == code, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def run(
    command: list[str], directory: Path, seconds: float, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, for so long at most."""
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def build(command: list[str], directory: Path, **environment: str) -> None:
    """Run a step of a build."""
    done = run(command, directory, BUILD_SECONDS, environment)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"


def need(*programs: str) -> None:
    """Skip where a toolchain is not installed: with CI=true too, for CI does not install it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def copied(language: str, directory: Path) -> Path:
    """A client in a tree of its own, laid as in the repository."""
    shutil.copytree(ROOT / "proto", directory / "proto")
    build_output = shutil.ignore_patterns("node_modules", "target", "gatewayv1", "bin")
    shutil.copytree(CLIENTS, directory / "switches/clients", ignore=build_output)
    return directory / "switches/clients" / language


def go_client(directory: Path) -> Client:
    need("go")
    folder = copied("go", directory)
    # The compiler of the Python package stands in for Debian's protoc.
    protoc = f"{sys.executable} -m grpc_tools.protoc"
    build(["./generate.sh"], folder, PROTOC=protoc, PLUGINS=str(directory / "plugins"), GOOGLEAPIS=GOOGLEAPIS)
    build(["go", "vet", "./..."], folder)
    build(["go", "build", "-mod=readonly", "-o", "client", "."], folder)
    return Client(folder, ["./client"])


def node_client(directory: Path) -> Client:
    need("node", "npm")
    folder = copied("node", directory)
    build(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"], folder)
    return Client(folder, ["node", "call.js"])


def java_client(directory: Path) -> Client:
    need("java", "javac", "mvn")
    folder = copied("java", directory)
    build(["mvn", "--quiet", "--batch-mode", "compile"], folder)
    return Client(folder, ["java", "-cp", "target/classes:target/lib/*", "example.Call"])


BUILDERS: dict[str, Callable[[Path], Client]] = {"go": go_client, "node": node_client, "java": java_client}


@pytest.fixture(scope="module", params=BUILDERS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Each client, built once a run: by the worker that comes first, for which the others wait."""
    language: str = request.param
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return BUILDERS[language](tmp_path_factory.mktemp(language))
    # The parent of a worker's directory is the run's.
    directory = tmp_path_factory.getbasetemp().parent / f"foreign-{language}"
    directory.mkdir(exist_ok=True)
    built = directory / "built.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            made = BUILDERS[language](directory / "tree")
            built.write_text(json.dumps([str(made.directory), made.command]))
    folder, command = json.loads(built.read_text())
    return Client(Path(folder), command)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_call_and_what_it_costs(client: Client, gateway: RecipeGateway, transport: str) -> None:
    office = gateway.office()
    authorized, answered, ticked, ended = client.place(gateway, transport, office, LONDON, "75")
    assert authorized.pop("call_id")
    assert authorized == {"step": "authorize", "decision": "GRANTED", "reason": "FUNDED", "granted_seconds": 60}
    assert answered == {"step": "answer", "granted_seconds": 60, "debited_micros": 0}
    assert ticked == {"step": "tick", "granted_seconds": 120, "debited_micros": MINUTE}
    assert ended == {"step": "end", "billed_seconds": 75, "debited_micros": 2 * MINUTE}
    assert gateway.books(office) == (FUNDS - 2 * MINUTE, 0)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_denial_is_an_answer(client: Client, gateway: RecipeGateway, transport: str) -> None:
    (denied,) = client.place(gateway, transport, gateway.office(funds=MINUTE - 1), LONDON, "75")
    assert (denied["decision"], denied["reason"], denied["granted_seconds"]) == ("DENIED", "INSUFFICIENT_FUNDS", 0)


CODES = {
    "grpc": {"InvalidArgument", "3", "INVALID_ARGUMENT"},
    "http": {"InvalidArgument", "400"},
}
"""As each language's library names it."""


@pytest.mark.parametrize("transport", CODES)
def test_a_fault_has_its_reason_and_field(client: Client, gateway: RecipeGateway, transport: str) -> None:
    (fault,) = client.place(gateway, transport, gateway.office(), "", "75", code=1)
    assert fault.pop("code") in CODES[transport]
    assert fault == {"step": "error", "reason": "INVALID_ARGUMENT", "field": "called_number"}


def test_quotes_and_backslashes_are_only_characters(client: Client, gateway: RecipeGateway) -> None:
    (denied,) = client.place(gateway, "http", gateway.office(), '+44","calledNumber":"9\\11', "75")
    assert (denied["decision"], denied["reason"]) == ("DENIED", "INVALID_NUMBER")


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_wrong_token(client: Client, gateway: RecipeGateway, transport: str) -> None:
    (fault,) = client.place(gateway, transport, gateway.office(), LONDON, "75", code=1, TOLLGATE_TOKEN="tg_wrong")
    assert fault["reason"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_nobody_there(client: Client, gateway: RecipeGateway, transport: str) -> None:
    url = nowhere()
    where = {"TOLLGATE_URL": url, "TOLLGATE_LISTEN": url.removeprefix("http://")}
    (fault,) = client.place(gateway, transport, "springfield", LONDON, "75", code=1, **where)
    assert fault["step"] == "error"
    assert fault["code"] in {"Unavailable", "14", "UNAVAILABLE", "503"}, "and not that time was over"


def test_versions_are_pinned() -> None:
    package = json.loads((CLIENTS / "node/package.json").read_text())
    lock = json.loads((CLIENTS / "node/package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    assert not any(version.startswith(("^", "~")) for version in package["dependencies"].values())
    sums = (CLIENTS / "go/go.sum").read_text()
    required = [line.split() for line in (CLIENTS / "go/go.mod").read_text().splitlines() if line.startswith("\t")]
    assert all(f"{module} {version} h1:" in sums for module, version, *_ in required)
    assert list(itertools.chain.from_iterable(required))
