"""A real Kamailio with Tollgate's configuration, and the sidecar beside it, in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.address import Address
from gateway.kamailio.rpc import Rpc
from tests.support.child_processes import children_of
from tests.support.gateway_process import clean_environment
from tests.support.programs import find_program
from tests.support.servers import free_port, wait_until

CONFIGURATION = Path(__file__).parents[2] / "switches" / "kamailio"
START_SECONDS = 20.0

TRUSTED = "127.0.0.2"
"""A source whose X-Tollgate- headers are believed."""

OWN = "127.0.0.3"
"""A source that is the office "springfield"."""

CARRIER = "127.0.0.4"
"""A source of calls for our numbers."""

STRANGER = "127.0.0.5"
"""A source that nobody knows."""

ROWS = {
    f"source:{TRUSTED}": "trusted=1",
    f"source:{OWN}": "office=springfield",
    f"source:{CARRIER}": "carrier=1",
    "number:+12175550101": "office=springfield;user=lisa;department=sales;license=SALES",
    "number:+18005550199": "office=springfield;user=hotline;department=support;license=SALES",
}


def program(name: str) -> str:
    """A program that `tools/install_debian.sh switches` installs."""
    return find_program(name, "kamailio sip-tester")


@dataclass
class Process:
    """Something that runs, and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end; what does not within 10 s is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        """Let it hang."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Kamailio:
    """A Kamailio on free ports, which can be killed and started again.

    Attributes:
        directory: Where its configuration, its log and its runtime files are.
        carrier: Where it sends calls.
        sip: Its SIP port.
        evapi: Its evapi port.
        rpc: Its JSON-RPC port.
        defines: More definitions of its configuration.
        megabytes: Its shared memory.
        configuration: A file to run instead of the example.
    """

    directory: Path
    carrier: int
    sip: int = field(default_factory=free_port)
    evapi: int = field(default_factory=free_port)
    rpc: int = field(default_factory=free_port)
    defines: Mapping[str, str] = field(default_factory=dict)
    megabytes: int = 256
    configuration: Path | None = None
    running: Process | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where SIP goes."""
        return "127.0.0.1", self.sip

    @property
    def rpc_client(self) -> Rpc:
        """Asks it by JSON-RPC."""
        return Rpc(Address("127.0.0.1", self.rpc))

    @property
    def log_text(self) -> str:
        """What it has said."""
        return (self.directory / "kamailio.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            AssertionError: It does not; with its log.
        """
        configure(self.directory)
        run_directory = self.directory / "run"
        run_directory.mkdir(exist_ok=True)
        pid_file = self.directory / "kamailio.pid"
        pid_file.unlink(missing_ok=True)
        defines = {
            "SIP_LISTEN": f"udp:127.0.0.1:{self.sip}",
            "CARRIER": f'"sip:127.0.0.1:{self.carrier}"',
            "TOLLGATE_EVAPI": f'"127.0.0.1:{self.evapi}"',
            "TOLLGATE_RPC": f"127.0.0.1:{self.rpc}",
            "TOLLGATE_RPC_PORT": str(self.rpc),
            "TOLLGATE_WAIT_MS": "2000",
            **self.defines,
        }
        file = self.configuration or self.directory / "kamailio.cfg"
        command = [program("kamailio"), "-f", str(file), "-DD", "-E", "-m", str(self.megabytes), "-M", "16"]
        command += ["-P", str(pid_file), "-Y", str(run_directory)]
        for name, value in defines.items():
            command += ["-A", f"{name}={value}"]
        self.running = spawn(command, self.directory / "kamailio.log")
        process = self.running.process
        assert wait_until(lambda: process.poll() is not None or self._answers(), START_SECONDS), self.log_text
        assert process.poll() is None, self.log_text

    def kill(self) -> None:
        """End it as a crash would, with all its processes, so that nothing is said to anybody."""
        assert self.running is not None
        # First the parent, which would end its children in order when one of them is gone.
        children = children_of(self.running.process.pid)
        self.running.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        if self.running is not None:
            self.running.stop()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.rpc), timeout=1):
                return True
        except OSError:
            return False


def configure(directory: Path) -> None:
    """Put the configuration there as an engineer would: the example's, with rows of our own."""
    for file in CONFIGURATION.glob("*.cfg"):
        text = file.read_text()
        if file.name == "offices.cfg":
            rows = "".join(f'\t$sht(tollgate_rows=>{key}) = "{value}";\n' for key, value in ROWS.items())
            text, replaced = re.subn(
                r"(event_route\[htable:mod-init\] \{\n).*?(?=\n?\})", rf"\g<1>{rows}", text, count=1, flags=re.DOTALL
            )
            assert replaced
        (directory / file.name).write_text(text)


@contextmanager
def running_kamailio(directory: Path, carrier: int, **defines: str) -> Iterator[Kamailio]:
    """Run a Kamailio until the block ends."""
    directory.mkdir(exist_ok=True)
    kamailio = Kamailio(directory, carrier, defines=defines)
    try:
        kamailio.start()
        yield kamailio
    finally:
        kamailio.stop()


@dataclass
class Sidecar:
    """The sidecar, which can be killed and started again.

    Attributes:
        kamailio: Whose it is.
        gateway: The gateway's address.
        token: The switch's.
        live_calls_seconds: How often it lists the dialogs.
    """

    kamailio: Kamailio
    gateway: str
    token: str
    live_calls_seconds: float = 1.0
    running: Process | None = None

    @property
    def log_text(self) -> str:
        """What it has said."""
        return (self.kamailio.directory / "sidecar.log").read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until Kamailio has it."""
        before = self.log_text.count("kamailio_connected") if self.running else 0
        command = [sys.executable, "-m", "gateway.kamailio.cli", "--live-calls-seconds"]
        command.append(f"{self.live_calls_seconds:g}")
        command += ["--gateway", self.gateway, "--evapi", f"127.0.0.1:{self.kamailio.evapi}"]
        command += ["--rpc", f"127.0.0.1:{self.kamailio.rpc}"]
        self.running = spawn(command, self.kamailio.directory / "sidecar.log", TOLLGATE_TOKEN=self.token)
        if wait:
            self.wait_connected(before + 1)

    def wait_connected(self, times: int) -> None:
        """Wait until it has connected to Kamailio so often."""
        assert wait_until(lambda: self.log_text.count("kamailio_connected") >= times, START_SECONDS), self.log_text

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.running is not None
        self.running.kill()

    def stop(self) -> None:
        """End it."""
        if self.running is not None:
            self.running.stop()


@contextmanager
def running_sidecar(kamailio: Kamailio, gateway: str, token: str) -> Iterator[Sidecar]:
    """Run a sidecar until the block ends."""
    sidecar = Sidecar(kamailio, gateway, token)
    try:
        sidecar.start()
        yield sidecar
    finally:
        sidecar.stop()


def spawn(command: list[str], log: Path, **variables: str) -> Process:
    """Start a program with its output at the end of a file, in a session of its own."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=clean_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Process(process, log)
