"""A localstripe server: a fake Stripe that keeps customers, cards, intents, charges and refunds, in its own process.

It is a tool under the GPL that only tests use, by HTTP. Where it is not installed, tests are skipped on a laptop and
fail where CI=true.
"""

import importlib.util
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import PORT_ATTEMPTS, START_DEADLINE_SECONDS, ServerStartError, free_port, missing_server

PROGRAM = Path(__file__).with_name("localstripe_server.py")
API_KEY = "sk_test_of_localstripe"
"""It takes any that begins with sk_."""


@contextmanager
def running_localstripe(log: Path) -> Iterator[str]:
    """Run a server until the block ends; it is killed by its pid, whatever happens in the block.

    Args:
        log: Where its output goes.

    Yields:
        Its base URL.

    Raises:
        ServerStartError: With its output.
    """
    if importlib.util.find_spec("localstripe") is None:
        missing_server("localstripe is not installed (pip install localstripe)")
    for attempt in range(PORT_ATTEMPTS):
        port = free_port()
        with log.open("wb") as output:
            # -P: else this very module would be the localstripe that the program imports.
            process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), str(port)], stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        try:
            if _answers(process, port):
                yield f"http://127.0.0.1:{port}"
                return
            # Somebody else may have taken the port meanwhile.
            if attempt + 1 == PORT_ATTEMPTS or b"address already in use" not in log.read_bytes():
                raise ServerStartError(log.read_text())
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/customers", timeout=5)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code == 401
        except OSError:
            time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def localstripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a localstripe server, one for each worker: its content is whatever the tests before left."""
    with running_localstripe(tmp_path_factory.mktemp("localstripe") / "log") as url:
        yield url
