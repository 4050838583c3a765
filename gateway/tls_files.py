"""The gateway's certificate: read from its files, held against each other, and read again when they change.

Whatever renews a certificate (certbot, cert-manager) replaces the files one after the other, so that they may not fit
for a moment: what does not fit is not taken over, and what was before stays until it does. Connections that are open
stay as they are; whoever connects next sees the new certificate.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway import metrics
from gateway.settings import Settings
from gateway.settings_problems import variable_name
from gateway.startup import StartupError

log = structlog.get_logger(__name__)

Extension = TypeVar("Extension", bound=x509.ExtensionType)

LOOK_EVERY_SECONDS: Final = 1.0
_OTHERS: Final = 0o007


class TlsError(StartupError):
    """A file cannot be used; the text names the setting and the cure."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{variable_name(setting)}: {problem}")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the parts are.

    Attributes:
        certificate: PEM, the gateway's own first, then what leads to its authority.
        key: PEM.
        client_ca: PEM, the authorities of the clients' certificates; None: clients show none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "TlsFiles | None":
        """What the settings name; None: the listeners do not speak TLS."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)

    def stamps(self) -> tuple[tuple[int, int, int], ...]:
        """Other ones after a file was written or replaced, also by a link to another one; none while one is missing."""
        try:
            found = [path.stat() for path in (self.certificate, self.key, self.client_ca) if path is not None]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class TlsMaterial(NamedTuple):
    """What was read, and fits.

    Attributes:
        certificate: The chain, PEM.
        key: PEM.
        client_ca: PEM; empty: there is none.
        expires_at: Of the gateway's own certificate, Unix seconds.
        server_name: A name that it is good for.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes
    expires_at: int
    server_name: str


def read_material(files: TlsFiles, now: datetime) -> TlsMaterial:
    """Read the files and hold them against each other.

    Raises:
        TlsError: A file is missing or holds something else, they do not fit, the certificate is not valid now, or
            others may read the key.
    """
    certificate = _read("tls_certificate", files.certificate)
    leaf = _certificates("tls_certificate", files.certificate, certificate)[0]
    names = _check_certificate(leaf, files.certificate, now)
    key = _read("tls_key", files.key)
    _check_key(leaf, key, files)
    client_ca = b""
    if files.client_ca is not None:
        client_ca = _read("tls_client_ca", files.client_ca)
        _check_authorities(_certificates("tls_client_ca", files.client_ca, client_ca), files.client_ca, now)
    expires_at = int(leaf.not_valid_after_utc.timestamp())
    return TlsMaterial(certificate, key, client_ca, expires_at, _a_name(names))


class TlsCertificate:
    """The certificate as it is now, for every listener of a process.

    Args:
        files: Where its parts are.
        now: Says whether a certificate is valid.

    Raises:
        TlsError: See `read_material`.
    """

    def __init__(self, files: TlsFiles, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._files = files
        self._now = now
        self._stamps = files.stamps()
        self.material = read_material(files, now())
        self._refused = ""
        self._contexts: list[ssl.SSLContext] = []
        metrics.TLS_EXPIRES.set(self.material.expires_at)

    def grpc_credentials(self, *, wants_client_certificate: bool) -> grpc.ServerCredentials:
        """For a listener of gRPC, which asks at each handshake whether there is another certificate by now."""
        given = self.material

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            material = self.material
            if material is given:
                return None
            given = material
            return _configuration(material)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            newest,  # type: ignore[arg-type]  # None means that nothing has changed, which the stubs do not know
            require_client_authentication=wants_client_certificate,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """For a listener of HTTP; the context is given each new certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._files.certificate, self._files.key)
        self._contexts.append(context)
        return context

    def look(self) -> bool:
        """Take new files over, if they fit; whether there were any."""
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return False
        try:
            material = read_material(self._files, self._now())
            for context in self._contexts:
                context.load_cert_chain(self._files.certificate, self._files.key)
        except (TlsError, OSError, ssl.SSLError) as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("tls_files_not_taken_over", error=self._refused)
            return False
        if self._files.stamps() != stamps:
            # They are being written at this moment.
            return False
        self.material, self._stamps, self._refused = material, stamps, ""
        metrics.TLS_EXPIRES.set(material.expires_at)
        log.info("tls_files_taken_over", expires_at=datetime.fromtimestamp(material.expires_at, UTC).isoformat())
        return True

    async def follow(self) -> None:
        """Look again and again, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            self.look()


def open_certificate(settings: Settings) -> TlsCertificate | None:
    """The certificate that the settings name; None: there is none, and the listeners do not speak TLS.

    Raises:
        TlsError: It cannot be used.
    """
    files = TlsFiles.of(settings)
    return None if files is None else TlsCertificate(files)


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca or None
    )


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(
            setting, f"{path} cannot be read ({error.strerror}); put it there, readable by the user of the gateway"
        ) from error


def _certificates(setting: str, path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsError(
            setting, f"{path} holds no certificate in PEM, -----BEGIN CERTIFICATE-----; convert it: openssl x509 -in "
            f"{path} -inform DER"
        ) from error  # fmt: skip


def _check_certificate(leaf: x509.Certificate, path: Path, now: datetime) -> x509.SubjectAlternativeName:
    if now > leaf.not_valid_after_utc:
        raise TlsError("tls_certificate", f"{path} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it")
    if now < leaf.not_valid_before_utc:
        raise TlsError(
            "tls_certificate", f"{path} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; wait, or "
            "set this machine's clock"
        )  # fmt: skip
    names = _extension(leaf, x509.SubjectAlternativeName, "tls_certificate", path)
    if names is None:
        raise TlsError(
            "tls_certificate", f"{path} has no subjectAltName, by which clients know a server; have it made with one, "
            "e.g. -addext subjectAltName=DNS:gateway.example.com"
        )  # fmt: skip
    return names


def _extension(certificate: x509.Certificate, kind: type[Extension], setting: str, path: Path) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise TlsError(setting, f"{path} holds a damaged certificate ({error}); have it made anew") from error


def _a_name(names: x509.SubjectAlternativeName) -> str:
    """One of a certificate's names that somebody can ask for; empty: it has none of a host."""
    for name in names.get_values_for_type(x509.DNSName):
        return name.replace("*", "any")
    return next((str(each) for each in names.get_values_for_type(x509.IPAddress)), "")


def _check_key(leaf: x509.Certificate, content: bytes, files: TlsFiles) -> None:
    path = files.key
    if path.stat().st_mode & _OTHERS:
        raise TlsError("tls_key", f"every user of this machine may read {path}; chmod 640 {path}")
    try:
        fits = load_pem_private_key(content, password=None).public_key() == leaf.public_key()
    except TypeError:
        raise TlsError(
            "tls_key", f"{path} has a passphrase, which nobody is there to type; take it off: openssl pkey -in {path}"
        ) from None  # fmt: skip
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError("tls_key", f"{path} holds no private key in PEM, -----BEGIN PRIVATE KEY-----") from error
    if not fits:
        raise TlsError(
            "tls_key", f"{path} is not the key of the first certificate in {files.certificate}; name the pair that "
            "belongs together, the gateway's own certificate first in its file"
        )  # fmt: skip


def _check_authorities(authorities: list[x509.Certificate], path: Path, now: datetime) -> None:
    for each in authorities:
        constraints = _extension(each, x509.BasicConstraints, "tls_client_ca", path)
        if constraints is None or not constraints.ca:
            raise TlsError(
                "tls_client_ca", f"{path} holds the certificate of {each.subject.rfc4514_string()}, which is no "
                "authority; name the file of who signs the switches' certificates"
            )  # fmt: skip
    if all(now > each.not_valid_after_utc for each in authorities):
        raise TlsError("tls_client_ca", f"every authority in {path} has expired; renew it")
