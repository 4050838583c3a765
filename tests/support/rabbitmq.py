"""A RabbitMQ of the tests' own: ports, directories, cookie and epmd are all its own, and end with it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.gateway_process import clean_environment
from tests.support.programs import await_port, find_program, running_program
from tests.support.servers import free_port

_BIN = Path("/usr/lib/rabbitmq/bin")
"""Not /usr/sbin: the wrappers of Debian's there become the user rabbitmq."""


@dataclass(frozen=True, slots=True)
class RabbitMq:
    """A running broker."""

    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """The address as AMQP clients take it."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl."""
        done = subprocess.run(
            [_BIN / "rabbitmqctl", *arguments],
            env=clean_environment(**self.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def running_rabbitmq(directory: Path) -> Iterator[RabbitMq]:
    """Run a broker until the block ends; takes some 6 s to start."""
    find_program("rabbitmq-server", "rabbitmq-server")
    port, epmd_port = free_port(), free_port()
    (directory / "plugins").write_text("[].\n")
    # One scheduler thread: the machine has better to do than Erlang's busy waiting.
    environment = {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"tollgate{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(directory / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    log, epmd_log = directory / "rabbitmq.log", directory / "epmd.log"
    epmd = [find_program("epmd", "rabbitmq-server"), "-port", str(epmd_port), "-address", "127.0.0.1"]
    with running_program(epmd, epmd_log, environment=environment) as naming:
        await_port(epmd_port, naming, epmd_log)
        with running_program([str(_BIN / "rabbitmq-server")], log, environment=environment) as process:
            await_port(port, process, log, 60.0)
            yield RabbitMq(port, environment)
