"""Which gateway a command asks, and whose token it shows it."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.cli.connection import (
    CONNECTION_FILE,
    DEFAULT_ADMIN_LISTEN,
    DEFAULT_LISTEN,
    DEMO_POINTER,
    Connection,
    ConnectionFile,
    demo_pointed_to,
)
from gateway.cli.errors import CommandError
from gateway.client import Tls

LISTEN = Address("127.0.0.1", 4001)
ADMIN_LISTEN = Address("127.0.0.1", 4002)
HTTP_LISTEN = Address("127.0.0.1", 4003)
FILE = ConnectionFile(os.getpid(), LISTEN, ADMIN_LISTEN, "of-the-file", HTTP_LISTEN)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The default data directory, for this test alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    path = tmp_path / "share/tollgate"
    path.mkdir(parents=True, mode=0o700)
    return path


def resolve(environment: dict[str, str] | None = None, **options: str | Path) -> Connection:
    return Connection.resolve(environment=environment or {}, **options)  # type: ignore[arg-type]


def tokens(connection: Connection) -> tuple[str, str]:
    return connection.listen_token, connection.admin_token


def test_the_defaults_without_anything() -> None:
    found = resolve()
    assert (found.listen, found.admin_listen) == (DEFAULT_LISTEN, DEFAULT_ADMIN_LISTEN)
    assert tokens(found) == ("", "")


def test_variables_name_the_gateway() -> None:
    found = resolve({"TOLLGATE_LISTEN": "a:1", "TOLLGATE_ADMIN_LISTEN": "[::1]:2", "TOLLGATE_TOKEN": "t"})
    assert (found.listen, found.admin_listen) == (Address("a", 1), Address("::1", 2))
    assert tokens(found) == ("t", "t")


def test_options_win_over_variables_over_the_file(home: Path) -> None:
    with FILE.left_in(home):
        found = resolve({"TOLLGATE_LISTEN": "a:1", "TOLLGATE_TOKEN": "t"}, server="b:1", token="u")
        assert (found.listen, found.admin_listen) == (Address("b", 1), ADMIN_LISTEN)
        assert tokens(found) == ("u", "u")


@pytest.mark.parametrize(
    ("environment", "token"),
    [
        ({"TOLLGATE_TOKEN": "t", "TOLLGATE_OPERATOR_TOKEN": "o"}, "t"),
        ({"TOLLGATE_OPERATOR_TOKEN": "o"}, "o"),
        ({"TOLLGATE_TOKEN": "", "TOLLGATE_OPERATOR_TOKEN": "o"}, "o"),
    ],
)
def test_the_order_of_the_tokens(environment: dict[str, str], token: str) -> None:
    assert tokens(resolve(environment)) == (token, token)


def test_the_file_of_the_default_directory_needs_no_configuration(home: Path) -> None:
    with FILE.left_in(home):
        found = resolve()
        assert (found.listen, found.admin_listen) == (LISTEN, ADMIN_LISTEN)
        assert tokens(found) == ("of-the-file", "of-the-file")
    assert resolve().listen == DEFAULT_LISTEN


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_named_directory(by: str, tmp_path: Path) -> None:
    with FILE.left_in(tmp_path):
        found = resolve(data_dir=tmp_path) if by == "option" else resolve({"TOLLGATE_DATA_DIR": str(tmp_path)})
        assert found.listen == LISTEN


def test_a_named_directory_without_a_gateway_is_not_replaced_by_another(home: Path, tmp_path: Path) -> None:
    with FILE.left_in(home):
        assert resolve(data_dir=tmp_path / "other").listen == DEFAULT_LISTEN


def test_the_token_of_the_file_goes_nowhere_else(home: Path) -> None:
    with FILE.left_in(home):
        assert tokens(resolve(server="elsewhere:1")) == ("", "of-the-file")
        assert tokens(resolve(admin_server="elsewhere:1")) == ("of-the-file", "")
        assert tokens(resolve(server=str(LISTEN))) == ("of-the-file", "of-the-file")


def test_what_the_file_says_of_tls_holds_for_its_addresses(home: Path) -> None:
    tls = Tls(Path("/etc/tollgate/gateway.pem"), server_name="gateway.example.com")
    with replace(FILE, tls=tls).left_in(home):
        assert ConnectionFile.find(home) == replace(FILE, tls=tls)
        found = resolve()
        assert (found.listen_tls, found.admin_tls) == (tls, tls)
        found = resolve(
            {"TOLLGATE_TLS_CA": "ca.pem"}, server="elsewhere:1", tls_client_certificate="c", tls_client_key="k"
        )
        assert found.listen_tls == Tls(Path("ca.pem"), Path("c"), Path("k"))
        assert found.admin_tls == replace(tls, certificate=Path("c"), key=Path("k"))
        assert resolve(server="elsewhere:1").listen_tls is None
    with FILE.left_in(home):
        assert resolve({"TOLLGATE_TLS_CA": "ca.pem"}).listen_tls is None
    assert resolve({"TOLLGATE_TLS_CA": "public"}).admin_tls == Tls()
    with pytest.raises(CommandError, match="TOLLGATE_TLS_CA"):
        resolve(tls_client_certificate="c")


def test_the_file_is_private_and_goes_with_the_gateway(home: Path) -> None:
    with FILE.left_in(home):
        path = home / CONNECTION_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ConnectionFile.find(home) == FILE
    assert list(home.iterdir()) == []


def test_the_file_of_another_gateway_stays(home: Path) -> None:
    other = ConnectionFile(os.getppid(), LISTEN, ADMIN_LISTEN, "of-the-other", HTTP_LISTEN)
    with FILE.left_in(home), other.left_in(home):
        assert ConnectionFile.find(home) == other
    with other.left_in(home):
        with FILE.left_in(home):
            pass
        assert ConnectionFile.find(home) is None
    with FILE.left_in(home):
        (home / CONNECTION_FILE).write_text((home / CONNECTION_FILE).read_text().replace(str(FILE.pid), str(other.pid)))
    assert ConnectionFile.find(home) is not None


def test_the_file_of_a_killed_gateway_is_none(home: Path) -> None:
    with ConnectionFile(2**22 + 1, LISTEN, ADMIN_LISTEN, "t", HTTP_LISTEN).left_in(home):
        assert ConnectionFile.find(home) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": 1}', '{"pid": "x"}', "\x00"])
def test_a_damaged_file_is_none(content: str, home: Path) -> None:
    (home / CONNECTION_FILE).write_text(content)
    assert ConnectionFile.find(home) is None
    assert resolve().listen == DEFAULT_LISTEN


def test_a_demo_is_found_while_it_runs(home: Path, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    demo.mkdir()
    with FILE.left_in(demo):
        with demo_pointed_to(demo) as is_found:
            assert is_found
            assert stat.S_IMODE((home / DEMO_POINTER).stat().st_mode) == 0o600
            assert resolve().listen == LISTEN
        assert resolve().listen == DEFAULT_LISTEN
    assert not home.exists()


def test_a_demo_does_not_hide_a_gateway(home: Path, tmp_path: Path) -> None:
    real = ConnectionFile(os.getpid(), Address("127.0.0.1", 5001), Address("127.0.0.1", 5002), "real", HTTP_LISTEN)
    demo = tmp_path / "demo"
    demo.mkdir()
    with real.left_in(home), FILE.left_in(demo), demo_pointed_to(demo) as is_found:
        assert not is_found
        assert resolve().listen == real.listen


def test_a_demo_where_there_is_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with demo_pointed_to(tmp_path) as is_found:
        assert not is_found


@pytest.mark.parametrize(
    ("environment", "options", "text"),
    [
        ({"TOLLGATE_LISTEN": "x"}, {}, "TOLLGATE_LISTEN: 'x' has no port"),
        ({}, {"admin_server": "x"}, "--admin-server: 'x' has no port"),
    ],
)
def test_an_address_that_makes_no_sense(environment: dict[str, str], options: dict[str, str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        resolve(environment, **options)
