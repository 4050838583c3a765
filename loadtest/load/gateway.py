"""The gateway that is under load: one of its own with embedded stores on free ports, or one that runs already."""

import argparse
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.address import Address
from loadtest.processes import BenchError
from loadtest.scene import OPERATOR_TOKEN
from tests.support.gateway_process import UNGUARDED
from tests.support.mortal_gateway import mortal_gateway


@dataclass(frozen=True, slots=True)
class LoadedGateway:
    """Where it is, and what may be done with it.

    Attributes:
        server: Of CallAuthorization.
        admin_server: Of Credits.
        operator_token: An operator's.
        data_dir: For `tollgate audit`; None: it is somewhere else.
        supervisor_pid: Whose front may be killed; None: nobody's.
        is_own: Whether it was started for this load, and nothing else uses it.
        metrics: Where Prometheus asks; None: nobody said.
    """

    server: Address
    admin_server: Address
    operator_token: str
    data_dir: Path | None
    supervisor_pid: int | None
    is_own: bool
    metrics: Address | None = None


def add_gateway_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which gateway; without them it is one of its own."""
    group = parser.add_argument_group("a gateway that runs already (default: one of its own, in a temporary directory)")
    group.add_argument("--server", type=_address, help="its CallAuthorization, e.g. 127.0.0.1:50051")
    group.add_argument("--admin-server", type=_address, help="its Credits, e.g. 127.0.0.1:50052")
    group.add_argument("--token", help="an operator's (default: TOLLGATE_TOKEN)")
    group.add_argument("--data-dir", type=Path, help="its data directory, to have `tollgate audit` look at it")
    group.add_argument("--supervisor-pid", type=int, help="of its `tollgate serve`, whose front may be killed")


def check_gateway_options(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with a message where the options do not go together."""
    if (given.server is None) != (given.admin_server is None):
        parser.error("--server and --admin-server go together")
    if given.server is None and (given.token or given.data_dir or given.supervisor_pid):
        parser.error("--token, --data-dir and --supervisor-pid are those of a gateway that --server names")
    if given.server is not None and not (given.token or os.environ.get("TOLLGATE_TOKEN")):
        parser.error("--server needs the --token of an operator, or TOLLGATE_TOKEN")


@contextmanager
def gateway_under_load(given: argparse.Namespace, **settings: str) -> Iterator[LoadedGateway]:
    """The gateway that the options name; one of its own runs until the block ends.

    Args:
        given: The options.
        settings: TOLLGATE_* variables of one of its own.

    Raises:
        BenchError: It did not start.
    """
    if given.server is not None:
        token = given.token or os.environ["TOLLGATE_TOKEN"]
        yield LoadedGateway(given.server, given.admin_server, token, given.data_dir, given.supervisor_pid, is_own=False)
        return
    # As by Ctrl-C: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tollgate-load-") as name:
        variables = {
            "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "TOLLGATE_LOG_LEVEL": "warning",
            **UNGUARDED,
            **settings,
        }
        try:
            with mortal_gateway(Path(name), **variables) as own:
                server, admin_server, metrics = map(Address.parse, (own.server, own.admin_server, own.metrics))
                yield LoadedGateway(
                    server, admin_server, OPERATOR_TOKEN, own.data_dir, own.pid, is_own=True, metrics=metrics
                )
        except AssertionError as error:
            raise BenchError(f"the gateway did not start: {error}") from None


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
