"""Which gateway a command asks, and with which token.

Named by options, else by TOLLGATE_* variables, else by the connection file that a running `tollgate serve` or
`tollgate demo` leaves in its data directory, else by the default addresses.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Self

from gateway.address import Address
from gateway.cli.errors import EXIT_USAGE, CommandError
from gateway.client.tls import CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE, Tls, TlsFilesError
from gateway.default_directory import default_data_directory

CONNECTION_FILE: Final = "connection.json"

DEMO_POINTER: Final = "demo.json"
"""In the default data directory while a demo runs: where that one keeps its data."""

DEFAULT_LISTEN: Final = Address("127.0.0.1", 50051)
DEFAULT_ADMIN_LISTEN: Final = Address("127.0.0.1", 50052)


@dataclass(frozen=True, slots=True)
class ConnectionFile:
    """What a running gateway tells commands of its own user on its own machine.

    Attributes:
        pid: Of the gateway; a file whose gateway is gone is taken for none.
        listen: Where CallAuthorization is.
        admin_listen: Where Credits is.
        token: Made by the gateway for itself, and gone with it. Empty where the operator set one: that one is the
            operator's to keep.
        http_listen: Where pages and webhooks are.
        tls: Trusts the gateway's own certificate, by a name that is in it; None: the gateway speaks in the clear.
    """

    pid: int
    listen: Address
    admin_listen: Address
    token: str
    http_listen: Address
    tls: Tls | None = None

    @classmethod
    def find(cls, data_dir: Path) -> Self | None:
        """Read the file of a gateway that runs on this directory; None if there is none, or it cannot be read."""
        try:
            content = json.loads((data_dir / CONNECTION_FILE).read_text(encoding="utf-8"))
            found = cls(
                int(content["pid"]),
                Address.parse(content["listen"]),
                Address.parse(content["admin_listen"]),
                str(content["token"]),
                Address.parse(content["http_listen"]),
                Tls(Path(tls["certificate"]), server_name=tls["server_name"]) if (tls := content.get("tls")) else None,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if _lives(found.pid) else None

    @contextmanager
    def left_in(self, data_dir: Path) -> Iterator[None]:
        """Leave the file there while the block runs, for this user's eyes only."""
        _write_private(
            data_dir / CONNECTION_FILE,
            {
                "pid": self.pid,
                "listen": str(self.listen),
                "admin_listen": str(self.admin_listen),
                "token": self.token,
                "http_listen": str(self.http_listen),
                "tls": None
                if self.tls is None
                else {"certificate": str(self.tls.ca), "server_name": self.tls.server_name},
            },
        )
        try:
            yield
        finally:
            # Gateways that keep their balances elsewhere may share a directory; the file is then the last one's.
            if (left := type(self).find(data_dir)) is None or left.pid == self.pid:
                (data_dir / CONNECTION_FILE).unlink(missing_ok=True)


@contextmanager
def demo_pointed_to(data_dir: Path) -> Iterator[bool]:
    """Let commands that name no gateway find a demo while the block runs; False if they will not find it.

    They will not while another gateway of this user runs on the default data directory, or where that cannot be made.
    """
    home = default_data_directory().expanduser()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(home / DEMO_POINTER, {"pid": os.getpid(), "data_dir": str(data_dir)})
    except (OSError, RuntimeError):
        yield False
        return
    try:
        yield _pointed_demo(home) == data_dir and ConnectionFile.find(home) is None
    finally:
        if _pointed_demo(home) == data_dir:
            (home / DEMO_POINTER).unlink(missing_ok=True)
        with suppress(OSError):
            # Only if nothing else was ever put there.
            home.rmdir()


@dataclass(frozen=True, slots=True)
class Connection:
    """The two services of a gateway, and the token for each; an empty token is none.

    Attributes:
        source: Where it was found, for people.
        listen_tls: How CallAuthorization is asked; None: in the clear.
        admin_tls: The same of Credits.
    """

    listen: Address
    listen_token: str
    admin_listen: Address
    admin_token: str
    source: str
    listen_tls: Tls | None = None
    admin_tls: Tls | None = None

    @classmethod
    def resolve(
        cls,
        *,
        server: str | None = None,
        admin_server: str | None = None,
        token: str | None = None,
        data_dir: Path | None = None,
        tls_ca: str | None = None,
        tls_client_certificate: str | None = None,
        tls_client_key: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Find the gateway to ask; the arguments are the options as given.

        The token of a connection file goes to the addresses of that file and nowhere else. What the file says of TLS
        holds for these.

        Raises:
            CommandError: An address or a variable makes no sense.
        """
        named_dir = data_dir or _path(environment.get("TOLLGATE_DATA_DIR"))
        file, source = _find_file(named_dir)
        listen = _address("--server", server, "TOLLGATE_LISTEN", environment)
        admin_listen = _address("--admin-server", admin_server, "TOLLGATE_ADMIN_LISTEN", environment)
        given = token or environment.get("TOLLGATE_TOKEN") or environment.get("TOLLGATE_OPERATOR_TOKEN") or ""
        shown = (
            tls_client_certificate or environment.get(CERTIFICATE_VARIABLE),
            tls_client_key or environment.get(KEY_VARIABLE),
        )
        try:
            tls = partial(_tls, tls_ca or environment.get(CA_VARIABLE), *shown)
            if file is None:
                return cls(
                    listen or DEFAULT_LISTEN, given, admin_listen or DEFAULT_ADMIN_LISTEN, given, source, tls(), tls()
                )
            listen_of = file if listen in {None, file.listen} else None
            admin_of = file if admin_listen in {None, file.admin_listen} else None
            return cls(
                listen or file.listen,
                given or (listen_of.token if listen_of else ""),
                admin_listen or file.admin_listen,
                given or (admin_of.token if admin_of else ""),
                source,
                tls(listen_of),
                tls(admin_of),
            )
        except TlsFilesError as error:
            raise CommandError(str(error), EXIT_USAGE) from None


def _find_file(named_dir: Path | None) -> tuple[ConnectionFile | None, str]:
    if named_dir is not None:
        return ConnectionFile.find(named_dir), f"the gateway on {named_dir}"
    try:
        home = default_data_directory().expanduser()
    except RuntimeError:
        # A user without a home directory has no files to find.
        return None, "the default address"
    file = ConnectionFile.find(home)
    if file is not None:
        return file, f"the gateway on {home}"
    demo = _pointed_demo(home)
    if demo is not None and (file := ConnectionFile.find(demo)) is not None:
        return file, f"the demo on {demo}"
    return None, "the default address"


def _tls(ca: str | None, certificate: str | None, key: str | None, file: ConnectionFile | None = None) -> Tls | None:
    """How an address is asked: as the file says if it is that one's, else as options and variables do."""
    if file is None:
        return Tls.named(ca, certificate, key)
    return None if file.tls is None else replace(file.tls, certificate=_path(certificate), key=_path(key))


def _pointed_demo(home: Path) -> Path | None:
    try:
        content = json.loads((home / DEMO_POINTER).read_text(encoding="utf-8"))
        return Path(content["data_dir"]) if _lives(int(content["pid"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _address(option: str, given: str | None, variable: str, environment: Mapping[str, str]) -> Address | None:
    name, text = (option, given) if given else (variable, environment.get(variable))
    if not text:
        return None
    try:
        return Address.parse(text)
    except ValueError as error:
        raise CommandError(f"{name}: {error}", EXIT_USAGE) from None


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _write_private(path: Path, content: dict[str, object]) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    new.replace(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
