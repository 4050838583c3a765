"""Kamailio with the config that switches/diameter has for copying, on ports of the test's own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import free_port, missing_server, wait_until

EXAMPLE = Path(__file__).parents[2] / "switches/diameter"
MODULES = Path("/usr/lib/x86_64-linux-gnu/kamailio/modules")


@dataclass(frozen=True, slots=True)
class Kamailio:
    """A running Kamailio."""

    sip: str
    carrier_port: int
    log: Path


@contextmanager
def running_kamailio(directory: Path, diameter_port: int, *, quota_seconds: int) -> Iterator[Kamailio]:
    """Run it until the block ends.

    Args:
        directory: For its files and its log.
        diameter_port: Where `tollgate diameter` listens, with localhost as its Origin-Host.
        quota_seconds: How much it asks for at a time.

    Raises:
        AssertionError: It is not up, or has no Diameter peer, in time; with its log.
    """
    program = shutil.which("kamailio")
    if program is None or not (MODULES / "ims_charging.so").exists():
        missing_server("kamailio with ims_charging is not on this machine (apt-get install kamailio-ims-modules)")
    xml = (EXAMPLE / "diameter.xml").read_text()
    assert xml.count('"3868"') == xml.count('"3869"') == 1
    xml = xml.replace('"3868"', f'"{diameter_port}"').replace('"3869"', f'"{free_port()}"')
    (directory / "diameter.xml").write_text(xml)
    (directory / "run").mkdir()
    sip, carrier, log = free_port(), free_port(), directory / "kamailio.log"
    names = {
        "SIP_PORT": str(sip),
        "CARRIER": f'"sip:127.0.0.1:{carrier}"',
        "DIAMETER_XML": f'"{directory / "diameter.xml"}"',
        "QUOTA": str(quota_seconds),
    }
    command = [program, "-f", str(EXAMPLE / "kamailio.cfg"), "-DD", "-E", "-m", "64", "-M", "8"]
    command += ["-P", str(directory / "kamailio.pid"), "-Y", str(directory / "run")]
    for name, value in names.items():
        command += ["-A", f"{name}={value}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        connected = f"Peer localhost:{diameter_port} connected"
        assert wait_until(lambda: process.poll() is not None or connected in log.read_text(), 30), log.read_text()
        assert process.poll() is None, log.read_text()
        yield Kamailio(f"127.0.0.1:{sip}", carrier, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
