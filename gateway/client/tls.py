"""TLS to a gateway: whom to trust, and the certificate to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import grpc
import grpc.aio

CA_VARIABLE: Final = "TOLLGATE_TLS_CA"
CERTIFICATE_VARIABLE: Final = "TOLLGATE_TLS_CLIENT_CERTIFICATE"
KEY_VARIABLE: Final = "TOLLGATE_TLS_CLIENT_KEY"

PUBLIC: Final = "public"
"""In the place of a file: the authorities that everybody trusts, as gRPC brings them."""


class TlsFilesError(Exception):
    """A file is missing, or one of two that belong together; the text names it and the cure."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a connection is encrypted, and who is trusted at its other end.

    Attributes:
        ca: PEM file of the authority that signed the gateway's certificate; None: those that everybody trusts.
        certificate: PEM file: the switch's certificate and what leads to its authority; None: it shows none.
        key: PEM file: the private key of `certificate`.
        server_name: The name that the gateway's certificate must have; empty: the host that is connected to.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @classmethod
    def named(cls, ca: str | None, certificate: str | None, key: str | None) -> Self | None:
        """Read what options or variables say, where `ca` may be "public"; None: no TLS.

        Raises:
            TlsFilesError: One is given without another that it needs.
        """
        if not ca:
            if certificate or key:
                raise TlsFilesError(f"a client certificate needs TLS; name whom to trust, too: {CA_VARIABLE}")
            return None
        return cls(
            None if ca == PUBLIC else Path(ca).expanduser(),
            Path(certificate).expanduser() if certificate else None,
            Path(key).expanduser() if key else None,
        )

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """Read TOLLGATE_TLS_CA, TOLLGATE_TLS_CLIENT_CERTIFICATE and TOLLGATE_TLS_CLIENT_KEY; raises as `named`."""
        return cls.named(*(environment.get(name) for name in (CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE)))

    def credentials(self) -> grpc.ChannelCredentials:
        """The files as they are now: read anew for each connection, a renewed certificate is shown on the next one.

        Raises:
            TlsFilesError: A file cannot be read, or a certificate has no key, or a key no certificate.
        """
        if (self.certificate is None) is not (self.key is None):
            raise TlsFilesError(f"certificate and key go together; name both: {CERTIFICATE_VARIABLE}, {KEY_VARIABLE}")
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.certificate))


def dial(
    target: str,
    tls: Tls | grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, int | str]],
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel to a gateway, with TLS or in the clear; it connects with the first call.

    Raises:
        TlsFilesError: A file of `tls` cannot be used.
    """
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    if isinstance(tls, Tls):
        if tls.server_name:
            options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
        tls = tls.credentials()
    return grpc.aio.secure_channel(target, tls, options=options, interceptors=interceptors)


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFilesError(f"{path} cannot be read ({error.strerror}); correct the path, or its permissions") from None
