"""Kannel as a site has it, bearerbox and smsbox with an SMPP connection to an SMSC, and `tollgate-kannel` before it."""

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from tests.support.programs import await_port, end_program, find_program, running_program
from tests.support.servers import free_port, wait_until
from tests.support.sms import get, query

ROOT = Path(__file__).parents[2]


@dataclass
class Kannel:
    """A running Kannel, and the proxy."""

    directory: Path
    sendsms_port: int
    proxy_port: int
    environment: dict[str, str]
    arguments: list[str]
    _running: ExitStack = field(default_factory=ExitStack)
    _proxy: "Popen[bytes] | None" = None

    @property
    def proxy_url(self) -> str:
        """Where senders come."""
        return f"http://127.0.0.1:{self.proxy_port}"

    @property
    def database(self) -> Path:
        """The proxy's file."""
        return self.directory / "messages.db"

    def send(self, user: str, to: str, at: str = "", /, **parameters: str | bytes) -> tuple[int, str]:
        """Send by the proxy, or by another one; returns what it answers."""
        asked = query(**{"username": user, "password": "secret", "to": to, "from": "12125550100", **parameters})
        return get(f"{at or self.proxy_url}/cgi-bin/sendsms?{asked}")

    def start_proxy(self) -> None:
        """Start the proxy."""
        self._proxy = self._running.enter_context(self.another_proxy())

    @contextmanager
    def another_proxy(self, *arguments: str, port: int = 0, **environment: str) -> "Iterator[Popen[bytes]]":
        """Run a proxy that is told otherwise until the block ends."""
        port = port or self.proxy_port
        log = self.directory / f"proxy-{port}.log"
        command = [sys.executable, "-m", "gateway.sms.kannel", *self.arguments, *arguments]
        command += ["--listen", f"127.0.0.1:{port}"]
        with running_program(command, log, environment=self.environment | environment) as process:
            await_port(port, process, log)
            yield process

    def stop_proxy(self) -> None:
        """End the proxy."""
        assert self._proxy is not None
        end_program(self._proxy)


@contextmanager
def running_kannel(
    directory: Path,
    *,
    gateway: str,
    token: str,
    smsc_port: int,
    users: dict[str, str],
    max_segments: int,
    is_smsc_fake: bool = False,
) -> Iterator[Kannel]:
    """Run bearerbox, smsbox and the proxy until the block ends.

    Args:
        directory: For files and logs.
        gateway: Tollgate's gRPC address.
        token: The switch's.
        smsc_port: Where the SMSC listens; where a fake one is to connect.
        users: sendsms-user to office; a user's password is `secret`.
        max_segments: Of a message.
        is_smsc_fake: The SMSC is Kannel's own fakesmsc, run here, too; its log is `fakesmsc.log`.
    """
    bearerbox, smsbox = find_program("bearerbox", "kannel"), find_program("smsbox", "kannel")
    admin_port, box_port, sendsms_port, proxy_port = (free_port() for _ in range(4))
    configuration = directory / "kannel.conf"
    smsc = _fake_smsc(smsc_port) if is_smsc_fake else _smpp_smsc(smsc_port)
    configuration.write_text(_configuration(admin_port, box_port, sendsms_port, smsc, users, max_segments))
    arguments = ["--gateway", gateway, "--international"]
    arguments += ["--kannel", f"http://127.0.0.1:{sendsms_port}/cgi-bin/sendsms"]
    arguments += ["--data", str(directory / "messages.db"), "--max-segments", str(max_segments)]
    for user, office in users.items():
        arguments += ["--office", f"{user}={office}"]
    with ExitStack() as running:
        kannel = Kannel(directory, sendsms_port, proxy_port, {"TOLLGATE_TOKEN": token}, arguments, running)
        for program, port in ((bearerbox, box_port), (smsbox, sendsms_port)):
            log = directory / f"{Path(program).name}.log"
            command = [program, "-v", "1", str(configuration)]
            # bearerbox takes more than 10 s to end by itself.
            process = running.enter_context(running_program(command, log, stop_seconds=1.0))
            await_port(port, process, log)
        if is_smsc_fake:
            command = [find_program("fakesmsc", "kannel-extras"), "-H", "127.0.0.1", "-r", str(smsc_port)]
            # It has to be told of a message that it might send; it sends none.
            running.enter_context(running_program([*command, "-m", "0", "1 2 text nop"], directory / "fakesmsc.log"))
        status = f"http://127.0.0.1:{admin_port}/status.txt?password=secret"
        assert wait_until(lambda: "(online" in get(status)[1], 20), get(status)
        kannel.start_proxy()
        yield kannel


def _group(name: str, **values: object) -> str:
    lines = [f"group = {name}", *(f"{key.replace('_', '-')} = {value}" for key, value in values.items())]
    return "\n".join([*lines, "", ""])


def _smpp_smsc(port: int) -> str:
    return _group(
        "smsc", smsc="smpp", smsc_id="carrier", host="127.0.0.1", port=port, smsc_username="esme",
        smsc_password="secret", system_type='""', transceiver_mode="true", reconnect_delay=1,
    )  # fmt: skip


def _fake_smsc(port: int) -> str:
    return _group("smsc", smsc="fake", smsc_id="carrier", port=port, connect_allow_ip="127.0.0.1")


def _configuration(
    admin_port: int, box_port: int, sendsms_port: int, smsc: str, users: dict[str, str], max_segments: int
) -> str:
    text = _group(
        "core", admin_port=admin_port, admin_password="secret", smsbox_port=box_port, box_allow_ip="127.0.0.1"
    )
    text += smsc
    text += _group(
        "smsbox", bearerbox_host="127.0.0.1", sendsms_port=sendsms_port, smsbox_id="smsbox",
        http_request_retry=5, http_queue_delay=1,
    )  # fmt: skip
    for user in users:
        text += _group(
            "sendsms-user", username=user, password="secret", max_messages=max_segments, concatenation="true"
        )
    return text


@dataclass
class Listener:
    """A sender's web server, for delivery reports."""

    port: int
    heard: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What the next reports are answered with, each once; then 200."""


@contextmanager
def running_listener() -> Iterator[Listener]:
    """Run one in a thread of its own until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.heard.append(self.path)
            self.send_response(listener.statuses.pop(0) if listener.statuses else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener = Listener(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()
