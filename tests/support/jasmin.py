"""Jasmin as a site has it: RabbitMQ, Redis, jasmind, interceptord and Tollgate's two files, on ports of their own.

Jasmin is no package of this project's: it is installed from the package index into a directory of its own beside this
project's environment, once per version and interpreter, and stays there.
"""

import fcntl
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.programs import await_port, end_program, running_program
from tests.support.rabbitmq import RabbitMq, running_rabbitmq
from tests.support.servers import free_port, missing_server, running_store, wait_until
from tests.support.sms import get, query

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "switches" / "sms" / "jasmin"

JASMIN = "0.11.1"
PIKA = "1.3.2"
INSTALL_SECONDS = 600

_LAUNCHER = """
import os, runpy, sys, lockfile
# Jasmin's daemons lock one file each in /tmp: two installations on one machine would exclude each other.
lock = lockfile.FileLock
lockfile.FileLock = lambda path, *rest: lock(os.environ["LOCKS"] + path.replace("/", "-"), *rest)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Jasmin is installed."""

    python: Path
    resources: Path

    def program(self, name: str) -> list[str]:
        """The command of one of its daemons."""
        return [str(self.python), "-c", _LAUNCHER, str(self.python.parent / name)]


def install_jasmin() -> Installation:
    """Install Jasmin if it is not there yet; skip or fail where it cannot be."""
    interpreter = _python()
    version = subprocess.run([interpreter, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    home = Path(sys.prefix) / "switches" / f"jasmin-{JASMIN}-python-{version}"
    found = Installation(home / "bin" / "python", home / "resource")
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "jasmin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            try:
                _install(interpreter, home)
            except subprocess.CalledProcessError as error:
                missing_server(f"Jasmin {JASMIN} cannot be installed: {error.stderr}")
    return found


def _python() -> str:
    """An interpreter of the version that Jasmin needs: newer ones have no pkg_resources."""
    if sys.version_info[:2] == (3, 11):
        return str(Path(sys.base_prefix) / "bin" / "python3.11")
    found = shutil.which("python3.11")
    if found is None:
        missing_server("Jasmin needs Python 3.11")
    return found


def _install(interpreter: str, home: Path) -> None:
    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)

    run(interpreter, "-m", "venv", home)
    pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as directory:
        # The wheel that pip makes of it lacks the resources, which a daemon does not start without.
        run(*pip, "download", "--no-deps", "--no-binary", "jasmin", "--dest", directory, f"jasmin=={JASMIN}")
        archive = Path(directory) / f"jasmin-{JASMIN}.tar.gz"
        run(*pip, "install", archive, f"pika=={PIKA}")
        with tarfile.open(archive) as source:
            # Without a filter, which not every Python 3.11 has: pip has just run what is in the archive.
            source.extractall(directory)
        shutil.copytree(Path(directory) / f"jasmin-{JASMIN}" / "misc" / "config" / "resource", home / "resource")
    # https://github.com/jookies/jasmin/issues/1236: without it, 0.11.1 tells nobody what the SMSC answered.
    (listeners,) = home.glob("lib/python3*/site-packages/jasmin/managers/listeners.py")
    listeners.write_text(listeners.read_text().replace("_pdu.response", "r.response"))
    (home / "installed").touch()


@dataclass
class Jasmin:
    """A running Jasmin."""

    installation: Installation
    directory: Path
    rabbitmq: RabbitMq
    http_port: int
    smpp_port: int
    jcli_port: int
    environment: dict[str, str]
    _running: ExitStack = field(default_factory=ExitStack)
    _refunds: "subprocess.Popen[bytes] | None" = None

    @property
    def journal(self) -> Path:
        """The file of Tollgate's two scripts."""
        return self.directory / "tollgate.db"

    def jcli(self, *lines: str) -> str:
        """Type lines at Jasmin's console, each answered by a prompt."""
        with socket.create_connection(("127.0.0.1", self.jcli_port), timeout=10) as console:
            text = _read_prompt(console)
            for line in lines:
                console.sendall(line.encode() + b"\r\n")
                text += _read_prompt(console)
        return text

    def add_user(self, user: str, office: str, *more: str) -> None:
        """Give an office a user, whose password is `secret`."""
        said = self.jcli(
            "group -a", f"gid {office}", "ok",
            "user -a", f"username {user}", "password secret", f"gid {office}", f"uid {user}", *more, "ok",
        )  # fmt: skip
        assert "Successfully added User" in said, said

    def send(self, user: str, to: str, **parameters: str | bytes) -> tuple[int, str]:
        """Submit a message at the HTTP API; returns what it answers."""
        asked = query(username=user, password="secret", to=to, **parameters)
        return get(f"http://127.0.0.1:{self.http_port}/send?{asked}")

    def start_refunds(self) -> None:
        """Start tollgate_refunds.py, and wait until it listens."""
        log = self.directory / "refunds.log"
        before = _count_listening(log)
        command = [str(self.installation.python), str(SCRIPTS / "tollgate_refunds.py")]
        self._refunds = self._running.enter_context(running_program(command, log, environment=self.environment))
        assert wait_until(lambda: _count_listening(log) > before, 20), log.read_text()

    def stop_refunds(self) -> None:
        """End tollgate_refunds.py."""
        assert self._refunds is not None
        end_program(self._refunds)

    def logs(self) -> str:
        """What all of it wrote."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in self.directory.glob("*.log")
        )


def _count_listening(log: Path) -> int:
    return log.read_text().count("listening") if log.exists() else 0


def _read_prompt(console: socket.socket) -> str:
    received = b""
    deadline = time.monotonic() + 10
    while not re.search(rb"(jcli : |> |Session ref: \d+\s+)$", received):
        assert time.monotonic() < deadline, received
        part = console.recv(65536)
        if not part:
            break
        received += part
    return received.decode(errors="replace")


@contextmanager
def running_jasmin(
    directory: Path, *, gateway_http: str, token: str, smsc_port: int, **settings: str
) -> Iterator[Jasmin]:
    """Run Jasmin with a connector to an SMSC, and Tollgate asked for every message.

    Args:
        directory: For its files and logs.
        gateway_http: Where Tollgate's hooks are.
        token: The switch's.
        smsc_port: Where the SMSC listens.
        **settings: More environment variables of Tollgate's two scripts.
    """
    installation = install_jasmin()
    with ExitStack() as running:
        store_directory = directory / "redis"
        store_directory.mkdir()
        broker_directory = directory / "rabbitmq"
        broker_directory.mkdir()
        redis = running.enter_context(running_store("valkey", store_directory))
        rabbitmq = running.enter_context(running_rabbitmq(broker_directory))
        ports = {name: free_port() for name in ("smpp", "smpps", "client", "router", "http", "jcli", "interceptor")}
        (directory / "store").mkdir()
        configuration = directory / "jasmin.cfg"
        configuration.write_text(_configuration(installation, directory, ports, rabbitmq.port, redis.port))
        environment = {
            "LOCKS": f"{directory}/lock",
            "LOG_PATH": str(directory),
            "PYTHONPATH": str(SCRIPTS),
            "TOLLGATE_URL": f"http://{gateway_http}",
            "TOLLGATE_TOKEN": token,
            "TOLLGATE_JOURNAL": str(directory / "tollgate.db"),
            "TOLLGATE_AMQP": rabbitmq.url,
            **settings,
        }
        # Its own variables would be taken for settings of Jasmin's sections, and CONFIG_PATH has to exist.
        environment |= {"CONFIG_PATH": str(directory), "RESOURCE_PATH": str(installation.resources)}
        jasmin = Jasmin(
            installation, directory, rabbitmq, ports["http"], ports["smpp"], ports["jcli"], environment, running
        )
        rabbitmq.control("set_policy", "tollgate", r"^submit\.sm\.", DEAD_LETTERS, "--apply-to", "queues")
        jasmin.start_refunds()
        for name, port, options in (
            ("interceptord.py", "interceptor", ()),
            ("jasmind.py", "http", ("--enable-interceptor-client", "--enable-dlr-lookup", "--enable-dlr-thrower")),
        ):
            log = directory / f"{name}.log"
            command = [*installation.program(name), "--config", str(configuration), *options]
            process = running.enter_context(running_program(command, log, environment=environment))
            await_port(ports[port], process, log)
        await_port(ports["jcli"], process, log)
        _set_up(jasmin, smsc_port)
        yield jasmin


NOWHERE = "442079469999"
"""Goes to a connector whose SMSC does not exist."""

DEAD_LETTERS = '{"dead-letter-exchange":"messaging","dead-letter-routing-key":"tollgate.dropped"}'


def _configuration(
    installation: Installation, directory: Path, ports: dict[str, int], amqp_port: int, redis_port: int
) -> str:
    def section(name: str, **values: object) -> str:
        return "\n".join((f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""))

    here = "127.0.0.1"
    return "\n".join(
        (
            section("smpp-server", bind=here, port=ports["smpp"]),
            section("smpp-server-pb", bind=here, port=ports["smpps"]),
            section("client-management", bind=here, port=ports["client"], store_path=directory / "store"),
            section("router", bind=here, port=ports["router"], store_path=directory / "store"),
            section(
                "sm-listener",
                submit_max_age_smppc_not_ready=1,
                submit_retrial_delay_smppc_not_ready=1,
                submit_error_retrial="{'ESME_RTHROTTLED': {'count': 3, 'delay': 1}}",
            ),
            section("http-api", bind=here, port=ports["http"], long_content_max_parts=10),
            section("jcli", bind=here, port=ports["jcli"], authentication="False"),
            section("interceptor", bind=here, port=ports["interceptor"]),
            section("interceptor-client", host=here, port=ports["interceptor"]),
            section("redis-client", host=here, port=redis_port),
            section("amqp-broker", host=here, port=amqp_port, spec=installation.resources / "amqp0-9-1.xml"),
        )
    )


def _set_up(jasmin: Jasmin, smsc_port: int) -> None:
    lines: list[str] = []
    for connector, port in (("carrier", smsc_port), ("nowhere", free_port())):
        lines += ["smppccm -a", f"cid {connector}", "host 127.0.0.1", f"port {port}", "username esme"]
        lines += ["password secret", "submit_throughput 0", "con_fail_delay 1", "con_loss_delay 1", "ok"]
        lines += [f"smppccm -1 {connector}"]
    lines += ["mtrouter -a", "type DefaultRoute", "connector smppc(carrier)", "rate 0.0", "ok"]
    lines += ["filter -a", "fid nowhere", "type DestinationAddrFilter", f"destination_addr ^{NOWHERE}$", "ok"]
    lines += ["mtrouter -a", "type StaticMTRoute", "order 10", "filters nowhere", "connector smppc(nowhere)"]
    lines += ["rate 0.0", "ok"]
    lines += ["mtinterceptor -a", "type DefaultInterceptor"]
    lines += [f"script python3({SCRIPTS / 'tollgate_interceptor.py'})", "ok"]
    said = jasmin.jcli(*lines)
    for added in ("MTInterceptor", "MTRoute [StaticMTRoute]", "MTRoute [DefaultRoute]"):
        assert f"Successfully added {added}" in said, said
    assert wait_until(lambda: "BOUND_TRX" in jasmin.jcli("smppccm -l"), 20), jasmin.jcli("smppccm -l")
