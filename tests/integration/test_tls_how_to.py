"""docs/how-to/tls.md, step by step: its own commands make the certificates, a whole gateway and a switch use them."""

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli.errors import EXIT_NOT_ALLOWED, EXIT_UNAVAILABLE, EXIT_USAGE
from tests.support.commands import Outcome, run_command
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tls-how-to")]

PAGE = (Path(__file__).parents[2] / "docs/how-to/tls.md").read_text()
OPERATOR = "operator-of-the-how-to"
CALLED = "+442079460958"


def commands_of(page: str) -> str:
    """What makes the certificates, as it stands there."""
    blocks = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
    return "".join(re.sub(r"^    ", "", each, flags=re.MULTILINE) for each in blocks if "openssl" in each)


def settings_of(page: str, directory: Path, **others: str) -> dict[str, str]:
    """The gateway's settings as they stand there, with the files where they were made."""
    found = dict(re.findall(r"^    (TOLLGATE_[A-Z_]+)=(\S+)$", page, re.MULTILINE))
    return {name: value.replace("/etc/tollgate/tls", str(directory)) for name, value in found.items()} | others


@dataclass(frozen=True, slots=True)
class Scene:
    gateway: GatewayProcess
    files: Path
    second: str
    """Where certificates are asked for."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("how-to")
    made = subprocess.run(["bash", "-e", "-c", commands_of(PAGE)], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    second = f"127.0.0.1:{free_port()}"
    settings = settings_of(PAGE, folder / "tls", TOLLGATE_MTLS_LISTEN=second, TOLLGATE_OPERATOR_TOKEN=OPERATOR)
    assert set(settings) >= {"TOLLGATE_TLS_CERTIFICATE", "TOLLGATE_TLS_KEY", "TOLLGATE_TLS_CLIENT_CA"}
    with running_gateway(folder, **settings) as gateway:
        yield Scene(gateway, folder / "tls", second)


def test_step_by_step(scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, files = scene.gateway, scene.files
    monkeypatch.setenv("XDG_DATA_HOME", str(files / "no-gateway-of-this-user"))
    monkeypatch.setenv("TOLLGATE_TOKEN", OPERATOR)

    def here(*arguments: str) -> Outcome:
        """A command on the gateway's machine."""
        return run_command(capsys, *arguments, "--data-dir", str(gateway.data_dir))

    def elsewhere(*arguments: str) -> Outcome:
        """One that knows the address alone."""
        return run_command(capsys, *arguments, "--server", gateway.server, "--admin-server", gateway.admin_server)

    assert here("health").code == 0
    assert here("company", "create", "acme", "--name", "Acme").code == 0
    assert here("office", "create", "acme-paris", "--company", "acme", "--name", "Paris", "--country", "US").code == 0
    assert here("credits", "adjust", "acme-paris", "10", "--reason", "opening").code == 0
    assert elsewhere("health").code == EXIT_UNAVAILABLE
    assert elsewhere("office", "list").code == EXIT_UNAVAILABLE
    untrusted = elsewhere("office", "list", "--tls-ca", "public")
    assert untrusted.code == EXIT_UNAVAILABLE
    assert f"the certificate of {gateway.admin_server} is not trusted" in untrusted.err
    monkeypatch.setenv("TOLLGATE_TLS_CA", str(files / "ca.pem"))
    assert elsewhere("health").code == 0
    assert "acme-paris" in elsewhere("office", "list").out

    made = elsewhere("token", "create", "--role", "switch", "--switch", "sw1", "--certificate", "sw1.example.com")
    assert (made.code, made.out) == (0, "")
    token_id = made.err.split()[1].rstrip(";")
    assert re.search(rf"^{token_id} .* sw1 .* sw1.example.com +in force", elsewhere("token", "list").out, re.MULTILINE)
    taken = elsewhere("token", "create", "--role", "switch", "--switch", "sw2", "--certificate", "sw1.example.com")
    assert "CERTIFICATE_TAKEN" in taken.err

    monkeypatch.delenv("TOLLGATE_TOKEN")
    monkeypatch.setenv("TOLLGATE_LISTEN", scene.second)
    place = ("call", "acme-paris", CALLED, "--duration", "5")
    assert run_command(capsys, *place).code == EXIT_UNAVAILABLE
    monkeypatch.setenv("TOLLGATE_TLS_CLIENT_CERTIFICATE", str(files / "sw1.pem"))
    assert run_command(capsys, *place).code == EXIT_USAGE
    monkeypatch.setenv("TOLLGATE_TLS_CLIENT_KEY", str(files / "sw1.key"))
    # The gateway hears of a certificate within a second.
    assert wait_until(lambda: run_command(capsys, *place).code != EXIT_NOT_ALLOWED, 10)
    placed = run_command(capsys, *place)
    assert placed.code == 0, placed.err
    assert elsewhere("token", "revoke", token_id, "--token", OPERATOR).code == 0
    # In the front's copy it is gone within a second, which the next health check does not wait for.
    assert wait_until(lambda: run_command(capsys, *place).code == EXIT_NOT_ALLOWED, 10)


def test_http_speaks_tls_as_well(scene: Scene) -> None:
    trusted = ssl.create_default_context(cafile=scene.files / "ca.pem")
    with urllib.request.urlopen(f"https://{scene.gateway.http}/health/ready", timeout=10, context=trusted) as answer:
        assert answer.status == 200
    quote = {"officeId": "nobody", "direction": "OUTBOUND", "calledNumber": CALLED, "durationSeconds": 60}
    request = urllib.request.Request(
        f"https://{scene.gateway.http}/v1/quote",
        json.dumps(quote).encode(),
        {"authorization": f"Bearer {OPERATOR}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
        assert json.load(answer)["reason"] == "UNKNOWN_OFFICE"
    for url, context in (
        (f"http://{scene.gateway.http}/health/live", None),
        (f"https://{scene.gateway.http}/health/live", ssl.create_default_context()),
    ):
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(url, timeout=10, context=context)
    with urllib.request.urlopen(f"http://{scene.gateway.metrics}/metrics", timeout=10) as answer:
        found = re.search(r"^tollgate_tls_expires_timestamp_seconds (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    assert float(found[1]) > 1e9


def test_a_file_that_does_not_fit_is_said_before_anything_starts(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in settings_of(PAGE, scene.files, TOLLGATE_DATA_DIR=str(tmp_path / "data")).items():
        monkeypatch.setenv(name, value)
    refused = run_command(capsys, "serve", "--tls-key", str(scene.files / "sw1.key"))
    assert refused.code != 0
    assert "TOLLGATE_TLS_KEY" in refused.err
    assert "is not the key of the first certificate" in refused.err
    assert not (tmp_path / "data").exists()
