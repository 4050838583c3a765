"""Certificate authorities, made for a test and gone with it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from gateway.client import Tls


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate, its key and its authority, as PEM files."""

    ca: Path
    certificate: Path
    key: Path

    def server_flags(self) -> dict[str, Any]:
        """The settings of a gateway that speaks TLS with it."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}

    def shown_by_client(self) -> Tls:
        """A client that shows it."""
        return Tls(self.ca, self.certificate, self.key)


class Authority:
    """A certificate authority, and what a server and a client make of it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def of_server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context

    def of_client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def write(self, folder: Path, *names: str) -> CertificateFiles:
        """Issue a certificate for these names, in the place of what was there."""
        folder.mkdir(exist_ok=True)
        files = CertificateFiles(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
        issued = self._authority.issue_cert(*names)
        self._authority.cert_pem.write_to_path(str(files.ca))
        replace(files.key, issued.private_key_pem.bytes())
        replace(files.certificate, b"".join(each.bytes() for each in issued.cert_chain_pems))
        return files


def replace(path: Path, content: bytes) -> None:
    """As programs do that renew certificates: no reader ever sees half of it."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)
