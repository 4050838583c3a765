"""Who may import whom: pure rules in domain/, I/O at the edges, and only the wiring sees everything."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gateway"

STANDARD = frozenset(sys.stdlib_module_names)

MAY_IMPORT = {
    # What calls cost and what a request means, without any I/O.
    "domain": {"domain", "errors", "phonenumbers"},
    # SQL, and nothing of the store.
    "ledger": {"ledger", "domain", "errors", "slices", "sqlalchemy", "alembic"},
    # The store, and nothing of SQL. It speaks protobuf for what scripts do not read.
    "store": {"store", "domain", "errors", "slices", "v1", "backoff", "startup", "settings_problems"}
    | {"redis", "hiredis", "google", "structlog"},
    # Where SQL and the store meet: by their repositories, never by their drivers.
    "projection": {"projection", "domain", "errors", "ledger", "store", "metrics", "v1", "structlog"},
    "auditing": {"auditing", "domain", "errors", "ledger", "slices", "store"},
    "rebuilding": {"rebuilding", "domain", "errors", "ledger", "store", "projection"},
    # Extends what it traces; only the wiring knows of it. Of OpenTelemetry one module, see below.
    "tracing": {"tracing", "api", "domain", "errors", "hooks", "ledger", "metrics", "notices", "request_context"}
    | {"settings", "startup", "store", "v1", "web"}
    | {"grpc", "opentelemetry", "sqlalchemy", "starlette", "structlog"},
    "feeds": {"feeds", "domain", "errors", "ledger", "metric_sums", "store", "projection", "structlog"},
    # What the front serves: no SQL behind it.
    "api": {"api", "buckets", "domain", "errors", "metrics", "request_context", "slices", "store", "v1"}
    | {"grpc", "google", "structlog"},
    "api/credits": {"api", "domain", "errors", "metrics", "store", "v1", "ledger", "projection", "feeds", "billing"}
    | {"google", "grpc", "structlog"},
    # What people are told and the ways it goes: what is recorded and sent is the notifier's.
    "notices": {"notices", "domain", "request_context", "settings", "signature"}
    | {"aiohttp", "aiosmtplib", "structlog"},
    # Who charges cards: knows neither offices nor ledger.
    "payments": {"payments", "domain", "errors", "settings", "startup"}
    | {"aiohttp", "aiosqlite", "stripe", "structlog"},
    # What is on HTTP: pages, webhooks, health. What they need done is handed to them.
    "web": {"web", "payments", "domain", "errors", "metrics", "address", "ports", "request_context"}
    | {"jinja2", "starlette", "structlog", "uvicorn"},
    # What people see: the operations of Credits, rendered. Of the ledger and the feeds only what is handed to it.
    "page": {"page", "api", "billing", "domain", "errors", "feeds", "ledger", "store", "v1", "web"}
    | {"babel", "google", "itsdangerous", "jinja2", "phonenumbers", "starlette", "structlog"},
    # The switches' side: the contract and nothing of how it is kept.
    "client": {"client", "v1", "grpc", "google"},
    # A sidecar of a switch: the client library, and of the gateway only what stands beside its parts.
    "kamailio": {"kamailio", "client", "grpc_environment", "segments", "v1", "address", "log"}
    | {"structlog", "typer", "uvloop"},
    # A front for switches that speak Diameter: on their side, like the client.
    "diameter": {"diameter", "client", "client_channel", "address", "v1"} | {"google", "grpc", "structlog"},
    # Switches without gRPC: the deciders by HTTP, and posts to callbacks.
    "hooks": {"hooks", "api", "domain", "errors", "metrics", "request_context", "signature", "store", "v1", "web"}
    | {"aiohttp", "google", "starlette", "structlog"},
    # Before SMS gateways that ask nobody: a switch's side as well, and a process of its own.
    "sms": {"sms", "client", "grpc_environment", "segments", "v1", "aiohttp", "starlette", "uvicorn", "yarl"},
    "background": {"background", "domain", "errors", "ledger", "notices", "store", "projection", "feeds", "billing"}
    | {"metrics", "news", "v1", "google", "redis", "structlog"},
    # Money in: between the ledger, who charges cards, and the way into the store. Nothing of gRPC or HTTP.
    "billing": {"billing", "domain", "errors", "ledger", "payments", "projection", "store", "metrics", "structlog"},
}
"""What the modules of each package may import beside the standard library: parts of gateway, and other packages."""

WIRING = {"front.py", "back.py", "journaler.py", "cli"}
"""These see everything; nobody sees them but the process that starts them."""

MAY_SEE_WIRING = {"process.py", "cli"}


def modules() -> Iterator[tuple[str, Path]]:
    """Each module with the rule that holds for it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts
        if part[0] != "v1":
            yield ("api/credits" if part[:2] == ("api", "credits") else part[0]), path


def imported_by(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of what a module imports, wherever it stands: a part of gateway, or another package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif not isinstance(node, ast.ImportFrom):
            continue
        else:
            assert not node.level, f"{path}:{node.lineno}: a relative import hides its direction"
            module = node.module or ""
            names = [f"gateway.{each.name}" for each in node.names] if module == "gateway" else [module]
        for name in names:
            first, *rest = name.split(".")
            if first == "gateway" and rest:
                yield node.lineno, rest[0]
            elif first not in STANDARD and first != "gateway":
                yield node.lineno, first


@pytest.mark.parametrize("rule", MAY_IMPORT)
def test_a_package_imports_only_what_its_layer_may(rule: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"
        for of, path in modules()
        if of == rule
        for line, name in imported_by(path)
        if name not in MAY_IMPORT[rule]
    ]
    assert not wrong


def test_only_one_module_knows_opentelemetry() -> None:
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text() for _, path in modules()}
    knowing = {name for name, text in texts.items() if "from opentelemetry" in text or "import opentelemetry" in text}
    assert knowing == {"tracing/opentelemetry.py"}


def test_every_package_has_a_rule() -> None:
    packages = {of for of, path in modules() if path.parent != PACKAGE}
    assert packages - set(MAY_IMPORT) - WIRING == set()


def test_nobody_imports_the_wiring() -> None:
    hidden = {Path(name).stem for name in WIRING}
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"
        for of, path in modules()
        if of not in MAY_SEE_WIRING
        for line, name in imported_by(path)
        if name in hidden
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        # The front's interpreter decides about calls; SQL is the back's.
        ("gateway.front", ("sqlalchemy", "alembic", "aiosqlite", "gateway.ledger", "starlette", "opentelemetry")),
        # An optional extra: nothing of it is loaded where nothing is traced. (redis looks for the SDK by itself.)
        ("gateway.back", ("opentelemetry.exporter", "gateway.tracing.opentelemetry")),
        ("gateway.client", ("opentelemetry",)),
        # Asking for help, or for an address that is wrong, is not to wait for any of these.
        ("gateway.cli", ("grpc", "pydantic", "rich", "phonenumbers", "sqlalchemy", "redis")),
        ("gateway.cli.credits", ("pydantic_settings", "rich", "phonenumbers", "sqlalchemy", "redis")),
    ],
)
def test_an_interpreter_does_not_load_what_it_has_no_use_for(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(name for name in {absent} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
